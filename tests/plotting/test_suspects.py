"""SuspectsDisplay: the sum of the probabilities, the most doubtful first."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.plotting import SuspectsDisplay


@pytest.fixture
def display():
    return SuspectsDisplay([0.25, 0.75, 0.5], rows=[7, 8, 9])


def fit(n_pool=200, budget=100):
    problem = make_noisy_teacher_problem(
        60, n_pool, 10, n_classes=2, class_sep=2.0, random_state=0
    )
    distiller = ActiveDistiller(
        problem.teacher,
        LogisticRegression(),
        budget=budget,
        teacher_checks=CheckPolicy(error_rate=0.2),
        random_state=0,
    )
    rows = {"X_unlabeled": problem.X_pool} if n_pool else {}
    return distiller.fit(problem.X_labeled, problem.y_labeled, **rows), problem


def test_the_lines_are_the_sums(display, pyplot):
    """From no label to all; both orders end with the same number."""
    display.plot()
    assert display.line_.get_ydata().tolist() == [0.0, 0.75, 1.25, 1.5]
    assert display.chance_.get_xydata().tolist() == [[0.0, 0.0], [3.0, 1.5]]
    assert "wrong labels" in display.ax_.get_ylabel()


def test_it_draws_where_it_is_told(display, pyplot):
    figure, axes = pyplot.subplots(1, 2)
    assert display.plot(ax=axes[0]) is display
    assert display.figure_ is figure
    assert not axes[1].lines


def test_the_frame_is_the_drawings_twin(display):
    """One row per label, the most doubtful first."""
    pytest.importorskip("pandas")
    assert display.frame["row"].tolist() == [8, 9, 7]
    assert display.frame["expected_mistakes"].tolist() == [0.75, 1.25, 1.5]


def test_a_fit_is_drawn_as_its_suspects_say(pyplot):
    """The same rows; about as many mistakes are expected as there are."""
    fitted, problem = fit()
    rows = {"X_unlabeled": problem.X_pool}
    display = SuspectsDisplay.from_estimator(fitted, problem.X_labeled, **rows)
    suspects = fitted.suspects(problem.X_labeled, **rows)
    np.testing.assert_array_equal(display.rows, suspects["row"])
    np.testing.assert_allclose(display.probability_wrong, suspects["probability_wrong"])
    assert len(display.plot().line_.get_ydata()) == fitted.n_queries_ + 1


def test_a_fit_that_paid_for_nothing_has_no_suspects(pyplot):
    """An empty picture and an empty table, not an error."""
    fitted, problem = fit(budget=0)
    rows = {"X_unlabeled": problem.X_pool}
    display = SuspectsDisplay.from_estimator(fitted, problem.X_labeled, **rows)
    assert display.plot().line_.get_ydata().tolist() == [0.0]


def test_other_rows_than_those_of_the_fit_are_refused():
    fitted, problem = fit()
    with pytest.raises(ValueError, match="hold 60 rows, and the fit had 260"):
        SuspectsDisplay.from_estimator(fitted, problem.X_labeled)
