import re

import numpy as np
import pytest

from skadistill.exceptions import QueryStrategyError
from skadistill.query import UncertaintySampler, top_rows
from skadistill.query._measures import entropy_gain, least_confident_gain, margin_gain
from skadistill.query._uncertainty import ScoreStrategy


def exactly(sentence):
    return f"^{re.escape(sentence)}$"


GREEDY = [
    (UncertaintySampler(), margin_gain),
    (UncertaintySampler("entropy"), entropy_gain),
    (UncertaintySampler("least_confident"), least_confident_gain),
    (UncertaintySampler(entropy_gain), entropy_gain),
]


@pytest.mark.parametrize(("strategy", "gain"), GREEDY)
@pytest.mark.parametrize("n_queries", [1, 10, 59, 60])
def test_greedy_strategies_agree_with_sorting(tools, strategy, gain, n_queries):
    """The rows asked are the first of a full sort by gain."""
    proba = tools.make_proba()
    expected = np.sort(np.argsort(-gain(proba))[:n_queries])
    np.testing.assert_array_equal(tools.ask(strategy, proba, n_queries), expected)


@pytest.mark.parametrize(("strategy", "gain"), GREEDY)
def test_greedy_strategies_report_their_gains(tools, strategy, gain):
    """The round's record learns the mean and the largest gain."""
    pool = tools.BlockPool(tools.make_proba())
    strategy.query(pool, 5, np.random.default_rng(0))
    gains = gain(tools.make_proba())
    assert set(pool.report) == {"gain_mean", "gain_max"}
    assert pool.report["gain_mean"] == pytest.approx(gains.mean(), rel=1e-6)
    assert pool.report["gain_max"] == pytest.approx(gains.max(), rel=1e-6)


def test_ties_at_the_border_are_broken_evenly(tools):
    """Equal scores are asked equally often wherever they stand in the file."""
    proba = np.full((12, 2), 0.5)
    proba[[2, 7]] = [0.9, 0.1]
    inclusion = np.full(12, 4 / 10)
    inclusion[[2, 7]] = 0
    tools.assert_marginals(UncertaintySampler(), proba, 4, inclusion)
    inclusion = np.full(12, 1.0)
    inclusion[[2, 7]] = 1 / 2
    tools.assert_marginals(UncertaintySampler(), proba, 11, inclusion)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_top_rows_takes_all_above_the_border(dtype):
    """Rows above the border always, rows below never, ties fill what is left."""
    scores = np.array([3, 1, 2, 2, 0, 5, 2], dtype=dtype)
    for seed in range(20):
        rows = top_rows(scores, 4, np.random.default_rng(seed))
        assert {0, 5} <= set(rows)
        assert set(rows) <= {0, 2, 3, 5, 6}
        assert len(set(rows)) == 4


@pytest.mark.parametrize("per_row", [False, True])
def test_a_function_of_the_probabilities_is_a_strategy(tools, per_row):
    """Higher scores are asked sooner; per_row scores blocks, else the whole table."""
    shapes = []

    def rarest(proba):
        shapes.append(proba.shape)
        return proba[:, 0]

    proba = tools.make_proba()
    rows = tools.ask(ScoreStrategy(rarest, per_row=per_row), proba, 5)
    np.testing.assert_array_equal(rows, np.sort(np.argsort(-proba[:, 0])[:5]))
    assert shapes == ([(7, 3)] * 8 + [(4, 3)] if per_row else [(60, 3)])


def column(proba):
    return proba[:, :1]


def words(proba):
    return np.array(["a"] * len(proba))


def with_nan(proba):
    return np.where(np.arange(len(proba)) == 2, np.nan, 0.5)


SCORE_ERROR = (
    "the query strategy {} must return one finite score for each of the 5 rows of the "
    "pool, got shape {}; return an array of shape (n_samples,), higher meaning ask "
    "sooner."
)


@pytest.mark.parametrize(
    ("strategy", "named", "got"),
    [
        (ScoreStrategy(column), "column", "(5, 1) of dtype float64"),
        (ScoreStrategy(words), "words", "(5,) of dtype <U1"),
        (ScoreStrategy(with_nan), "with_nan", "(5,) with nan for row 2"),
        (
            ScoreStrategy(with_nan, per_row=True),
            "with_nan",
            "(5,) with nan for row 2",
        ),
    ],
)
def test_broken_scores_are_named(tools, strategy, named, got):
    """Scores of a wrong shape or kind, or not finite, name function and fault."""
    message = exactly(SCORE_ERROR.format(named, got))
    with pytest.raises(QueryStrategyError, match=message):
        tools.ask(strategy, np.full((5, 2), 0.5), 2)


def test_a_student_that_answers_nan_is_named(tools):
    """NaN probabilities are reported with their row."""
    proba = np.full((5, 2), 0.5)
    proba[3] = np.nan
    message = SCORE_ERROR.format("margin_gain", "(5,) with nan for row 3")
    with pytest.raises(QueryStrategyError, match=exactly(message)):
        tools.ask(UncertaintySampler(), proba, 2)


@pytest.mark.parametrize(
    ("strategy", "parameter"),
    [
        (UncertaintySampler("badge"), "measure"),
        (UncertaintySampler(None), "measure"),
        (ScoreStrategy("margin"), "score"),
        (ScoreStrategy(margin_gain, per_row="yes"), "per_row"),
    ],
)
def test_a_bad_parameter_is_named(tools, strategy, parameter):
    """Parameters are checked by their table when the strategy is used."""
    message = f"The '{parameter}' parameter of {type(strategy).__name__} must be"
    with pytest.raises(ValueError, match=message):
        tools.ask(strategy, tools.make_proba(10), 2)
