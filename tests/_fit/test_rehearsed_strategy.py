"""A strategy is tried before the first batch of a cold start is paid for."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill.exceptions import QueryStrategyError
from skadistill.query import QueryStrategy

X = np.random.default_rng(0).normal(size=(300, 4))


class Fails(QueryStrategy):
    """Raise, choose rows twice, or choose rows that are not there."""

    def __init__(self, how):
        self.how = how

    def query(self, pool, n_queries, random_state):
        if self.how == "raises":
            return np.arange(pool.n_samples)[pool.no_such_attribute]
        if self.how == "twice":
            return np.zeros(n_queries, dtype=int)
        return np.arange(n_queries) + pool.n_samples


class ReadsLabels(QueryStrategy):
    """Choose rows far from the labeled ones, of which there has to be one."""

    def __init__(self):
        self.n_calls = 0

    def query(self, pool, n_queries, random_state):
        self.n_calls += 1
        assert len(pool.X_labeled) == len(pool.y_labeled) > 0
        away = np.abs(pool.X[:, None] - pool.X_labeled).sum(axis=2).min(axis=1)
        return np.argsort(-away)[:n_queries]


def fit(strategy, asked, y=None, **options):
    def teacher(rows):
        asked.append(len(rows))
        return (rows[:, 0] > 0).astype(int)

    return ActiveDistiller(
        teacher,
        LogisticRegression(),
        classes=[0, 1],
        query_strategy=strategy,
        budget=60,
        random_state=0,
        **options,
    ).fit(X, y)


@pytest.mark.parametrize(
    "strategy",
    [
        *map(Fails, ["raises", "twice", "outside"]),
        lambda proba: np.ones((len(proba), 2)),
        lambda proba: np.full(len(proba), np.nan),
    ],
    ids=["raises", "twice", "outside", "shape", "nan"],
)
def test_a_strategy_that_fails_costs_nothing(strategy):
    """Without any label, and with labels of one class only."""
    asked = []
    one_class = np.full(len(X), -1)
    one_class[:5] = 1
    for y in (None, one_class):
        with pytest.raises((QueryStrategyError, AttributeError)):
            fit(strategy, asked, y)
    assert asked == []


@pytest.mark.parametrize("name", ["rad", "margin", "entropy", "random", "robust"])
def test_the_trial_changes_no_choice(name):
    """The named strategies pass, and the rows asked are the same in two fits."""
    one, two = fit(name, []), fit(name, [])
    assert (one.labeled_round_ == two.labeled_round_).all()
    assert one.n_paid_ == 60


def test_a_strategy_that_reads_labels_gets_some_on_trial():
    """And is itself not used before its first round."""
    strategy = ReadsLabels()
    distiller = fit(strategy, [])
    assert strategy.n_calls == distiller.n_rounds_ - 1
