"""CostFrontierDisplay: the numbers in the drawing are those of the search."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from skadistill.plotting import CostFrontierDisplay
from skadistill.plotting._cost_frontier import cost_frontier
from skadistill.search import LayerNASSearchCV

X, Y = load_iris(return_X_y=True)
COSTS = [10.0, 20.0, 30.0, 25.0, 40.0, 20.0]
SCORES = [0.70, 0.90, 0.80, np.nan, 0.95, 0.85]


@pytest.fixture
def display():
    return CostFrontierDisplay(
        COSTS, SCORES, best_index=1, max_cost=32, steps=[0, 0, 0, 1, 1, 1]
    )


@pytest.fixture
def search():
    model = LayerNASSearchCV(
        LogisticRegression(max_iter=300),
        {"C": [0.001, 1.0], "fit_intercept": [True, False]},
        max_cost=1.5,
        cost=lambda estimator: estimator.C + estimator.fit_intercept,
        cv=2,
        scoring="accuracy",
    )
    return model.fit(X, Y)


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.one_of(st.just(np.nan), st.integers(0, 5)))
    )
)
def test_the_frontier_is_what_nobody_beats(pairs):
    """One pair is marked for each cost and score that no other pair dominates."""
    marked = cost_frontier([c for c, _ in pairs], [s for _, s in pairs])
    scored = {(c, s) for c, s in pairs if not np.isnan(s)}
    unbeaten = {
        (c, s)
        for c, s in scored
        if not any((d <= c and t >= s) and (d, t) != (c, s) for d, t in scored)
    }
    found = [pair for pair, mark in zip(pairs, marked, strict=True) if mark]
    assert len(found) == len(set(found))
    assert set(found) == unbeaten


def test_the_artists_hold_the_numbers(display, pyplot):
    """All candidates, the frontier by cost, the limit and the choice are drawn."""
    display.plot()
    np.testing.assert_array_equal(
        np.ma.getdata(display.scatter_.get_offsets()),
        np.column_stack([COSTS, SCORES]),
    )
    np.testing.assert_array_equal(
        display.frontier_.get_xydata(), [(10, 0.7), (20, 0.9), (40, 0.95)]
    )
    assert display.limit_.get_xdata() == [32, 32]
    np.testing.assert_array_equal(display.choice_.get_xydata(), [(20, 0.9)])
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["candidates", "frontier", "limit", "choice"]


def test_it_draws_where_it_is_told(display, pyplot):
    """Axes that are passed are drawn on, and named."""
    figure, axes = pyplot.subplots(1, 2)
    assert display.plot(ax=axes[1]) is display
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].collections
    assert (axes[1].get_xlabel(), axes[1].get_ylabel()) == ("cost", "score")


def test_without_a_limit_no_limit_is_drawn(pyplot):
    """There is then no artist for it."""
    display = CostFrontierDisplay(COSTS, SCORES, best_index=4).plot()
    assert display.limit_ is None


def test_the_frame_is_the_drawings_twin(display):
    """One row a candidate: what is allowed, on the frontier and chosen."""
    pytest.importorskip("pandas")
    frame = display.frame
    assert frame["allowed"].tolist() == [True, True, True, True, False, True]
    assert frame["frontier"].tolist() == [True, True, False, False, True, False]
    assert np.flatnonzero(frame["chosen"]).tolist() == [1]
    assert frame["step"].tolist() == [0, 0, 0, 1, 1, 1]
    assert "score_std" not in frame


def test_a_search_is_read(search, pyplot):
    """Costs, scores, limit, choice and names come from the fitted search."""
    display = CostFrontierDisplay.from_estimator(search).plot()
    results = search.cv_results_
    np.testing.assert_array_equal(display.costs, results["cost"])
    np.testing.assert_array_equal(display.scores, results["mean_test_score"])
    assert display.max_cost == 1.5
    assert display.choice_.get_xdata() == [search.best_cost_]
    assert display.ax_.get_ylabel() == "accuracy"
    pytest.importorskip("pandas")
    chosen = display.frame.query("chosen").iloc[0]
    assert chosen["C"] == search.best_params_["C"]
    assert chosen["score"] == search.best_score_


def test_the_metric_searched_for_is_the_one_drawn(search):
    """With several metrics it is the one named by refit."""
    scoring = ["accuracy", "neg_log_loss"]
    search.set_params(scoring=scoring, refit="neg_log_loss").fit(X, Y)
    display = CostFrontierDisplay.from_estimator(search)
    assert (display.scores < 0).all()
    assert display.score_name == "neg_log_loss"


def test_what_has_no_costs_is_refused(search):
    """An unfitted search and one without a limit on costs are told apart."""
    with pytest.raises(NotFittedError):
        CostFrontierDisplay.from_estimator(clone(search))
    grid = GridSearchCV(LogisticRegression(max_iter=300), {"C": [1.0]}, cv=2)
    with pytest.raises(ValueError, match="GridSearchCV have no column 'cost'"):
        CostFrontierDisplay.from_estimator(grid.fit(X, Y))


@pytest.mark.parametrize(
    ("missing", "extra", "use"),
    [
        ("matplotlib.pyplot", "plotting", CostFrontierDisplay.plot),
        ("pandas", "pandas", lambda display: display.frame),
    ],
)
def test_a_missing_package_is_named(display, monkeypatch, missing, extra, use):
    """The display itself needs neither matplotlib nor pandas."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}.*skadistill\[{extra}\]"):
        use(display)
    assert display.frontier.tolist() == [0, 1, 4]
