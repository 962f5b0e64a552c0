"""LearningCurveDisplay: the numbers in the drawing are those of the histories."""

import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, MemoryLedger
from skadistill.checking import CheckPolicy
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.plotting import LearningCurveDisplay

PROBLEM = make_noisy_teacher_problem(40, 120, 60, random_state=0)


def fit(seed=0, ledger=None, *, X_val=PROBLEM.X_test, y_val=PROBLEM.y_test, **params):
    distiller = ActiveDistiller(
        PROBLEM.teacher,
        LogisticRegression(),
        query_size=15,
        ledger=ledger,
        random_state=seed,
        **({"budget": 30, "teacher_checks": CheckPolicy(error_rate=0.2)} | params),
    )
    return distiller.fit(
        PROBLEM.X_labeled,
        PROBLEM.y_labeled,
        X_unlabeled=PROBLEM.X_pool,
        X_val=X_val,
        y_val=y_val,
    )


@pytest.fixture
def display():
    return LearningCurveDisplay(
        {"robust": [[0, 10, 20], [0, 12]], "random": [[0, 5]]},
        {"robust": [[0.5, 0.7, 0.9], [0.6, 0.9]], "random": [[0.5, 0.6]]},
        references={"teacher": 0.95},
    )


def test_a_mean_is_over_the_rounds_that_all_runs_reached(display):
    """The third round of a run that went on alone is not averaged with nothing."""
    labels, score, error = display.mean("robust")
    np.testing.assert_allclose(labels, [0, 11])
    np.testing.assert_allclose(score, [0.55, 0.8])
    np.testing.assert_allclose(error, [0.05, 0.1])
    assert display.mean("random")[2].tolist() == [0, 0]


def test_the_artists_hold_the_numbers(display, pyplot):
    """Means, one standard error around them, and references are drawn."""
    display.plot()
    np.testing.assert_allclose(
        display.lines_["robust"].get_xydata(), [(0, 0.55), (11, 0.8)]
    )
    vertices = display.bands_["robust"].get_paths()[0].vertices
    assert {(0, 0.5), (0, 0.6), (11, 0.7), (11, 0.9)} <= {
        tuple(vertex) for vertex in vertices.round(6).tolist()
    }
    assert list(display.bands_) == ["robust"]
    assert display.reference_lines_["teacher"].get_ydata() == [0.95, 0.95]
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["robust", "random", "teacher"]
    assert display.ax_.get_xlabel() == "labels paid"


def test_it_draws_where_it_is_told(display, pyplot):
    """Axes that are passed are drawn on; no other figure is opened."""
    figure, axes = pyplot.subplots(1, 2)
    assert display.plot(ax=axes[1]) is display
    assert display.figure_ is figure
    assert pyplot.get_fignums() == [figure.number]
    assert not axes[0].lines


def test_the_frame_is_the_drawings_twin(display):
    """One row a round of each run, ragged runs included."""
    pytest.importorskip("pandas")
    frame = display.frame
    assert frame["curve"].tolist() == ["robust"] * 5 + ["random"] * 2
    assert frame["run"].tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert frame["round"].tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert frame["n_labels"].tolist() == [0, 10, 20, 0, 12, 0, 5]
    assert frame["score"].tolist() == [0.5, 0.7, 0.9, 0.6, 0.9, 0.5, 0.6]


def test_labels_paid_include_teacher_checks():
    """From round 1 on, the labeled rows that the teacher was asked about count."""
    distiller = fit(budget=70, teacher_checks=20, objective="soft")
    assert distiller.n_teacher_checks_ == 20
    display = LearningCurveDisplay.from_estimator(distiller)
    assert display.n_labels["student"][0].tolist() == [0, 35, 50, 65, 70]
    scores = [record["student_score"] for record in distiller.history_]
    assert display.scores["student"][0].tolist() == scores
    assert scores[-1] == distiller.score(PROBLEM.X_test, PROBLEM.y_test)


def test_rows_asked_are_those_of_the_pool_whoever_paid():
    """A second fit with the same ledger asks as many rows, and pays nothing."""
    ledger = MemoryLedger()
    curves = {"first": fit(0, ledger), "again": [fit(0, ledger)]}
    asked = LearningCurveDisplay.from_estimator(curves, count="asked")
    assert asked.n_labels["first"][0].tolist() == [0, 15, 30]
    assert asked.n_labels["again"][0][-1] == 30
    assert asked.count_name == "rows asked"
    assert LearningCurveDisplay.from_estimator(curves).count_name == "rows asked"
    paid = LearningCurveDisplay.from_estimator(curves, count="paid")
    assert not paid.n_labels["again"][0].any()


