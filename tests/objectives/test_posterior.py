"""Bayes' rule for labels: what it keeps, what it follows, and when it is used."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import Corrected, Evidence, PosteriorTargets, TeacherChecks
from skadistill.objectives._posterior import _strength, label_posterior
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


@pytest.mark.parametrize(
    ("only_corrected", "only_plain", "strength"),
    [
        (0, 0, 0.0),
        (9, 2, 1.0),
        (2, 9, 0.0),
        (5, 4, 0.0),
        (5, 3, 0.5),
        (4, 5, 0.0),
        (1, 0, 0.5),
    ],
)
def test_the_strength_follows_the_proof(only_corrected, only_plain, strength):
    """Half a standard error gives half of the correction, and a whole one all."""
    assert _strength(only_corrected, only_plain) == strength


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


def test_a_proof_against_it_leaves_the_labels(monkeypatch):
    """As do half and full strength in between."""
    evidence, _ = simulated("one class", 0)
    lessons = {}
    for name, counts in {"none": (1, 1), "half": (3, 1), "full": (9, 0)}.items():
        monkeypatch.setattr(
            "skadistill.objectives._posterior._Problem.rows_right",
            lambda self, counts=counts: counts,
        )
        lessons[name] = PosteriorTargets().lesson(evidence).targets
    np.testing.assert_array_equal(lessons["none"], evidence.targets)
    np.testing.assert_allclose(
        lessons["half"], (lessons["none"] + lessons["full"]) / 2, atol=1e-12
    )


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
