"""Corrected labels: nearer the truth by simulation, untouched without evidence."""

import numpy as np
import pytest
from sklearn.utils._param_validation import InvalidParameterError

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import (
    Corrected,
    Evidence,
    Objective,
    TeacherChecks,
)


def noisy(rng, n_given=200, n_pool=1000, n_classes=5, wrong=0.4, **parts):
    """Draw a teacher whose truth is second or third on a share of the rows.

    Beside it, students who hold the truth likeliest on about 60 % of the rows.
    """
    n = n_given + n_pool
    truth = rng.integers(n_classes, size=n)
    rank = np.where(rng.random(n) < wrong, rng.integers(1, 3, n), 0)
    lead = np.sort(rng.dirichlet(np.full(n_classes, 0.5), n))[:, ::-1]
    proba = np.empty((n, n_classes))
    for row in range(n):
        others = rng.permutation(np.delete(np.arange(n_classes), truth[row]))
        proba[row, np.insert(others, rank[row], truth[row])] = lead[row]
    logits = rng.normal(size=(n, n_classes)) + 1.6 * np.eye(n_classes)[truth]
    students = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = np.arange(n) < n_given
    evidence = Evidence(
        np.where(given[:, None], np.eye(n_classes)[truth], proba),
        given,
        parts.pop("teacher_checks", TeacherChecks(np.arange(n_given), proba[:n_given])),
        out_of_fold=parts.pop("out_of_fold", lambda *args: students),
    )
    return evidence, truth


def nats(proba, truth, rows):
    """Average the loss of the truth over rows."""
    return -np.log(proba[np.arange(len(truth)), truth] + 1e-9)[rows].mean()


def test_labels_come_nearer_to_the_truth(rng):
    """In accuracy and in nats, more than either opinion alone."""
    evidence, truth = noisy(rng)
    pool = ~evidence.given
    targets = Corrected(strength=1.0).lesson(evidence).targets

    def accuracy(proba):
        return (proba.argmax(axis=1) == truth)[pool].mean()

    students = evidence.out_of_fold()
    assert accuracy(evidence.targets) == pytest.approx(0.6, abs=0.05)
    assert accuracy(students) == pytest.approx(0.65, abs=0.1)
    assert accuracy(targets) > 0.72
    best = min(nats(evidence.targets, truth, pool), nats(students, truth, pool))
    assert nats(targets, truth, pool) < best - 0.05


def test_the_truth_is_sought_where_it_was_found_before(rng):
    """The fourth and fifth of the teacher's list never hold it: they get little."""
    evidence, _ = noisy(rng, n_given=800)
    targets = Corrected().lesson(evidence).targets
    order = np.argsort(-evidence.targets, axis=1)
    mass = np.take_along_axis(targets, order, axis=1)[~evidence.given].mean(axis=0)
    before = np.take_along_axis(evidence.targets, order, axis=1)[~evidence.given]
    assert (mass[1:3] > before.mean(axis=0)[1:3] + 0.05).all()
    assert (mass[3:] < before.mean(axis=0)[3:] + 0.001).all()


def test_the_names_of_classes_play_no_part_where_labels_are_hard(rng):
    """All classes but the label's are equally likely: the students alone decide."""
    evidence, _ = noisy(rng)
    hard = np.eye(5)[evidence.targets.argmax(axis=1)]
    checks = TeacherChecks(
        evidence.teacher_checks.rows,
        np.eye(5)[evidence.teacher_checks.proba.argmax(axis=1)],
    )
    students = evidence.out_of_fold()
    order = np.array([3, 0, 4, 1, 2])

    def corrected(columns):
        return Corrected().lesson(
            Evidence(
                hard[:, columns],
                evidence.given,
                TeacherChecks(checks.rows, checks.proba[:, columns]),
                out_of_fold=lambda *args: students[:, columns],
            )
        )

    targets = corrected(np.arange(5)).targets
    np.testing.assert_allclose(corrected(order).targets, targets[:, order], atol=1e-6)
    row = np.flatnonzero(~evidence.given)[0]
    others = np.flatnonzero(hard[row] == 0)
    share = targets[row, others] / (students[row, others] + 1e-3)
    np.testing.assert_allclose(share, share[0])


