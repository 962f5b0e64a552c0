"""Debiased weights: exact for perfect teachers, unbiased by simulation, bounded."""

import numpy as np
import pytest
from sklearn.utils._param_validation import InvalidParameterError

from skadistill.datasets import make_noisy_teacher_problem
from skadistill.exceptions import ObjectiveError
from skadistill.objectives import Debiased, Evidence, SLaM, SoftTargets, TeacherChecks
from skadistill.objectives._base import margin
from skadistill.objectives._debiased import debiasing_weights
from skadistill.student import StudentNet

ESTIMATORS = ["sum", "ratio"]


def answers(rng, truth, right_when, n_classes=3):
    """Draw soft labels of any margin; the first class is right where it is said."""
    n, rows = len(truth), np.arange(len(truth))
    lead = rng.uniform(0.05, 0.95, n)
    wrong = (truth + rng.integers(1, n_classes, n)) % n_classes
    first = np.where(rng.random(n) < right_when(lead), truth, wrong)
    proba = np.repeat((1 - lead)[:, None] / n_classes, n_classes, axis=1)
    proba[rows, first] += lead
    return proba


def noisy(rng, n_given, n_pool, right_when, n_classes=3):
    """Make evidence of a teacher whose every mistake is known, and the truth."""
    truth = rng.integers(n_classes, size=n_given + n_pool)
    proba = answers(rng, truth, right_when, n_classes)
    given = np.arange(n_given + n_pool) < n_given
    targets = np.where(given[:, None], np.eye(n_classes)[truth], proba)
    checks = TeacherChecks(np.arange(n_given), proba[:n_given])
    return Evidence(targets, given, checks), truth


def student_of(rng, truth, n_classes=3):
    """Draw a student that leans to the truth, more or less."""
    logits = rng.normal(size=(len(truth), n_classes))
    logits[np.arange(len(truth)), truth] += rng.uniform(0, 3, len(truth))
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def loss_on(proba, labels):
    return -np.log(proba[np.arange(len(labels)), labels])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_perfect_teacher_has_weights_of_exactly_one(rng, estimator):
    """Its first class is the truth, however unsure it and its student are."""
    evidence, truth = noisy(rng, 100, 200, lambda m: np.ones_like(m))
    lesson = Debiased(estimator).lesson(evidence)
    np.testing.assert_array_equal(lesson.targets, evidence.targets)
    for proba in (student_of(rng, truth), student_of(rng, np.roll(truth, 1))):
        np.testing.assert_array_equal(lesson.reweight(proba), 1.0)


def bias_and_error(weighted_loss, true_loss, n_checks):
    """Return the mean difference, and its standard error with that of the weights."""
    difference = weighted_loss - true_loss
    error = difference.std() * np.sqrt(1 / len(difference) + 1 / n_checks)
    return abs(difference.mean()), error


@pytest.mark.parametrize("leans_to_the_truth", [True, False])
def test_the_weighted_loss_is_the_true_one_in_expectation(rng, leans_to_the_truth):
    """Right with probability 0.4 + 0.6 m: by simulation, within four errors.

    Overall and where the teacher is unsure, with a student that is mostly right and
    one that guesses. Unweighted, the loss of the first is far off, and the second's
    is not: it is wrong about labels and truths alike.
    """
    evidence, truth = noisy(rng, 4000, 20_000, lambda m: 0.4 + 0.6 * m)
    teacher = evidence.targets.argmax(axis=1)
    proba = student_of(rng, truth if leans_to_the_truth else rng.permutation(truth))
    weights = Debiased().lesson(evidence).reweight(proba)
    true, said = loss_on(proba, truth), loss_on(proba, teacher)
    pool = ~evidence.given
    for rows in (pool, pool & (margin(evidence.targets) < 0.3)):
        bias, error = bias_and_error((weights * said)[rows], true[rows], 4000)
        assert bias < 4 * error
        if leans_to_the_truth:
            bias, error = bias_and_error(said[rows], true[rows], 4000)
            assert bias > 8 * error


