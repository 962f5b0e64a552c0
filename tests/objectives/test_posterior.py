"""Bayes' rule for labels: what it keeps, what it follows, and when it is used."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import Corrected, Evidence, PosteriorTargets, TeacherChecks
from skadistill.objectives._posterior import _brier, _strength, label_posterior
from skadistill.soft_labels._out_of_fold import give_every_class, predict_out_of_fold
from skadistill.testing import check_objective

K = 3


@pytest.fixture
def parts(rng):
    """Return the arguments of `label_posterior` for 90 rows, the first 60 given."""
    truth = np.arange(90) % K
    said = np.where(rng.random(90) < 0.3, (truth + 1) % K, truth)
    teacher = 0.6 * np.eye(K)[said] + 0.4 * rng.dirichlet(np.ones(K), 90)
    given = np.arange(90) < 60
    of_all, of_given = rng.dirichlet(np.ones(K), (2, 90))
    return {
        "targets": np.where(given[:, None], np.eye(K)[truth], teacher),
        "given": given,
        "checked_proba": teacher[:40],
        "checked_truth": truth[:40],
        "of_all": of_all,
        "of_given": of_given,
    }


def hard(proba):
    return np.eye(K)[proba.argmax(axis=1)]


def test_rows_are_distributions_and_given_ones_stay(parts):
    """To the last bit."""
    q = label_posterior(**parts)
    np.testing.assert_allclose(q.sum(axis=1), 1)
    assert (q >= 0).all()
    given = parts["given"]
    np.testing.assert_array_equal(q[given], parts["targets"][given])
    assert not np.allclose(q[~given], parts["targets"][~given])


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_permuting_rows_or_classes_permutes_the_result(parts, rng, kind):
    """Nothing depends on an order, except that ties of hard labels have none."""
    if kind == "hard":
        parts["targets"] = hard(parts["targets"])
        parts["checked_proba"] = hard(parts["checked_proba"])
    q = label_posterior(**parts)
    order = rng.permutation(90)
    by_row = {k: v[order] for k, v in parts.items() if not k.startswith("checked")}
    np.testing.assert_allclose(label_posterior(**parts | by_row), q[order], atol=1e-5)
    classes = np.array([2, 0, 1])
    by_class = {
        k: v[:, classes] for k, v in parts.items() if getattr(v, "ndim", 0) == 2
    } | {"checked_truth": np.argsort(classes)[parts["checked_truth"]]}
    np.testing.assert_allclose(
        label_posterior(**parts | by_class), q[:, classes], atol=1e-5
    )


def test_opinions_that_say_nothing_leave_the_confusion_matrix(parts):
    """If both are the class frequencies, q is what the teacher's answer is worth."""
    frequency = np.full((90, K), 1 / K)
    parts |= {"of_all": frequency, "of_given": frequency}
    parts["targets"], parts["checked_proba"] = map(
        hard, (parts["targets"], parts["checked_proba"])
    )
    q = label_posterior(**parts)
    bought = ~parts["given"]
    said, truth = parts["checked_proba"].argmax(axis=1), parts["checked_truth"]
    right = (np.sum(said == truth) + 1) / 42
    counts = np.zeros((K, K))
    np.add.at(counts, (said, truth), 1)
    prior = np.where(np.eye(K) > 0, right, (1 - right) / 2)
    expected = (counts + 5 * prior) / (counts.sum(axis=1, keepdims=True) + 5)
    answers = parts["targets"][bought].argmax(axis=1)
    on_diagonal = q[bought, answers]
    np.testing.assert_allclose(on_diagonal, np.diag(expected)[answers], atol=1e-9)


def test_a_teacher_that_says_nothing_is_ignored(parts, rng):
    """If its answers do not depend on the truth, the students decide."""
    truth = np.tile(np.repeat(np.arange(K), 5), 2)[:30]
    said = np.tile(np.arange(K), 10)  # each truth with each answer equally often
    truth = np.concatenate([truth, truth, truth])
    said = np.concatenate([said, said, said])
    parts["targets"] = np.where(
        parts["given"][:, None], np.eye(K)[truth], hard(np.eye(K)[said])
    )
    parts["checked_proba"], parts["checked_truth"] = np.eye(K)[said[:60]], truth[:60]
    strong = 0.9 * np.eye(K)[truth] + 0.1 / K
    parts |= {"of_all": strong, "of_given": strong}
    q = label_posterior(**parts)
    bought = ~parts["given"]
    np.testing.assert_array_equal(q[bought].argmax(axis=1), truth[bought])


