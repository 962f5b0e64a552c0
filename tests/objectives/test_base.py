import numpy as np
import pytest
from sklearn.base import clone

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import Evidence, Objective, SoftTargets, TeacherChecks
from skadistill.objectives._as_objective import as_objective
from skadistill.objectives._base import margin

TARGETS = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.4]])
GIVEN = np.array([True, True, False])


class Halve(Objective):
    """Halve the weights of the teacher's rows, for tests."""

    uses_teacher_checks = True
    uses_embeddings = True

    def transform(self, lesson, evidence):
        return lesson.replace(weights=np.where(evidence.given, 1.0, 0.5))


def test_lesson_is_that_of_the_base_changed():
    evidence = Evidence(
        TARGETS,
        GIVEN,
        teacher_checks=TeacherChecks(np.array([0]), np.array([[0.9, 0.1]])),
        embeddings=np.zeros((3, 2)),
    )
    lesson = Halve(base=SoftTargets(temperature=2.0)).lesson(evidence)
    np.testing.assert_array_equal(lesson.weights, [1, 1, 0.5])
    np.testing.assert_array_equal(lesson.temperature, [1, 1, 2])


def test_needs_include_those_of_the_base():
    outer = SoftTargets(base=Halve())
    assert outer.needs_teacher_checks
    assert outer.needs_embeddings
    assert not SoftTargets().needs_teacher_checks
    assert not SoftTargets().needs_embeddings


def test_parameters_of_the_base_can_be_searched():
    objective = Halve(base=SoftTargets()).set_params(base__temperature=3.0)
    assert clone(objective).base.temperature == 3.0


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        (
            {},
            "Halve needs the teacher's answers on rows with known labels, and "
            "evidence.teacher_checks is None; pass some, or set the parameters that "
            "are "
            "estimated from them.",
        ),
        (
            {"teacher_checks": TeacherChecks(np.array([0]), np.array([[0.9, 0.1]]))},
            "Halve needs the teacher's embeddings, and evidence.embeddings is None; "
            "use "
            "a teacher that returns them, or another objective.",
        ),
    ],
)
def test_missing_evidence_is_named(evidence, message):
    with pytest.raises(ObjectiveError) as error:
        Halve().lesson(Evidence(TARGETS, GIVEN, **evidence))
    assert str(error.value) == message


def test_no_evidence_is_missing_if_every_row_is_given():
    """The first student is trained before the teacher is asked."""
    Halve().lesson(Evidence(TARGETS[:2], GIVEN[:2]))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"given": np.array([1, 0, 0])},
            "given must be a mask of 3 rows, got int64 of shape (3,); pass one boolean "
            "per row of targets that says whether its label is known.",
        ),
        (
            {"teacher_checks": TeacherChecks(np.array([0, 1]), np.array([[0.9, 0.1]]))},
            "teacher_checks.proba has shape (1, 2) for 2 rows and 2 classes; pass one "
            "row of probabilities per checked row.",
        ),
        (
            {"teacher_checks": TeacherChecks(np.array([3]), np.array([[0.9, 0.1]]))},
            "teacher_checks.rows lie between 3 and 3, but there are 3 training rows; "
            "pass positions among them.",
        ),
        (
            {"teacher_checks": TeacherChecks(np.array([2]), np.array([[0.9, 0.1]]))},
            "1 of teacher_checks.rows have no given label; pass rows whose true label "
            "is "
            "known.",
        ),
        (
            {"embeddings": np.zeros((2, 4))},
            "embeddings have 2 rows and targets 3; pass one row per target, NaN for "
            "a missing embedding.",
        ),
    ],
)
def test_evidence_of_other_rows_raises(parts, message):
    with pytest.raises(ObjectiveError) as error:
        Evidence(**{"targets": TARGETS, "given": GIVEN, **parts})
    assert str(error.value) == message


def test_base_must_be_an_objective():
    with pytest.raises(
        ObjectiveError, match="got base='soft', which is not an objective"
    ):
        Halve(base="soft").lesson(Evidence(TARGETS, GIVEN))


@pytest.mark.parametrize("unknown", ["hard", None, SoftTargets])
def test_as_objective_raises_for_unknown_objectives(unknown):
    with pytest.raises(
        ObjectiveError, match=r"must be one of 'auto', 'soft'.*; pass one"
    ):
        as_objective(unknown)


def test_as_objective_returns_an_objective_unchanged():
    objective = SoftTargets(2.0)
    assert as_objective(objective) is objective


def test_margin_is_the_lead_of_the_first_over_the_second():
    np.testing.assert_allclose(
        margin(np.array([[0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])), [0.2, 1.0]
    )
