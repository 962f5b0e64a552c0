"""SLaM: limits are plain distillation, slopes and mixtures are the model's."""

import numpy as np
import pytest
import torch
from sklearn.utils._param_validation import InvalidParameterError

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import Evidence, Lesson, SLaM, SoftTargets, TeacherChecks
from skadistill.objectives._base import margin
from skadistill.objectives._loss import LessonLoss


def pool(proba):
    """Return evidence of rows that the teacher labeled, and no others."""
    return Evidence(proba, np.zeros(len(proba), dtype=bool))


def losses(lesson, logits):
    """Return the lesson's loss of each row in double precision."""
    packed = torch.from_numpy(LessonLoss.pack(lesson)).double()
    return LessonLoss(lesson)(torch.as_tensor(logits, dtype=torch.float64), packed)


def one_hot(classes, n_classes):
    return np.eye(n_classes)[classes]


def noisy_evidence(rng, n=4000, n_classes=5, k=3, alpha=lambda m: 0.5 + 0.5 * m):
    """Draw truths as the model says: first with probability alpha, else 2nd to k-th."""
    proba = rng.dirichlet(np.full(n_classes, 0.4), 2 * n)
    order = np.argsort(-proba, axis=1)
    right = rng.random(2 * n) < alpha(margin(proba))
    rank = np.where(right, 0, rng.integers(1, k, 2 * n))
    truth = order[np.arange(2 * n), rank]
    given = np.arange(2 * n) < n
    targets = np.where(given[:, None], one_hot(truth, n_classes), proba)
    return Evidence(targets, given, TeacherChecks(np.arange(n), proba[:n])), truth


def test_rows_of_a_sure_teacher_have_the_plain_loss(rng):
    """Where alpha is 1 the loss is the cross-entropy, whatever other rows do."""
    proba, logits = rng.dirichlet(np.ones(4), 30), rng.normal(size=(30, 4))
    alpha = np.where(np.arange(30) < 15, 1.0, 0.6)
    mixed = losses(SLaM(alpha, k=3).lesson(pool(proba)), logits)
    plain = losses(Lesson(proba), logits)
    torch.testing.assert_close(mixed[:15], plain[:15], rtol=1e-6, atol=1e-6)
    assert (mixed[15:] != plain[15:]).all()


@pytest.mark.parametrize("normalized", [True, False])
def test_alpha_of_one_everywhere_leaves_the_lesson_as_it_was(rng, normalized):
    lesson = SLaM(1.0, k=3, normalized=normalized).lesson(
        pool(rng.dirichlet(np.ones(4), 5))
    )
    assert not lesson.has_own_loss


@pytest.mark.parametrize("lower_bound", ["auto", 0.5])
def test_one_possible_class_leaves_nothing_to_mix(rng, lower_bound):
    """At k = 1 the model has no other truth, whatever alpha says."""
    evidence = pool(rng.dirichlet(np.ones(4), 5))
    lesson = SLaM(0.8, k=1, lower_bound=lower_bound).lesson(evidence)
    assert not lesson.has_own_loss


@pytest.mark.parametrize("sure", [True, False])
def test_a_perfect_teacher_is_distilled_plainly(rng, sure):
    """If its first class is always right, nothing is mixed, however unsure it is."""
    n, truth = 50, rng.integers(3, size=50)
    proba = one_hot(truth, 3) if sure else 0.5 * one_hot(truth, 3) + 0.5 / 3
    given = np.arange(n) < 20
    targets = np.where(given[:, None], one_hot(truth, 3), proba)
    evidence = Evidence(targets, given, TeacherChecks(np.arange(20), proba[:20]))
    for alpha in ("relative", "absolute"):
        lesson = SLaM(alpha).lesson(evidence)
        assert not lesson.has_own_loss
        np.testing.assert_array_equal(lesson.targets, targets)
    # Told that three classes are possible, it is still nearly sure: the prior's doubt.
    alpha = SLaM("absolute", k=3).lesson(evidence).alpha
    np.testing.assert_allclose(1 - alpha[~given], 2 / 22**2)


