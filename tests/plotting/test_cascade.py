"""CascadeDisplay draws the trade-off of a cascade."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.deploy import Cascade
from skadistill.plotting import CascadeDisplay
from skadistill.teachers import FunctionTeacher


@pytest.fixture(scope="module", params=[None, 0.2], ids=["free", "priced"])
def cascade(request):
    problem = make_noisy_teacher_problem(
        n_labeled=100, n_pool=1500, teacher_error=0.02, random_state=0
    )
    teacher = FunctionTeacher(
        problem.teacher, name="oracle", cost_per_row=request.param
    )
    distiller = ActiveDistiller(
        teacher,
        LogisticRegression(),
        budget=300,
        teacher_checks=CheckPolicy(error_rate=0.02),
        random_state=0,
    )
    return Cascade(distiller, target=0.9, random_state=0).fit(
        problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool
    )


def test_the_trade_off_is_drawn(cascade):
    """From the student alone to the teacher alone, with choice and target."""
    display = CascadeDisplay.from_estimator(cascade)
    x, y = display.line_.get_data()
    np.testing.assert_array_equal(x, cascade.report_["curve"]["deferred"])
    np.testing.assert_array_equal(y, cascade.report_["curve"]["agreement"])
    assert display.choice_.get_xdata()[0] == cascade.report_["deferred"]
    assert display.target_.get_ydata()[0] == 0.9
    priced = cascade.report_["cost_per_1000"] is not None
    assert (display.cost_ax_ is not None) == priced
    assert ("cost_per_1000" in display.frame.columns) == priced
    if priced:
        assert display.frame["cost_per_1000"].max() == pytest.approx(200.0)


def test_what_is_not_known_is_not_drawn():
    display = CascadeDisplay([0, 1], [0.9, 1]).plot()
    assert display.choice_ is display.target_ is display.cost_ax_ is None
