"""ParetoFrontDisplay: the numbers in the drawing are those of the search."""

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

from skadistill.plotting import ParetoFrontDisplay
from skadistill.plotting._pareto_front import pareto_front
from skadistill.search import LayerNASSearchCV

X, Y = load_iris(return_X_y=True)
SIZES = [10.0, 20.0, 30.0, 25.0, 40.0, 20.0]
SCORES = [0.70, 0.90, 0.80, np.nan, 0.95, 0.85]


@pytest.fixture
def display():
    return ParetoFrontDisplay(
        SIZES, SCORES, best_index=1, max_size=32, steps=[0, 0, 0, 1, 1, 1]
    )


@pytest.fixture
def search():
    model = LayerNASSearchCV(
        LogisticRegression(max_iter=300),
        {"C": [0.001, 1.0], "fit_intercept": [True, False]},
        max_size=1.5,
        size=lambda estimator: estimator.C + estimator.fit_intercept,
        cv=2,
        scoring="accuracy",
    )
    return model.fit(X, Y)


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.one_of(st.just(np.nan), st.integers(0, 5)))
    )
)
def test_pareto_front_holds_what_no_other_candidate_beats(pairs):
    """One pair is marked per size and score that no other pair dominates."""
    marked = pareto_front([c for c, _ in pairs], [s for _, s in pairs])
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
    """All candidates, the front by size, the limit and the choice are drawn."""
    display.plot()
    np.testing.assert_array_equal(
        np.ma.getdata(display.scatter_.get_offsets()),
        np.column_stack([SIZES, SCORES]),
    )
    np.testing.assert_array_equal(
        display.front_.get_xydata(), [(10, 0.7), (20, 0.9), (40, 0.95)]
    )
    assert display.limit_.get_xdata() == [32, 32]
    np.testing.assert_array_equal(display.choice_.get_xydata(), [(20, 0.9)])
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["candidates", "Pareto front", "limit", "choice"]


def test_it_draws_where_it_is_told(display, pyplot):
    """Axes that are passed are drawn on, and named."""
    figure, axes = pyplot.subplots(1, 2)
    assert display.plot(ax=axes[1]) is display
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].collections
    assert (axes[1].get_xlabel(), axes[1].get_ylabel()) == ("size", "score")


def test_without_a_limit_no_limit_is_drawn(pyplot):
    """There is then no artist for it."""
    display = ParetoFrontDisplay(SIZES, SCORES, best_index=4).plot()
    assert display.limit_ is None


def test_the_frame_is_the_drawings_twin(display):
    """One row per candidate says what is allowed, on the front and chosen."""
    pytest.importorskip("pandas")
    frame = display.frame
    assert frame["allowed"].tolist() == [True, True, True, True, False, True]
    assert frame["front"].tolist() == [True, True, False, False, True, False]
    assert np.flatnonzero(frame["chosen"]).tolist() == [1]
    assert frame["step"].tolist() == [0, 0, 0, 1, 1, 1]
    assert "score_std" not in frame


def test_a_search_is_read(search, pyplot):
    """Sizes, scores, limit, choice and names come from the fitted search."""
    display = ParetoFrontDisplay.from_estimator(search)
    results = search.cv_results_
    np.testing.assert_array_equal(display.sizes, results["size"])
    np.testing.assert_array_equal(display.scores, results["mean_test_score"])
    assert display.max_size == 1.5
    assert display.choice_.get_xdata() == [search.best_size_]
    assert display.ax_.get_ylabel() == "accuracy"
    pytest.importorskip("pandas")
    chosen = display.frame.query("chosen").iloc[0]
    assert chosen["C"] == search.best_params_["C"]
    assert chosen["score"] == search.best_score_


def test_the_metric_searched_for_is_the_one_drawn(search):
    """With several metrics it is the one named by refit."""
    scoring = ["accuracy", "neg_log_loss"]
    search.set_params(scoring=scoring, refit="neg_log_loss").fit(X, Y)
    display = ParetoFrontDisplay.from_estimator(search)
    assert (display.scores < 0).all()
    assert display.score_name == "neg_log_loss"


def test_a_search_without_sizes_is_refused(search):
    """An unfitted search and one without sizes raise different errors."""
    with pytest.raises(NotFittedError):
        ParetoFrontDisplay.from_estimator(clone(search))
    grid = GridSearchCV(LogisticRegression(max_iter=300), {"C": [1.0]}, cv=2)
    with pytest.raises(ValueError, match="GridSearchCV have no column 'size'"):
        ParetoFrontDisplay.from_estimator(grid.fit(X, Y))


@pytest.mark.parametrize(
    ("missing", "extra", "use"),
    [
        ("matplotlib.pyplot", "plotting", ParetoFrontDisplay.plot),
        ("pandas", "pandas", lambda display: display.frame),
    ],
)
def test_a_missing_package_is_named(display, monkeypatch, missing, extra, use):
    """The display itself needs neither matplotlib nor pandas."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}.*skadistill\[{extra}\]"):
        use(display)
    assert display.front.tolist() == [0, 1, 4]
