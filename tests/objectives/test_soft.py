import numpy as np
import pytest

from skadistill.objectives import Evidence, SoftTargets, TeacherChecks

TARGETS = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.3, 0.2]])
GIVEN = np.array([True, True, False])
EVIDENCE = Evidence(
    TARGETS, GIVEN, TeacherChecks(np.array([1]), np.array([[0.2, 0.2, 0.6]]))
)


def test_the_default_is_the_targets_themselves():
    lesson = SoftTargets().lesson(EVIDENCE)
    np.testing.assert_array_equal(lesson.targets, TARGETS)
    assert not lesson.has_own_loss


def test_temperature_softens_the_teacher_and_leaves_given_labels_alone():
    lesson = SoftTargets(temperature=2.0).lesson(EVIDENCE)
    roots = np.sqrt(TARGETS[2])
    np.testing.assert_allclose(lesson.targets[2], roots / roots.sum())
    np.testing.assert_array_equal(lesson.targets[:2], TARGETS[:2])
    np.testing.assert_array_equal(lesson.temperature, [1, 1, 2])


def test_hard_labels_are_mixed_with_answers_where_both_are_known():
    lesson = SoftTargets(hard_weight=0.75).lesson(EVIDENCE)
    np.testing.assert_allclose(lesson.targets[1], [0.05, 0.8, 0.15])
    np.testing.assert_array_equal(lesson.targets[[0, 2]], TARGETS[[0, 2]])


@pytest.mark.parametrize("temperature", [1e-3, 1e3])
def test_extreme_temperatures_stay_probabilities(temperature):
    """Near 0 the likeliest class is left, far above 1 the uniform distribution."""
    targets = SoftTargets(temperature).lesson(EVIDENCE).targets[2]
    expected = [1, 0, 0] if temperature < 1 else [1 / 3] * 3
    np.testing.assert_allclose(targets, expected, atol=1e-3)


@pytest.mark.parametrize("parameters", [{"temperature": 0}, {"hard_weight": 1.5}])
def test_parameters_out_of_range_are_refused(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"The '{name}' parameter of SoftTargets"):
        SoftTargets(**parameters).lesson(EVIDENCE)


def test_the_evidence_is_left_as_it_was():
    before = TARGETS.copy()
    SoftTargets(temperature=3.0, hard_weight=0.0).lesson(EVIDENCE)
    np.testing.assert_array_equal(EVIDENCE.targets, before)
