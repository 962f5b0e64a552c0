"""The choice of an objective by teacher checks."""

import numpy as np
import pytest

from skadistill.objectives import Evidence, TeacherChecks
from skadistill.objectives._auto import AutoObjective

AUTO = AutoObjective()


def checks_of(n_checks, n_wrong, *, n_classes=3, soft=True, independent=True):
    """Return checks of which the first `n_wrong` are wrong, and the share of these."""
    truth = np.arange(n_checks) % n_classes
    wrong = np.arange(n_checks) < n_wrong
    answers = np.eye(n_classes)[(truth + wrong) % n_classes]
    if soft:
        answers = 0.8 * answers + 0.2 / n_classes
    method = "asked" if independent else "cross-fitted"
    checks = TeacherChecks(np.arange(n_checks), answers, truth, method=method)
    return checks, wrong.mean()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("soft", [True, False])
def test_the_labels_of_a_teacher_that_is_often_wrong_are_corrected(n_classes, soft):
    """Soft and hard ones, of two classes and of more."""
    checks, error_rate = checks_of(60, 15, n_classes=n_classes, soft=soft)
    assert repr(AUTO.settle(checks, error_rate)) == "PosteriorTargets()"


@pytest.mark.parametrize(
    "case",
    [
        checks_of(60, 0),
        checks_of(60, 8),
        checks_of(19, 19),
        checks_of(60, 30, independent=False),
        (None, None),
    ],
    ids=["perfect", "rarely wrong", "few checks", "fitted here", "none"],
)
def test_without_evidence_against_it_a_teacher_is_matched_as_it_is(case):
    """Exactly the soft labels."""
    checks, error_rate = case
    assert repr(AUTO.settle(checks, error_rate)) == "SoftTargets()"


def test_the_rate_on_all_labeled_rows_decides():
    """Of many wrong checks among hard rows, few may be left on all."""
    checks, _ = checks_of(60, 30)
    assert repr(AUTO.settle(checks, 0.14)) == "SoftTargets()"
    assert repr(AUTO.settle(checks, 0.15)) != "SoftTargets()"


def test_before_anything_is_known_the_targets_are_matched():
    """The lesson of round 0 is that of soft targets."""
    targets = np.eye(2)[[0, 1]]
    lesson = AUTO.lesson(Evidence(targets, np.ones(2, dtype=bool)))
    np.testing.assert_array_equal(lesson.targets, targets)
    assert not lesson.has_own_loss
