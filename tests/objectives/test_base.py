import numpy as np
import pytest
from sklearn.base import clone

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import (
    Evidence,
    Objective,
    SoftTargets,
    TeacherChecks,
    as_objective,
    margin,
)

TARGETS = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.4]])
GIVEN = np.array([True, True, False])


class Halve(Objective):
    """Halve the weights of the teacher's rows, for tests."""

    uses_teacher_checks = True
    uses_embeddings = True

    def transform(self, lesson, evidence):
        return lesson.replace(weights=np.where(evidence.given, 1.0, 0.5))


def test_an_objective_changes_the_lesson_it_lies_over():
    evidence = Evidence(
        TARGETS,
        GIVEN,
        validation=TeacherChecks(np.array([0]), np.array([[0.9, 0.1]])),
        embeddings=np.zeros((3, 2)),
    )
    lesson = Halve(base=SoftTargets(temperature=2.0)).lesson(evidence)
    np.testing.assert_array_equal(lesson.weights, [1, 1, 0.5])
    np.testing.assert_array_equal(lesson.temperature, [1, 1, 2])


def test_needs_are_those_of_the_whole_chain():
    outer = SoftTargets(base=Halve())
    assert outer.needs_teacher_checks
    assert outer.needs_embeddings
    assert not SoftTargets().needs_teacher_checks
    assert not SoftTargets().needs_embeddings


def test_parameters_of_the_objective_below_are_within_reach_of_a_search():
    objective = Halve(base=SoftTargets()).set_params(base__temperature=3.0)
    assert clone(objective).base.temperature == 3.0


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        (
            {},
            "Halve learns from the teacher's answers on rows with known labels, and "
            "got none; pass validation, or give the quantities it estimates yourself.",
        ),
        (
            {"validation": TeacherChecks(np.array([0]), np.array([[0.9, 0.1]]))},
            "Halve needs the teacher's embeddings, and got none; use a teacher that "
            "gives them, or another objective.",
        ),
    ],
)
def test_missing_evidence_is_named(evidence, message):
    with pytest.raises(ObjectiveError) as error:
        Halve().lesson(Evidence(TARGETS, GIVEN, **evidence))
    assert str(error.value) == message


def test_where_every_row_is_given_nothing_is_missing():
    """The first student is trained before the teacher has said anything."""
    Halve().lesson(Evidence(TARGETS[:2], GIVEN[:2]))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"given": np.array([1, 0, 0])},
            "given must be a mask of 3 rows, got int64 of shape (3,); say of each row "
            "of targets whether its label is known.",
        ),
        (
            {"validation": TeacherChecks(np.array([0, 1]), np.array([[0.9, 0.1]]))},
            "the validation's proba has shape (1, 2) for 2 rows and 2 classes; pass "
            "one row of probabilities for each.",
        ),
        (
            {"validation": TeacherChecks(np.array([3]), np.array([[0.9, 0.1]]))},
            "validation rows lie between 3 and 3 where there are 3 training rows; "
            "pass their positions.",
        ),
        (
            {"validation": TeacherChecks(np.array([2]), np.array([[0.9, 0.1]]))},
            "1 validation rows have no given label; pass rows whose true label is "
            "known.",
        ),
        (
            {"embeddings": np.zeros((2, 4))},
            "embeddings have 2 rows where targets have 3; pass one row each, NaN "
            "where there is none.",
        ),
    ],
)
def test_evidence_that_does_not_fit_together_is_refused(parts, message):
    with pytest.raises(ObjectiveError) as error:
        Evidence(**{"targets": TARGETS, "given": GIVEN, **parts})
    assert str(error.value) == message


def test_only_an_objective_can_lie_below():
    with pytest.raises(ObjectiveError, match="got base='soft', which is no objective"):
        Halve(base="soft").lesson(Evidence(TARGETS, GIVEN))


@pytest.mark.parametrize("unknown", ["hard", None, SoftTargets])
def test_an_unknown_objective_is_refused(unknown):
    with pytest.raises(ObjectiveError, match=r"must be one of 'soft'.*; pass one"):
        as_objective(unknown)


def test_an_objective_stays_the_object_it_is():
    objective = SoftTargets(2.0)
    assert as_objective(objective) is objective


def test_margin_is_the_lead_of_the_first_over_the_second():
    np.testing.assert_allclose(
        margin(np.array([[0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])), [0.2, 1.0]
    )