@pytest.mark.parametrize("what", ["opinion", "counts"])
def test_more_evidence_for_a_class_raises_it(parts, what):
    """Of the students, and of the checks."""
    before = label_posterior(**parts)
    row = 75
    said = parts["targets"][row].argmax()
    other = (said + 1) % K
    if what == "opinion":
        for name in ("of_all", "of_given"):
            more = parts[name].copy()
            more[row, other] += 1
            parts[name] = more / more.sum(axis=1, keepdims=True)
    else:
        answer = np.eye(K)[said][None]
        parts["checked_proba"] = np.concatenate(
            [parts["checked_proba"], answer, answer]
        )
        parts["checked_truth"] = np.append(parts["checked_truth"], [other, other])
    assert label_posterior(**parts)[row, other] > before[row, other]


def test_two_equal_opinions_are_one(parts):
    """Swapping them changes nothing."""
    q = label_posterior(**parts)
    swapped = parts | {"of_all": parts["of_given"], "of_given": parts["of_all"]}
    np.testing.assert_allclose(label_posterior(**swapped), q, atol=1e-4)


def test_the_strength_is_the_gain_in_standard_errors(rng):
    """Of the Brier score, clipped: the same rows twice make a gain more certain."""
    truth = rng.integers(K, size=400)
    plain = rng.dirichlet(np.ones(K), 400)
    better = 0.98 * plain + 0.02 * np.eye(K)[truth]
    assert _strength(better, plain, truth) == 1
    assert _strength(plain, better, truth) == 0
    assert _strength(plain, plain, truth) == 0
    # Better in slightly more than half of the rows.
    mixed = np.where(np.arange(400)[:, None] % 20 < 11, better, 2 * plain - better)
    once = _strength(mixed, plain, truth)
    twice = [np.tile(part.T, 2).T for part in (mixed, plain, truth)]
    assert 0 < once < 1
    assert _strength(*twice) == pytest.approx(min(1, once * np.sqrt(2)))


def test_students_that_are_only_less_certain_are_not_worse(rng):
    """Soft labels make students less certain; the temperature is fitted."""
    truth = rng.integers(K, size=200)
    logits = 1.5 * np.eye(K)[truth] + rng.normal(size=(200, K))
    sure, unsure = softmax(logits, axis=1), softmax(logits / 2, axis=1)
    assert np.mean(_brier(sure, truth)) == pytest.approx(
        np.mean(_brier(unsure, truth)), abs=1e-4
    )


def test_a_bias_of_all_students_moves_no_label(parts):
    """Only in which rows a class is more likely than elsewhere counts."""
    parts["targets"][parts["given"]] = np.eye(K)[np.arange(60) % K]
    flat = np.full((90, K), 1 / K)
    biased = np.tile([0.8, 0.15, 0.05], (90, 1))
    np.testing.assert_allclose(
        label_posterior(**parts | {"of_all": biased, "of_given": biased}),
        label_posterior(**parts | {"of_all": flat, "of_given": flat}),
        atol=1e-9,
    )