def test_both_forms_are_one_at_two_classes(rng):
    """At k = 2 the divisor is 1."""
    evidence = pool(rng.dirichlet(np.ones(5), 20))
    one = SLaM(0.7, k=2).lesson(evidence)
    other = SLaM(0.7, k=2, normalized=False).lesson(evidence)
    np.testing.assert_array_equal(one.spread, other.spread)
    np.testing.assert_array_equal(one.alpha, other.alpha)


def test_hard_labels_do_not_see_k_without_normalization(rng):
    evidence = pool(one_hot(rng.integers(5, size=20), 5))
    logits = rng.normal(size=(20, 5))
    per_k = [
        losses(SLaM(0.7, k=k, normalized=False).lesson(evidence), logits).numpy()
        for k in (1, 2, 5)
    ]
    np.testing.assert_array_equal(per_k[1], per_k[0])
    np.testing.assert_array_equal(per_k[2], per_k[0])
    other = losses(SLaM(0.7, k=5).lesson(evidence), logits).numpy()
    assert (other != per_k[0]).all()


@pytest.mark.parametrize("alpha", [0.55, 0.8, 0.99])
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("normalized", [True, False])
def test_slopes_are_those_of_the_formulas(rng, alpha, k, normalized):
    """Hard labels: the mixture's slope in f is 2a - 1, or a - (1 - a) / (k - 1)."""
    label = rng.integers(5, size=8)
    lesson = SLaM(alpha, k=k, normalized=normalized).lesson(pool(one_hot(label, 5)))
    logits = torch.tensor(rng.normal(size=(8, 5)), requires_grad=True)
    loss = losses(lesson, logits)
    loss.sum().backward()
    rows = np.arange(8)
    f = torch.softmax(logits, dim=1).detach().numpy()[rows, label]
    # d loss / d logit = -(d mix / d f) f (1 - f) / mix
    slope = -logits.grad.numpy()[rows, label] * np.exp(-loss.detach().numpy())
    slope /= f * (1 - f)
    expected = alpha - (1 - alpha) / (k - 1) if normalized else 2 * alpha - 1
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_the_mixture_is_a_distribution_where_all_classes_are_possible(rng):
    """At k = C the normalized one sums to 1; entries lie in [0, 1] for any k."""
    proba, f = rng.dirichlet(np.ones(5), 50), rng.dirichlet(np.full(5, 0.1), 50)
    alpha = rng.uniform(0.25, 1, 50)
    for k in range(2, 6):
        for normalized in (True, False):
            slam = SLaM(alpha, k=k, normalized=normalized, lower_bound=0.0)
            lesson = slam.lesson(pool(proba))
            mixture = alpha[:, None] * f + lesson.spread * (1 - f)
            assert mixture.min() >= 0
            assert mixture.max() <= 1
            np.testing.assert_array_equal((lesson.spread > 0).sum(axis=1), k)
    full = SLaM(alpha, k=5, lower_bound=0.0).lesson(pool(proba))
    mixture = full.alpha[:, None] * f + full.spread * (1 - f)
    np.testing.assert_allclose(mixture.sum(axis=1), 1)


def test_the_true_student_is_a_minimum(rng):
    """Compared with what a noisy teacher answers on average, the truth is best.

    The noise model of the docstring, averaged exactly over the teacher's answers;
    the plain cross-entropy has its minimum elsewhere.
    """
    f, alpha, k = rng.dirichlet(np.ones(4), 10), 0.7, 4
    answers = alpha * f + (1 - alpha) / (k - 1) * (1 - f)
    logits = torch.tensor(np.log(f), requires_grad=True)
    losses(SLaM(alpha, k=k).lesson(pool(answers)), logits).sum().backward()
    assert logits.grad.abs().max() < 1e-6
    logits.grad = None
    losses(Lesson(answers), logits).sum().backward()
    assert logits.grad.abs().max() > 0.01


def test_alpha_is_found_where_it_is_known(rng):
    """Truths drawn with alpha = (1 + margin) / 2 from the first three classes."""
    evidence, _ = noisy_evidence(rng)
    lesson = SLaM("absolute").lesson(evidence)
    drawn = ~evidence.given
    m = margin(evidence.targets[drawn])
    assert np.abs(lesson.alpha[drawn] - (0.5 + 0.5 * m)).mean() < 0.03
    assert (np.diff(lesson.alpha[drawn][np.argsort(m)]) >= 0).all()
    np.testing.assert_array_equal((lesson.spread[drawn] > 0).sum(axis=1), 3)


