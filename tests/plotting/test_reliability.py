"""TeacherReliabilityDisplay: the numbers drawn are those of teacher_reliability."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, MemoryLedger
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.objectives import teacher_reliability
from skadistill.plotting import TeacherReliabilityDisplay

PROBLEM = make_noisy_teacher_problem(300, 10, 10, teacher_error=0.3, random_state=0)
X, Y = PROBLEM.X_labeled, PROBLEM.y_labeled
PROBA = PROBLEM.teacher(X)


@pytest.fixture
def display():
    return TeacherReliabilityDisplay.from_predictions(PROBA, Y, n_bins=5)


def test_predictions_are_read_as_teacher_reliability_reads_them(display):
    """Bins, shares and intervals are its own."""
    expected = teacher_reliability(PROBA, Y, n_bins=5)
    assert display.reliability.accuracy.shape == (5,)
    for name in ("margin_low", "accuracy", "accuracy_high", "confidence"):
        np.testing.assert_array_equal(
            getattr(display.reliability, name), getattr(expected, name)
        )


def test_the_artists_hold_the_numbers(display, pyplot):
    """Accuracy with its interval, confidence, and the isotonic curve."""
    display.plot()
    found = display.reliability
    middle = (found.margin_low + found.margin_high) / 2
    points, _, (bars,) = display.accuracy_
    np.testing.assert_array_equal(points.get_xydata().T, [middle, found.accuracy])
    ends = np.array(bars.get_segments())[:, :, 1]
    np.testing.assert_allclose(ends.T, [found.accuracy_low, found.accuracy_high])
    np.testing.assert_array_equal(
        display.confidence_.get_xydata().T, [middle, found.confidence]
    )
    grid, curve = display.curve_.get_xydata().T
    np.testing.assert_array_equal(curve, found.curve(grid))
    assert (grid[0], grid[-1]) == (found.margin_low[0], found.margin_high[-1])
    assert display.ax_.get_title() == "teacher: right on 70.0%"


def test_it_draws_where_it_is_told(display, pyplot):
    """Axes that are passed are drawn on."""
    figure, axes = pyplot.subplots(1, 2)
    assert display.plot(ax=axes[1]) is display
    assert display.figure_ is figure
    assert not axes[0].lines


def test_the_frame_is_the_drawings_twin(display):
    """The bins of teacher_reliability, and where they are drawn."""
    pytest.importorskip("pandas")
    frame = display.frame
    assert frame.columns[0] == "margin"
    np.testing.assert_array_equal(frame["margin"], display.margins)
    np.testing.assert_array_equal(frame["accuracy"], display.reliability.accuracy)
    assert frame["n_samples"].sum() == 300


def test_a_teacher_is_asked_once_and_what_is_paid_is_kept():
    """The ledger holds the rows; a second look costs nothing."""
    PROBLEM.teacher.reset_counts()
    ledger = MemoryLedger()
    for _ in range(2):
        display = TeacherReliabilityDisplay.from_estimator(
            PROBLEM.teacher, X, Y, ledger=ledger
        )
        assert display.reliability.overall_accuracy == pytest.approx(0.7)
    assert PROBLEM.teacher.n_samples == len(ledger) == 300


def test_columns_mean_what_classes_say():
    """Classes that no row has are named, and keep their column."""
    few = Y != 3
    display = TeacherReliabilityDisplay.from_estimator(
        PROBLEM.teacher, X[few], Y[few], classes=PROBLEM.classes
    )
    right = PROBA[few].argmax(axis=1) == Y[few]
    assert display.reliability.overall_accuracy == right.mean()


def test_a_fit_shows_what_its_checks_showed(pyplot):
    """A fitted distiller knows labeled rows and the answers about them: no argument."""
    problem = make_noisy_teacher_problem(
        n_labeled=100, n_pool=300, n_classes=2, teacher_error=0.0, random_state=0
    )
    model = ActiveDistiller(
        problem.teacher,
        LogisticRegression(),
        budget=80,
        teacher_checks=40,
        query_strategy="rad",
        random_state=0,
    ).fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool)
    n_known = len(model.ledger_)
    display = TeacherReliabilityDisplay.from_estimator(model)
    assert display.reliability.n_samples.sum() == 40
    assert display.ax_.lines
    assert len(model.ledger_) == n_known
    unchecked = ActiveDistiller(problem.teacher, LogisticRegression(), budget=0)
    unchecked.fit(problem.X_labeled, problem.y_labeled)
    with pytest.raises(ValueError, match="fit it with teacher_checks"):
        TeacherReliabilityDisplay.from_estimator(unchecked)