def test_the_ratio_needs_neighbors_of_one_ratio(rng):
    """Unbiased where the margins tell D (two classes, student right); else not."""
    evidence, truth = noisy(rng, 4000, 20_000, lambda m: 0.4 + 0.6 * m, n_classes=2)
    teacher, pool = evidence.targets.argmax(axis=1), ~evidence.given
    sure = rng.uniform(0.55, 0.95, len(truth))
    right = np.where(np.eye(2)[truth] == 1, sure[:, None], 1 - sure[:, None])
    mixed = np.where(rng.random((len(truth), 1)) < 0.2, 1 - right, right)
    reweights = [Debiased(e).lesson(evidence).reweight for e in ESTIMATORS]
    for proba, ratio_holds in [(right, True), (mixed, False)]:
        true, said = loss_on(proba, truth), loss_on(proba, teacher)
        for reweight, holds in zip(reweights, [True, ratio_holds], strict=True):
            weighted = reweight(proba) * said
            bias, error = bias_and_error(weighted[pool], true[pool], 4000)
            assert (bias < 4 * error) == holds


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_neighbourhood_is_weighed_by_the_formula(estimator):
    """Losses 0.5 on truths and 2 on wrong labels: 1 / (1 + p (4 - 1))."""
    for n_wrong in range(5):
        wrong = np.arange(4) < n_wrong
        weights = debiasing_weights(
            np.full(4, 0.5),
            np.where(wrong, 2.0, 0.5),
            wrong,
            np.arange(4)[None],
            estimator,
        )
        expected = 1 / (1 + n_wrong / 4 * (4 - 1))
        np.testing.assert_allclose(weights, [expected], rtol=1e-4)


def test_the_ratio_is_averaged_over_wrong_neighbors_and_sums_are_divided():
    """Wrong labels cost 4 and 2 times the truth, at truths of 0.5 and 2."""
    loss_true, loss_teacher = np.array([0.5, 2, 1]), np.array([2.0, 4, 1])
    args = loss_true, loss_teacher, np.array([True, True, False]), np.arange(3)[None]
    ratio, total = (debiasing_weights(*args, estimator)[0] for estimator in ESTIMATORS)
    np.testing.assert_allclose(total, 1 / (1 + 2 / 3 * (3 - 1)), rtol=1e-4)
    np.testing.assert_allclose(ratio, 3.5 / 7, rtol=1e-4)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("likes", ["truth", "teacher", "neither"])
def test_weights_are_bounded_for_students_that_are_certain(rng, estimator, likes):
    """One-hot students: the weights stay in (0, (n + 2) / (r + 1)]."""
    evidence, truth = noisy(rng, 150, 300, lambda m: m)
    liked = {
        "truth": truth,
        "teacher": np.r_[
            evidence.teacher_checks.proba.argmax(axis=1),
            evidence.targets[150:].argmax(axis=1),
        ],
        "neither": rng.integers(3, size=450),
    }[likes]
    weights = Debiased(estimator).lesson(evidence).reweight(np.eye(3)[liked])
    assert np.isfinite(weights).all()
    assert weights.min() > 0
    assert weights.max() <= 12 + 2
    if likes == "truth":
        assert weights.max() <= 1


def test_the_bound_counts_the_right_neighbors():
    """The student repeats the teacher's mistakes: one right of four, 6 / 2."""
    wrong = np.array([True, True, True, False])
    for estimator in ESTIMATORS:
        weights = debiasing_weights(
            np.array([16.0, 16, 16, 0]),
            np.zeros(4),
            wrong,
            np.arange(4)[None],
            estimator,
        )
        np.testing.assert_array_equal(weights, [3.0])