def test_the_teachers_choice_never_gains_and_given_labels_stay(rng):
    evidence, _ = noisy(rng)
    targets = Corrected().lesson(evidence).targets
    rows, first = np.arange(len(targets)), evidence.targets.argmax(axis=1)
    assert (targets[rows, first] <= evidence.targets[rows, first] + 1e-12).all()
    given = evidence.given
    np.testing.assert_array_equal(targets[given], evidence.targets[given])


def never(*args):
    raise AssertionError("students were trained for nothing")


def test_a_teacher_right_on_all_checked_rows_changes_nothing(rng):
    """Exactly, however unsure it is, and no student is trained for it."""
    evidence, _ = noisy(rng, wrong=0.0, out_of_fold=never)
    lesson = Corrected().lesson(evidence)
    np.testing.assert_array_equal(lesson.targets, evidence.targets)


def test_a_teacher_fitted_on_the_checked_rows_changes_nothing(rng):
    evidence, _ = noisy(rng, out_of_fold=never)
    checks = TeacherChecks(
        evidence.teacher_checks.rows,
        evidence.teacher_checks.proba,
        method="cross-fitted",
    )
    evidence = Evidence(evidence.targets, evidence.given, checks, out_of_fold=never)
    lesson = Corrected().lesson(evidence)
    np.testing.assert_array_equal(lesson.targets, evidence.targets)


def test_a_teacher_never_right_loses_nearly_all_trust(rng):
    """The regression has one class to learn: the rule of succession speaks."""
    evidence, truth = noisy(rng, wrong=1.0)
    targets = Corrected(strength=1.0).lesson(evidence).targets
    rows, first = np.arange(len(targets)), evidence.targets.argmax(axis=1)
    pool = ~evidence.given
    np.testing.assert_allclose(targets[rows, first][pool], 1 / 202)
    assert (targets.argmax(axis=1) == truth)[pool].mean() > 0.7


def test_students_without_an_opinion_leave_calibration(rng):
    """What is kept of the teacher's claim is then what it keeps on average."""
    flat = np.full((5200, 5), 0.2)
    evidence, truth = noisy(rng, 200, 5000, out_of_fold=lambda *args: flat)
    targets = Corrected(strength=1.0).lesson(evidence).targets
    pool = ~evidence.given
    first = evidence.targets.argmax(axis=1)
    claimed = evidence.targets.max(axis=1)
    sure = pool & (claimed > 0.8)
    kept = targets[np.arange(len(first)), first][sure].mean()
    assert claimed[sure].mean() > 0.85
    assert kept == pytest.approx((first == truth)[sure].mean(), abs=0.08)


def test_each_pass_trains_on_what_the_last_one_corrected(rng):
    calls = []
    students = noisy(rng)[0].out_of_fold()

    def out_of_fold(targets, n_folds, seed):
        calls.append((targets, n_folds, seed))
        return students

    # The same seed again: the same teacher, and these students beside it.
    evidence, _ = noisy(np.random.default_rng(0), out_of_fold=out_of_fold)
    objective = Corrected(n_folds=4, n_passes=3, strength=1.0)
    targets = objective.lesson(evidence).targets
    assert [n_folds for _, n_folds, _ in calls] == [4, 4, 4]
    assert [seed for *_, seed in calls] == [0, 1, 2]
    np.testing.assert_array_equal(calls[0][0], evidence.targets)
    # The same opinions correct the teacher's labels the same way, never twice.
    np.testing.assert_allclose(calls[1][0], targets)
    np.testing.assert_allclose(calls[2][0], targets)
    # The teacher's labels are left by a share of the way in the end, never before.
    half = objective.set_params(strength=0.5).lesson(evidence).targets
    np.testing.assert_allclose(half, (evidence.targets + targets) / 2)
    np.testing.assert_allclose(calls[5][0], targets)


