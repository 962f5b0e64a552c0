"""Every query strategy keeps the contract; each breach of it is told."""

import numpy as np
import pytest

from skadistill.exceptions import QueryStrategyError
from skadistill.query import QueryStrategy, RobustSampler
from skadistill.testing import check_strategy


@pytest.mark.parametrize(
    "strategy",
    [
        *("robust", "margin", "entropy", "least_confident", "random"),
        RobustSampler(n_mistakes=3),
        lambda proba: proba[:, 0],
    ],
)
def test_every_strategy_keeps_the_contract(strategy):
    check_strategy(strategy)


class Sound(QueryStrategy):
    def query(self, pool, n_queries, random_state):
        return random_state.permutation(pool.n_samples)[:n_queries]


class Global(Sound):
    def query(self, pool, n_queries, random_state):
        np.random.random()
        return np.arange(n_queries)


class Remembering(Sound):
    n_calls = 0

    def query(self, pool, n_queries, random_state):
        self.n_calls += 1
        return (np.arange(n_queries) + self.n_calls) % pool.n_samples


class Writing(Sound):
    def query(self, pool, n_queries, random_state):
        pool.predict_proba()[:] = 0.5
        pool.X[:] = 0
        return np.arange(n_queries)


class Learning(Sound):
    def __init__(self, weight=1):
        self.weight = weight

    def query(self, pool, n_queries, random_state):
        self.weight = 2
        return np.arange(n_queries)


class Stingy(Sound):
    def query(self, pool, n_queries, random_state):
        return np.arange(min(n_queries, 5))


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        (Global, AssertionError, "query draws from numpy's global generator"),
        (Remembering, AssertionError, "equal generators give different answers"),
        (Writing, AssertionError, "query writes into the pool"),
        (Learning, AssertionError, "query changes parameters"),
        (Stingy, QueryStrategyError, "asked for 7|7 rows|5 "),
    ],
)
def test_a_breach_is_told(broken, error, message):
    with pytest.raises(error, match=message):
        check_strategy(broken())


def test_the_sound_one_passes():
    """What the broken ones inherit is no breach by itself."""
    check_strategy(Sound())


def test_the_student_is_shown_to_those_who_read_it():
    class Reading(Sound):
        def query(self, pool, n_queries, random_state):
            assert pool.student == "the student"
            return np.arange(n_queries)

    check_strategy(Reading(), student="the student")