def simulated(kind, seed, n_samples=700, n_given=60):
    """Return evidence of a teacher whose errors a student can learn, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=n_samples)
    X = 1.6 * np.eye(4)[truth] @ rng.normal(size=(4, 6)) + rng.normal(
        size=(n_samples, 6)
    )
    said = truth.copy()
    if kind == "one class":  # all rows of class 3 are called 0
        said[truth == 3] = 0
    else:
        wrong = rng.random(n_samples) < 0.3
        said[wrong] = (truth[wrong] + rng.integers(1, 4, size=wrong.sum())) % 4
    given = np.arange(n_samples) < n_given
    targets = np.where(given[:, None], np.eye(4)[truth], np.eye(4)[said])
    classes = np.arange(4)

    def fit_and_predict(train, targets, test):
        labels = give_every_class(np.asarray(targets))
        student = LogisticRegression(max_iter=500)
        rows = np.repeat(train, 4)
        student.fit(X[rows], np.tile(classes, len(train)), labels.ravel() + 1e-12)
        return student.predict_proba(X[test])

    def out_of_fold(targets, n_folds, random_state):
        return predict_out_of_fold(
            LogisticRegression(max_iter=500),
            X,
            targets,
            classes=classes,
            given=given,
            n_folds=n_folds,
            seed=random_state,
        )

    n_checks = min(40, n_given)
    checks = TeacherChecks(np.arange(n_checks), np.eye(4)[said[:n_checks]])
    evidence = Evidence(
        targets,
        given,
        checks,
        out_of_fold=out_of_fold,
        fit_and_predict=fit_and_predict,
        random_state=seed,
    )
    return evidence, truth


def accuracy(lesson, evidence, truth):
    bought = ~evidence.given
    return np.mean(lesson.targets[bought].argmax(axis=1) == truth[bought])


def test_errors_that_students_repeat_are_found():
    """By students of the given labels; students of the teacher second its errors."""
    gains = {"posterior": [], "corrected": []}
    for seed in range(3):
        evidence, truth = simulated("one class", seed, n_given=24)
        plain = np.mean(
            evidence.targets[~evidence.given].argmax(axis=1) == truth[~evidence.given]
        )
        for name, objective in (
            ("posterior", PosteriorTargets()),
            ("corrected", Corrected()),
        ):
            lesson = objective.lesson(evidence)
            gains[name].append(accuracy(lesson, evidence, truth) - plain)
    assert np.mean(gains["posterior"]) > 0.1
    assert np.mean(gains["corrected"]) < 0.03


def test_errors_at_random_are_corrected_as_well():
    """Not worse than by students of the teacher, which are good judges of these."""
    for seed in range(3):
        evidence, truth = simulated("anywhere", seed)
        ours = accuracy(
            PosteriorTargets(strength=1.0).lesson(evidence), evidence, truth
        )
        theirs = accuracy(Corrected().lesson(evidence), evidence, truth)
        assert ours > theirs - 0.02


def test_a_teacher_that_is_right_on_all_checks_is_followed():
    """Nothing is trained either."""
    evidence, truth = simulated("anywhere", 0)
    right = replace(
        evidence,
        teacher_checks=TeacherChecks(np.arange(40), np.eye(4)[truth[:40]]),
        fit_and_predict=lambda *args: pytest.fail("trained a student"),
    )
    lesson = PosteriorTargets().lesson(right)
    np.testing.assert_array_equal(lesson.targets, evidence.targets)


def test_rows_move_by_the_strength(monkeypatch):
    """To the teacher's labels at 0, exactly, and to the corrected ones at 1."""
    evidence, _ = simulated("one class", 0)
    lessons = {}
    for strength in (0.0, 0.5, 1.0):
        monkeypatch.setattr(
            "skadistill.objectives._posterior._strength",
            lambda *args, strength=strength: strength,
        )
        lessons[strength] = PosteriorTargets().lesson(evidence).targets
        fixed = PosteriorTargets(strength=strength).lesson(evidence).targets
        np.testing.assert_array_equal(lessons[strength], fixed)
    np.testing.assert_array_equal(lessons[0], evidence.targets)
    np.testing.assert_allclose(lessons[0.5], (lessons[0] + lessons[1]) / 2, atol=1e-12)


def test_no_label_of_a_fold_reaches_the_students_that_predict_it():
    """The proof is strict: these learn nothing that depends on the fold's truth."""
    evidence, _ = simulated("one class", 1)
    seen = []

    def watched(train, targets, test):
        seen.append((set(train.tolist()), set(test.tolist())))
        return evidence.fit_and_predict(train, targets, test)

    PosteriorTargets().lesson(replace(evidence, fit_and_predict=watched))
    assert all(train.isdisjoint(test) for train, test in seen)
    assert len(seen) <= 3 + 3 + 3 + 9 + 6


def test_it_keeps_the_contract():
    """With what it needs, and an error without."""
    check_objective(PosteriorTargets())
    check_objective(PosteriorTargets(strength=0.3))
    evidence, _ = simulated("anywhere", 0)
    with pytest.raises(ObjectiveError, match=r"evidence\.fit_and_predict is None"):
        PosteriorTargets().lesson(replace(evidence, fit_and_predict=None))