def test_what_has_no_scores_is_refused():
    """Unfitted distillers, histories without scores and unknown counts say so."""
    with pytest.raises(NotFittedError):
        LearningCurveDisplay.from_estimator(ActiveDistiller(PROBLEM.teacher))
    blind = fit(X_val=None, y_val=None)
    with pytest.raises(ValueError, match="no student_score; fit it with X_val"):
        LearningCurveDisplay.from_estimator(blind, score="student_score")
    with pytest.raises(ValueError, match=r"\['asked', 'paid'\], got 'free'"):
        LearningCurveDisplay.from_estimator(blind, count="free")


@pytest.mark.parametrize(
    ("missing", "extra", "use"),
    [
        ("matplotlib.pyplot", "plotting", LearningCurveDisplay.plot),
        ("pandas", "pandas", lambda display: display.frame),
    ],
)
def test_a_missing_package_is_named(display, monkeypatch, missing, extra, use):
    """The display itself needs neither matplotlib nor pandas."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}.*skadistill\[{extra}\]"):
        use(display)


@pytest.fixture(scope="module")
def judged():
    """Fit without validation rows, so that rounds judge the students."""
    problem = make_noisy_teacher_problem(n_labeled=100, n_pool=900, random_state=0)
    return ActiveDistiller(
        problem.teacher,
        LogisticRegression(),
        budget=400,
        query_size=100,
        teacher_checks=CheckPolicy(error_rate=0.2),
        objective="soft",
        random_state=0,
    ).fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool)


def test_agreement_is_drawn_with_its_interval(judged):
    """One point for every student but the last, and the band of its 95 %."""
    display = LearningCurveDisplay.from_estimator(judged, score="pool_agreement").plot()
    history = judged.history_[:-1]
    x, y = display.lines_["student"].get_data()
    np.testing.assert_array_equal(x, [0, 100, 200, 300])
    np.testing.assert_allclose(y, [r["pool_agreement"] for r in history])
    ends = np.array(display.bands_["student"].get_segments())[:, :, 1]
    intervals = [(r["pool_agreement_low"], r["pool_agreement_high"]) for r in history]
    np.testing.assert_allclose(ends, intervals)
    assert display.ax_.get_ylabel() == "agreement with the teacher"


def test_a_forecast_goes_on_where_the_labels_end(judged):
    """Dashed, from the last round that was judged, with its band."""
    display = LearningCurveDisplay.from_estimator(judged, forecast=500)
    x, y = display.forecast_lines_["student"].get_data()
    assert 300 <= x[0] <= 320
    assert x[-1] == 900
    assert y[-1] == judged.forecast_.after(500)[0]
    assert "student" in display.forecast_bands_


def test_the_fitted_curve_is_drawn_and_the_rounds_are_points(judged, pyplot):
    """A figure comes from one call: the fit knows its score, and half as many more."""
    display = LearningCurveDisplay.from_estimator(judged)
    assert display.ax_.get_ylabel() == "agreement with the teacher"
    assert display.lines_["student"].get_linestyle() == "None"
    x, y = display.fit_lines_["student"].get_data()
    assert x[0] == 0
    np.testing.assert_allclose(y[0], judged.forecast_.at(100)[0])
    assert np.all(np.diff(y) >= 0)
    assert display.forecast_lines_["student"].get_xdata()[-1] == 400 + 500 // 2
    # Accuracy, if there are validation rows; with several fits the means, as lines.
    both = LearningCurveDisplay.from_estimator({"a": [fit(0), fit(1)]})
    assert both.ax_.get_ylabel() == "student's accuracy"
    assert both.lines_["a"].get_linestyle() == "-"
    assert not both.fit_lines_


def test_curves_of_the_second_day_begin_at_the_first_row(pyplot):
    """Although nothing is paid: the rows asked about are counted then."""
    ledger = MemoryLedger()
    fit(0, ledger)
    display = LearningCurveDisplay.from_estimator(fit(1, ledger))
    n_labels = display.n_labels["student"][0]
    assert n_labels[0] == 0
    assert n_labels[-1] == 30
    x, _ = display.fit_lines_["student"].get_data()
    assert x[-1] > x[0]


def test_agreement_that_was_never_estimated_is_refused():
    problem = make_noisy_teacher_problem(n_labeled=50, n_pool=100, random_state=0)
    model = ActiveDistiller(problem.teacher, LogisticRegression(), budget=0)
    model.fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool)
    with pytest.raises(ValueError, match="has no pool_agreement; fit it with uniform"):
        LearningCurveDisplay.from_estimator(model, score="pool_agreement")
    with pytest.raises(ValueError, match="score must be one of"):
        LearningCurveDisplay.from_estimator(model, score="accuracy")