class Hardened(Objective):
    """Make hard labels of soft ones."""

    def transform(self, lesson, evidence):
        return lesson.replace(targets=np.eye(5)[lesson.targets.argmax(axis=1)])


def test_a_lesson_below_is_corrected_not_replaced(rng):
    """As much is kept of its labels as would be of the teacher's own."""
    evidence, _ = noisy(rng)
    rows, first = np.arange(1200), evidence.targets.argmax(axis=1)
    plain = Corrected(n_passes=1).lesson(evidence).targets
    kept = plain[rows, first] / evidence.targets[rows, first]
    lesson = Corrected(n_passes=1, base=Hardened()).lesson(evidence)
    np.testing.assert_allclose(lesson.targets[rows, first], kept)


def test_it_is_worked_out_by_hand():
    """Four checked rows, all wrong; students who do not know: counts decide.

    The truth is second, second and third, and once anywhere behind the first: with
    1 / r for each rank r, the ranks weigh 0, 17/6, 10/6 and 7/12.
    """
    checks = np.array(
        [
            [0.5, 0.3, 0.15, 0.05],
            [0.5, 0.3, 0.15, 0.05],
            [0.5, 0.3, 0.15, 0.05],
            [0.7, 0.1, 0.1, 0.1],
        ]
    )
    pool = np.array(
        [
            [0.05, 0.6, 0.25, 0.1],
            [0.0, 1.0, 0.0, 0.0],
            [0.1, 0.6, 0.15, 0.15],
            [0.4, 0.4, 0.15, 0.05],
        ]
    )
    evidence = Evidence(
        np.vstack([np.eye(4)[[1, 1, 2, 3]], pool]),
        np.arange(8) < 4,
        TeacherChecks(np.arange(4), checks),
        out_of_fold=lambda *args: np.full((8, 4), 0.25),
    )
    second, third, fourth = 17 / 6, 10 / 6, 7 / 12
    weights = np.array(
        [
            [fourth, 0, second, third],
            [1, 0, 1, 1],
            [fourth, 0, (second + third) / 2, (second + third) / 2],
            [0, second / 2, third, fourth],
        ]
    )
    # Never right on four rows: one in six, whatever it claims.
    kept = (1 / 6 / pool.max(axis=1))[:, None]
    expected = kept * pool + (1 - kept) * weights / weights.sum(axis=1, keepdims=True)
    lesson = Corrected(strength=1.0).lesson(evidence)
    np.testing.assert_allclose(lesson.targets[4:], expected)


@pytest.mark.parametrize("n_checks", [1, 2, 5])
def test_a_few_checked_rows_are_enough(rng, n_checks):
    """With mistakes among them; targets stay distributions."""
    evidence, truth = noisy(rng)
    proba = evidence.teacher_checks.proba
    wrong_first = np.argsort(proba.argmax(axis=1) == truth[:200], kind="stable")
    few = wrong_first[np.r_[0, 200 - np.arange(1, n_checks)].astype(int)]
    evidence = Evidence(
        evidence.targets,
        evidence.given,
        TeacherChecks(few, proba[few]),
        out_of_fold=evidence.out_of_fold,
    )
    targets = Corrected().lesson(evidence).targets
    np.testing.assert_allclose(targets.sum(axis=1), 1)
    assert (targets >= 0).all()


def test_missing_students_are_named(rng):
    evidence, _ = noisy(rng, out_of_fold=None)
    with pytest.raises(ObjectiveError, match="out_of_fold is None"):
        Corrected().lesson(evidence)


@pytest.mark.parametrize(
    "params", [{"n_folds": 1}, {"n_passes": 0}, {"strength": 0.0}, {"base": "soft"}]
)
def test_parameters_out_of_range_are_named(rng, params):
    evidence, _ = noisy(rng)
    (name,) = params
    with pytest.raises(InvalidParameterError, match=name):
        Corrected(**params).lesson(evidence)