def test_rows_are_weighed_by_their_own_neighbors(rng):
    """Wrong below a margin of one half and right above: weights differ there."""
    evidence, truth = noisy(rng, 400, 400, lambda m: m > 0.5)
    weights = Debiased().lesson(evidence).reweight(student_of(rng, truth))
    m = margin(evidence.targets)
    pool = ~evidence.given
    np.testing.assert_array_equal(weights[pool & (m > 0.7)], 1.0)
    assert (weights[pool & (m < 0.3)] != 1).all()


def test_the_students_margin_counts_as_well():
    """Two rows of one teacher margin, told apart by how sure the student is."""
    proba = np.tile([0.7, 0.3], (4, 1))
    targets = np.vstack([np.eye(2)[[0, 1]], proba[:2]])
    evidence = Evidence(
        targets, np.array([1, 1, 0, 0], bool), TeacherChecks(np.arange(2), proba[:2])
    )
    # The teacher is wrong about the second, of which the student is sure.
    student = np.array([[0.55, 0.45], [0.1, 0.9], [0.5, 0.5], [0.05, 0.95]])
    weights = Debiased(n_neighbors=1).lesson(evidence).reweight(student)
    np.testing.assert_array_equal(weights[:3], 1)
    np.testing.assert_allclose(weights[3], np.log(0.9) / np.log(0.1), rtol=1e-4)


@pytest.mark.parametrize(("n_neighbors", "n_used"), [("sqrt", 7), (3, 3), (999, 49)])
def test_neighbors_are_as_many_as_asked(rng, n_neighbors, n_used):
    """49 checked rows; wrong ones repeated show through the bound."""
    evidence, _ = noisy(rng, 49, 10, lambda m: np.zeros_like(m))
    said = np.r_[evidence.teacher_checks.proba, evidence.targets[49:]].argmax(axis=1)
    weights = (
        Debiased(n_neighbors=n_neighbors).lesson(evidence).reweight(np.eye(3)[said])
    )
    np.testing.assert_array_equal(weights[49:], n_used + 2)


def test_blocks_of_rows_change_nothing(rng, monkeypatch):
    """Large pools are weighed block by block, the last one being shorter."""
    evidence, truth = noisy(rng, 100, 50, lambda m: m)
    proba = student_of(rng, truth)
    reweight = Debiased().lesson(evidence).reweight
    whole = reweight(proba)
    monkeypatch.setattr("skadistill.objectives._debiased.BLOCK_ROWS", 7)
    np.testing.assert_array_equal(reweight(proba), whole)


def test_given_rows_keep_their_weight(rng):
    evidence, truth = noisy(rng, 100, 50, lambda m: m < 0)
    weights = Debiased().lesson(evidence).reweight(student_of(rng, truth))
    np.testing.assert_array_equal(weights[:100], 1)
    assert (weights[100:] != 1).all()


def test_withheld_truth_is_replaced_by_the_teachers_answer(rng):
    """The student learns answers there, and these rows are weighed like the pool."""
    evidence, truth = noisy(rng, 100, 50, lambda m: m < 0)
    lesson = Debiased(withheld=0.3).lesson(evidence)
    hidden = (lesson.targets != evidence.targets).any(axis=1)
    assert hidden.sum() == 30
    assert not hidden[100:].any()
    np.testing.assert_array_equal(
        lesson.targets[hidden], evidence.teacher_checks.proba[hidden[:100]]
    )
    weights = lesson.reweight(student_of(rng, truth))
    np.testing.assert_array_equal(weights[:100] != 1, hidden[:100])
    np.testing.assert_array_equal(evidence.targets[:100], np.eye(3)[truth[:100]])


def test_withheld_rows_alone_tell_the_weights(rng):
    """What the student says about the other given rows changes nothing."""
    evidence, truth = noisy(rng, 100, 50, lambda m: m)
    lesson = Debiased(withheld=0.3).lesson(evidence)
    hidden = (lesson.targets != evidence.targets).any(axis=1)
    proba = student_of(rng, truth)
    other = np.where((evidence.given & ~hidden)[:, None], 1 / 3, proba)
    np.testing.assert_array_equal(lesson.reweight(proba), lesson.reweight(other))
    changed = np.where(hidden[:, None], 1 / 3, proba)
    assert (lesson.reweight(proba) != lesson.reweight(changed)).any()


