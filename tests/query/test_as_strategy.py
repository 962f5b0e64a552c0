import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

from skadistill.exceptions import QueryStrategyError
from skadistill.query import (
    QueryStrategy,
    RADSampler,
    RandomSampler,
    RobustSampler,
    UncertaintySampler,
)
from skadistill.query._as_strategy import as_strategy
from skadistill.query._measures import entropy_gain
from skadistill.query._uncertainty import ScoreStrategy


def exactly(sentence):
    return f"^{re.escape(sentence)}$"


ALL = ["robust", "rad", "margin", "entropy", "least_confident", "random"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n_queries", [1, 29, 30])
def test_every_strategy_answers_up_to_the_whole_pool(tools, name, n_queries):
    """One row, all but one and all rows are possible, distinct and in the pool."""
    for error in (None, 0.0, 0.4, 1.0):
        rows = tools.ask(
            as_strategy(name), tools.make_proba(30), n_queries, teacher_error=error
        )
        assert len(rows) == n_queries


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("robust", RobustSampler()),
        ("rad", RADSampler()),
        ("margin", UncertaintySampler("margin")),
        ("entropy", UncertaintySampler("entropy")),
        ("least_confident", UncertaintySampler("least_confident")),
        ("random", RandomSampler()),
    ],
)
def test_names_become_strategies(name, expected):
    """Every documented name gives its class with its parameters."""
    strategy = as_strategy(name)
    assert type(strategy) is type(expected)
    assert strategy.get_params() == expected.get_params()


def test_functions_and_objects_become_strategies(tools):
    """A function is wrapped; anything with a query method is used as it is."""
    wrapped = as_strategy(entropy_gain)
    assert isinstance(wrapped, ScoreStrategy)
    proba = tools.make_proba()
    expected = tools.ask(UncertaintySampler("entropy"), proba, 5)
    np.testing.assert_array_equal(tools.ask(wrapped, proba, 5), expected)

    class Mine:
        def query(self, pool, n_queries, random_state):
            return np.arange(n_queries)

    for strategy in (Mine(), RADSampler(3)):
        assert as_strategy(strategy) is strategy


@pytest.mark.parametrize("strategy", ["badge", 3, None, RADSampler])
def test_unknown_names_and_other_types_are_errors(strategy):
    """An unknown name, a number and a class instead of an instance, in one class."""
    sentence = (
        "query_strategy must be one of ['entropy', 'least_confident', 'margin', "
        "'rad', 'random', 'robust'], a function f(proba) -> scores or an object with a "
        "query "
        f"method, got {strategy!r}; choose a name or see "
        "skadistill.query.QueryStrategy for the contract."
    )
    with pytest.raises(QueryStrategyError, match=exactly(sentence)):
        as_strategy(strategy)


@pytest.mark.parametrize(
    "strategy",
    [
        RADSampler(12.5, gain="entropy", wrong_label_cost=0.25),
        UncertaintySampler(),
        UncertaintySampler("entropy"),
        UncertaintySampler("least_confident"),
        RandomSampler(),
        ScoreStrategy(entropy_gain, per_row=True),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_strategies_are_cloned_like_estimators(strategy):
    """clone, get_params and set_params work, so a search can vary them."""
    copy = clone(strategy)
    assert isinstance(copy, QueryStrategy)
    assert copy is not strategy
    assert copy.get_params() == strategy.get_params()
    assert repr(copy) == repr(strategy)


SCRIPT = """
import numpy as np
from skadistill.query import QueryPool
from skadistill.query._as_strategy import as_strategy
proba = np.random.default_rng(5).dirichlet(np.ones(3), size=200).round(1)
proba /= proba.sum(axis=1, keepdims=True)
for name in ["robust", "rad", "margin", "entropy", "least_confident", "random"]:
    for error in (None, 0.2):
        pool = QueryPool.from_proba(proba, teacher_error=error)
        rng = np.random.default_rng(11)
        print(*as_strategy(name).query(pool, 15, rng))
"""


def test_same_seed_same_queries_also_in_a_new_process(tools, capsys):
    """Only the generator decides: not the process, not hash seeds, not the blocks."""
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    ).stdout
    exec(SCRIPT, {})
    assert capsys.readouterr().out == output
    proba = np.random.default_rng(5).dirichlet(np.ones(3), size=200).round(1)
    proba /= proba.sum(axis=1, keepdims=True)
    for name, line in zip(ALL, output.splitlines()[1::2], strict=True):
        rows = tools.ask(as_strategy(name), proba, 15, seed=11, teacher_error=0.2)
        assert rows.tolist() == [int(row) for row in line.split()]


@pytest.mark.parametrize("name", ["robust", "random"])
def test_another_seed_gives_other_queries(tools, name):
    """The strategies that draw do draw."""
    proba = tools.make_proba()
    first = tools.ask(as_strategy(name), proba, 10, seed=1, teacher_error=0.2)
    second = tools.ask(as_strategy(name), proba, 10, seed=2, teacher_error=0.2)
    assert first.tolist() != second.tolist()