def calibrated_evidence(rng, n=4000):
    """Draw truths from the teacher's own probabilities."""
    proba = rng.dirichlet(np.full(4, 0.5), 2 * n)
    truth = np.minimum((proba.cumsum(axis=1) < rng.random((2 * n, 1))).sum(axis=1), 3)
    given = np.arange(2 * n) < n
    targets = np.where(given[:, None], one_hot(truth, 4), proba)
    return Evidence(targets, given, TeacherChecks(np.arange(n), proba[:n]))


def reworded(evidence, rewrite):
    """Let the same teacher say the same in other probabilities."""
    given = evidence.given[:, None]
    targets = np.where(given, evidence.targets, rewrite(evidence.targets))
    checks = TeacherChecks(
        evidence.teacher_checks.rows, rewrite(evidence.teacher_checks.proba)
    )
    return Evidence(targets, evidence.given, checks)


def test_only_doubt_that_is_not_stated_is_mixed_where_alpha_is_relative(rng):
    """Calibrated or modest: plain, but for noise. Boastful: accuracy over claim."""
    honest = calibrated_evidence(rng)
    modest = reworded(honest, lambda p: 0.7 * p + 0.3 / 4)
    boastful = reworded(honest, lambda p: p**2 / (p**2).sum(axis=1, keepdims=True))
    alphas = []
    for evidence in (honest, modest, boastful):
        alphas.append(SLaM("relative").lesson(evidence).alpha[~evidence.given])
    pool = honest.targets[~honest.given]
    assert alphas[0].mean() > 0.97
    assert alphas[1].mean() > 0.995
    claim = boastful.targets[~honest.given].max(axis=1)
    np.testing.assert_allclose(
        alphas[2].mean(), (pool.max(axis=1) / claim).mean(), atol=0.03
    )


def test_hard_labels_claim_certainty_and_relative_is_absolute(rng):
    """Where every claim is 1, both estimates are one."""
    evidence = reworded(calibrated_evidence(rng), lambda p: one_hot(p.argmax(1), 4))
    relative, absolute = (SLaM(a).lesson(evidence) for a in ("relative", "absolute"))
    assert absolute.alpha.min() < 0.8
    np.testing.assert_array_equal(relative.alpha, absolute.alpha)
    np.testing.assert_array_equal(relative.spread, absolute.spread)


def test_given_rows_are_not_mixed(rng):
    evidence, _ = noisy_evidence(rng, n=200)
    lesson = SLaM("absolute").lesson(evidence)
    np.testing.assert_array_equal(lesson.alpha[evidence.given], 1)
    np.testing.assert_array_equal(lesson.spread[evidence.given], 0)
    np.testing.assert_array_equal(lesson.targets, evidence.targets)


@pytest.mark.parametrize(
    ("coverage", "k"), [(0.5, 1), (0.51, 2), (0.8, 2), (0.81, 3), (1.0, 4)]
)
def test_k_is_the_smallest_that_covers_enough(coverage, k):
    """Ten rows whose truths are 5 times first, 3 second, 1 third and 1 fourth."""
    proba = np.tile([0.4, 0.3, 0.2, 0.1, 0.0], (11, 1))
    truth = np.array([0] * 5 + [1] * 3 + [2, 3])
    targets = np.vstack([one_hot(truth, 5), proba[:1]])
    evidence = Evidence(
        targets, np.arange(11) < 10, TeacherChecks(np.arange(10), proba[:10])
    )
    lesson = SLaM(alpha=0.6, normalized=False, coverage=coverage).lesson(evidence)
    np.testing.assert_array_equal(lesson.spread[10] > 0, np.arange(5) < k)