def test_every_row_is_as_likely_to_be_withheld(rng):
    """Over seeds; and within one lesson they are spread over the margins."""
    evidence, _ = noisy(rng, 40, 5, lambda m: m)
    counts = np.zeros(40)
    by_margin = np.argsort(margin(evidence.teacher_checks.proba))
    for seed in range(400):
        seeded = Evidence(
            evidence.targets, evidence.given, evidence.teacher_checks, random_state=seed
        )
        lesson = Debiased(withheld=0.25).lesson(seeded)
        hidden = (lesson.targets != evidence.targets).any(axis=1)[:40]
        counts += hidden
        np.testing.assert_array_equal(
            hidden[by_margin].reshape(10, 4).sum(axis=1), np.ones(10)
        )
    # Binomial with p = 0.25: four standard deviations.
    assert np.abs(counts - 100).max() < 4 * np.sqrt(400 * 0.25 * 0.75)


def test_what_lies_below_treats_withheld_rows_like_the_pool(rng):
    """SLaM mixes there, with the alpha that it estimates from all of them."""
    evidence, _ = noisy(rng, 200, 50, lambda m: 0.4 + 0.6 * m)
    lesson = Debiased(withheld=0.5, base=SLaM("absolute", k=3)).lesson(evidence)
    hidden = (lesson.targets != evidence.targets).any(axis=1)
    assert (lesson.alpha[hidden] < 1).all()
    np.testing.assert_array_equal(lesson.alpha[evidence.given & ~hidden], 1)
    plain = SLaM("absolute", k=3).lesson(evidence)
    np.testing.assert_array_equal(lesson.alpha[200:], plain.alpha[200:])


def test_rows_without_a_teacher_have_no_weights(rng):
    """Where every row is given, nothing is withheld and nothing reweighed."""
    labels = np.eye(3)[rng.integers(3, size=20)]
    given = np.ones(20, dtype=bool)
    evidence = Evidence(labels, given, TeacherChecks(np.arange(20), labels))
    lesson = Debiased(withheld=0.5).lesson(evidence)
    assert lesson.reweight is None
    np.testing.assert_array_equal(lesson.targets, labels)


def test_missing_teacher_checks_are_named():
    with pytest.raises(ObjectiveError, match="Debiased needs the teacher's answers"):
        Debiased().lesson(Evidence(np.full((2, 2), 0.5), np.zeros(2, dtype=bool)))


@pytest.mark.parametrize(
    "parameters",
    [{"estimator": "mean"}, {"n_neighbors": 0}, {"withheld": 1.2}],
)
def test_parameters_out_of_range_are_refused(parameters):
    name = next(iter(parameters))
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter"):
        Debiased(**parameters).lesson(
            Evidence(np.full((2, 2), 0.5), np.zeros(2, dtype=bool))
        )


def test_students_of_a_teacher_that_is_often_wrong_learn_more():
    """Wrong on 40 % of the rows: debiased, mixed and both beat soft by 2 points."""
    problem = make_noisy_teacher_problem(
        n_labeled=300, n_pool=800, teacher_error=0.4, random_state=0
    )
    X = np.vstack([problem.X_labeled, problem.X_pool])
    given = np.arange(len(X)) < 300
    targets = problem.teacher(X)
    checks = TeacherChecks(np.arange(300), targets[:300].copy())
    targets[:300] = np.eye(4)[problem.y_labeled]
    evidence = Evidence(targets, given, checks)
    soft, *others = (
        StudentNet(random_state=0, max_epochs=20)
        .fit_lesson(X, objective.lesson(evidence), classes=problem.classes)
        .score(problem.X_test, problem.y_test)
        for objective in (SoftTargets(), Debiased(), SLaM(), Debiased(base=SLaM()))
    )
    assert min(others) > soft + 0.02
