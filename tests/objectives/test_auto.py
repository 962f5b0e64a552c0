"""The choice of an objective by teacher checks."""

import numpy as np
import pytest

from skadistill.objectives import Evidence, TeacherChecks
from skadistill.objectives._auto import AutoObjective

AUTO = AutoObjective()


def checks_of(n_checks, n_wrong, *, n_classes=3, soft=True, independent=True):
    """Return checks of which the first `n_wrong` are wrong, and which those are."""
    truth = np.arange(n_checks) % n_classes
    wrong = np.arange(n_checks) < n_wrong
    answers = np.eye(n_classes)[(truth + wrong) % n_classes]
    if soft:
        answers = 0.8 * answers + 0.2 / n_classes
    return TeacherChecks(np.arange(n_checks), answers, independent), wrong


@pytest.mark.parametrize(
    ("n_classes", "soft", "any_loss", "expected"),
    [
        (3, True, True, "Debiased(base=Corrected())"),
        (3, True, False, "Debiased(base=Corrected())"),
        (3, False, True, "Debiased(base=SLaM())"),
        (3, False, False, "Debiased(base=Corrected())"),
        (2, True, True, "Debiased(base=SLaM())"),
        (2, False, True, "Debiased(base=SLaM())"),
        (2, True, False, "Debiased()"),
    ],
)
def test_a_teacher_that_is_often_wrong(n_classes, soft, any_loss, expected):
    """The rule of the docstring, as a table."""
    checks, wrong = checks_of(60, 15, n_classes=n_classes, soft=soft)
    assert repr(AUTO.settle(checks, wrong, any_loss=any_loss)) == expected


@pytest.mark.parametrize(
    "case",
    [
        checks_of(60, 0),
        checks_of(60, 8),
        checks_of(19, 19),
        checks_of(60, 30, independent=False),
        (None, np.empty(0, dtype=bool)),
    ],
    ids=["perfect", "rarely wrong", "few checks", "fitted here", "none"],
)
def test_without_evidence_against_it_a_teacher_is_matched_as_it_is(case):
    """Exactly the soft labels."""
    checks, wrong = case
    assert repr(AUTO.settle(checks, wrong, any_loss=True)) == "SoftTargets()"


def test_evenly_drawn_rows_decide():
    """Of many wrong checks among hard rows, those drawn evenly count."""
    checks, _ = checks_of(60, 30)
    even = np.zeros(30, dtype=bool)
    assert repr(AUTO.settle(checks, even, any_loss=True)) == "SoftTargets()"


def test_before_anything_is_known_the_targets_are_matched():
    """The lesson of round 0 is that of soft targets."""
    targets = np.eye(2)[[0, 1]]
    lesson = AUTO.lesson(Evidence(targets, np.ones(2, dtype=bool)))
    np.testing.assert_array_equal(lesson.targets, targets)
    assert not lesson.has_own_loss


def mask(n_rows, n_wrong):
    return np.arange(n_rows) < n_wrong


@pytest.mark.parametrize(
    ("aimed", "even", "n_more"),
    [
        (mask(0, 0), mask(0, 0), 20),
        (mask(0, 0), mask(12, 0), 8),
        (mask(0, 0), mask(20, 2), 0),
        (mask(0, 0), mask(20, 3), 20),
        (mask(0, 0), mask(20, 19), 20),  # 40 to learn from
        (mask(0, 0), mask(40, 6), 0),
        (mask(20, 2), mask(0, 0), 0),  # good even where students are unsure
        (mask(20, 3), mask(0, 0), 20),
        (mask(20, 9), mask(20, 2), 0),
        (mask(20, 9), mask(20, 3), 20),  # 40 to decide by
        (mask(20, 9), mask(20, 5), 0),
        (mask(40, 20), mask(0, 0), 20),  # hard rows do not stand for all
        (mask(40, 20), mask(20, 5), 0),
        (mask(30, 15), mask(40, 20), 0),
    ],
)
def test_checks_stop_as_soon_as_they_can(aimed, even, n_more):
    """20, then 40; a good teacher costs 20."""
    assert AUTO.n_more_checks(aimed, even) == n_more


@pytest.mark.parametrize(
    ("teacher_error", "wanted"),
    [("auto", True), (None, True), (0.15, True), (0.4, True), (0.1, False), (0, False)],
)
def test_a_user_who_trusts_the_teacher_pays_for_no_check(teacher_error, wanted):
    """A given error rate below 15 % settles it."""
    assert AUTO.wants_checks(teacher_error) is wanted