@pytest.mark.parametrize(
    ("normalized", "k", "useless"), [(True, 4, 0.25), (True, 2, 0.5), (False, 4, 0.5)]
)
def test_no_label_teaches_its_contrary(normalized, k, useless):
    """Alpha stays above the value at which a hard label has no slope."""
    evidence = pool(np.array([[1.0, 0, 0, 0]]))
    raised = SLaM(0.01, k=k, normalized=normalized).lesson(evidence)
    assert useless < raised.alpha[0] < useless + 0.01
    bound = SLaM(0.01, k=k, normalized=normalized, lower_bound=0.4).lesson(evidence)
    assert bound.alpha[0] == 0.4


def test_one_hot_students_have_finite_gradients(rng):
    """Logits so far apart that f is exactly 0 and 1, for and against the teacher."""
    proba = np.vstack([one_hot(rng.integers(4, size=6), 4), np.full((6, 4), 0.25)])
    lesson = SLaM(0.7, k=3).lesson(pool(proba))
    logits = torch.tensor(1e4 * rng.normal(size=(12, 4)), requires_grad=True)
    losses(lesson, logits).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_quantities_may_be_given(rng):
    """Numbers, one number a row, or functions of the teacher's probabilities."""
    proba = rng.dirichlet(np.ones(4), 6)
    by_row = SLaM(np.linspace(0.5, 1, 6), k=3).lesson(pool(proba))
    np.testing.assert_array_equal(by_row.alpha, np.linspace(0.5, 1, 6))
    called = SLaM(
        lambda p: 0.5 + p.max(axis=1) / 2, k=lambda p: 2 + (p[:, 0] > 0.25)
    ).lesson(pool(proba))
    np.testing.assert_array_equal(called.alpha, 0.5 + proba.max(axis=1) / 2)
    np.testing.assert_array_equal(
        (called.spread > 0).sum(axis=1), 2 + (proba[:, 0] > 0.25)
    )
    many = SLaM(0.8, k=99).lesson(pool(proba))
    np.testing.assert_allclose(many.spread, 0.2 / 3)


def test_what_is_given_is_not_estimated():
    assert SLaM().needs_teacher_checks
    assert SLaM(alpha=0.8).needs_teacher_checks
    assert SLaM(k=2).needs_teacher_checks
    assert SLaM("relative", k=2).needs_teacher_checks
    assert not SLaM(np.array([0.8, 0.9]), k=2).needs_teacher_checks


def test_the_margin_is_the_teachers_own_also_over_softened_targets(rng):
    """Softening below changes what is matched, not how far the teacher is trusted."""
    evidence, _ = noisy_evidence(rng, n=200)
    soft = SLaM("absolute", base=SoftTargets(temperature=4.0)).lesson(evidence)
    plain = SLaM("absolute").lesson(evidence)
    np.testing.assert_array_equal(soft.alpha, plain.alpha)
    np.testing.assert_array_equal(soft.spread, plain.spread)
    assert (soft.temperature[~evidence.given] == 4).all()


@pytest.mark.parametrize(
    ("slam", "message"),
    [
        (
            SLaM(np.array([0.5, 0.6]), k=2),
            "alpha has shape (2,) for 3 training rows; pass one value, or one value "
            "per "
            "row.",
        ),
        (
            SLaM(lambda p: p[:, 0] * 0, k=2),
            "alpha must lie in (0, 1], got values from 0.0 to 0.0; pass probabilities "
            "that the teacher is right.",
        ),
        (
            SLaM(0.8, k=lambda p: 0),
            "k must be at least 1, got 0; let the function return how many classes "
            "may be the true one.",
        ),
        (
            SLaM(),
            "SLaM needs the teacher's answers on rows with known labels, and "
            "evidence.teacher_checks is None; pass some, or set the parameters that "
            "are "
            "estimated from them.",
        ),
    ],
)
def test_invalid_values_raise(slam, message):
    with pytest.raises(ObjectiveError) as error:
        slam.lesson(pool(np.full((3, 2), 0.5)))
    assert str(error.value) == message


@pytest.mark.parametrize(
    "parameters",
    [
        {"alpha": 0.0},
        {"alpha": "high"},
        {"k": 0},
        {"k": 2.5},
        {"coverage": 0.0},
        {"lower_bound": 1.5},
    ],
)
def test_parameters_out_of_range_are_refused(parameters):
    name = next(iter(parameters))
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter"):
        SLaM(**parameters).lesson(pool(np.full((3, 2), 0.5)))
