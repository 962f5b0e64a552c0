"""The choice among students by rows that they have not seen."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skadistill.soft_labels import _choose
from skadistill.soft_labels._choose import score_on_folds, score_students
from skadistill.soft_labels._default import default_students
from skadistill.soft_labels._out_of_fold import TRACE, predict_out_of_fold


def steps_problem(n_samples=150, seed=0):
    """Return rows, soft targets of three classes, and a mask of given rows."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 4))
    logits = 3 * np.c_[X[:, 0], X[:, 1], -X[:, 0] - X[:, 1]]
    targets = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return X, targets, np.arange(n_samples) < 40


STUDENTS = {
    "prior": DummyClassifier(strategy="prior"),
    "linear": LogisticRegression(),
    "kernel, C=1": make_pipeline(
        StandardScaler(),
        Nystroem(n_components=40, random_state=0),
        LogisticRegression(),
    ),
    "kernel, C=9": make_pipeline(
        StandardScaler(),
        Nystroem(n_components=40, random_state=0),
        LogisticRegression(C=9),
    ),
    "tree": DecisionTreeClassifier(max_depth=2, random_state=0),
}


def test_scores_are_out_of_fold_brier_scores(monkeypatch):
    """The best one comes first; each score is that of its out-of-fold predictions."""
    monkeypatch.setattr(_choose, "TOLERANCE", 1e9)
    X, targets, given = steps_problem()
    students = {name: STUDENTS[name] for name in ("linear", "kernel, C=9")}
    scores = score_students(students, X, targets, classes=[0, 1, 2], given=given)
    assert list(scores.values()) == sorted(scores.values())
    for name, student in students.items():
        proba = predict_out_of_fold(
            student, X, targets, classes=[0, 1, 2], given=given, seed=0
        )
        even = (targets + TRACE) / (1 + 3 * TRACE)
        assert scores[name] == pytest.approx(((proba - even) ** 2).sum(axis=1).mean())


def test_choice_does_not_depend_on_the_order_of_rows_or_students():
    """With the same rows in each fold, all scores are the same."""
    X, targets, _ = steps_problem()
    fold = np.arange(len(X)) % 3
    names = ["linear", "tree", "prior"]  # not drawn at random
    some = {name: STUDENTS[name] for name in names}
    scores = score_on_folds(some, X, targets, fold, classes=[0, 1, 2])
    order = np.random.default_rng(1).permutation(len(X))
    back = {name: STUDENTS[name] for name in names[::-1]}
    permuted = score_on_folds(
        back, X[order], targets[order], fold[order], classes=[0, 1, 2]
    )
    assert list(permuted) == list(scores)
    assert permuted == pytest.approx(scores, abs=1e-5)


def test_students_far_behind_are_not_trained_again(monkeypatch):
    """They keep their place behind the others; close ones are trained on each fold."""
    trained = []
    fit_student = _choose.fit_student

    def counted(student, *args, **kwargs):
        trained.append(type(student).__name__)
        return fit_student(student, *args, **kwargs)

    monkeypatch.setattr(_choose, "fit_student", counted)
    X, targets, given = steps_problem()
    some = {name: STUDENTS[name] for name in ("prior", "linear")}
    scores = score_students(some, X, targets, classes=[0, 1, 2], given=given)
    assert trained.count("DummyClassifier") == 1
    assert trained.count("LogisticRegression") == 3
    assert list(scores) == ["linear", "prior"]


def test_equal_leading_steps_are_fitted_once_per_fold(monkeypatch):
    """Scores are those of students that share nothing."""
    monkeypatch.setattr(_choose, "TOLERANCE", 1e9)
    fitted = []
    fit = Nystroem.fit
    monkeypatch.setattr(Nystroem, "fit", lambda *args: fitted.append(1) or fit(*args))
    X, targets, given = steps_problem()
    names = ["kernel, C=1", "kernel, C=9"]
    known = {"classes": [0, 1, 2], "given": given}
    both = score_students({n: STUDENTS[n] for n in names}, X, targets, **known)
    assert len(fitted) == 3
    for name in names:
        alone = score_students({name: STUDENTS[name]}, X, targets, **known)
        assert both[name] == pytest.approx(alone[name], abs=1e-6)


def test_many_rows_are_represented_by_a_sample(monkeypatch):
    """The cost of a comparison is bounded."""
    monkeypatch.setattr(_choose, "MOST_ROWS", 60)
    seen = []
    fit_student = _choose.fit_student

    def counted(student, X, *args, **kwargs):
        seen.append(len(X))
        return fit_student(student, X, *args, **kwargs)

    monkeypatch.setattr(_choose, "fit_student", counted)
    X, targets, given = steps_problem(400)
    score_students(
        {"linear": STUDENTS["linear"]}, X, targets, classes=[0, 1, 2], given=given
    )
    assert seen == [40, 40, 40]


@pytest.mark.parametrize(
    ("shape", "best"),
    [("linear", "linear"), ("ring", "radial"), ("rules", ("boosting", "forest"))],
)
def test_the_kind_that_suits_the_truth_is_chosen(shape, best):
    """A line, a ring and axis-parallel rules each have their student."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 6))
    if shape == "linear":
        y = X @ [2, 1, -1, 1, 0, 1] + rng.logistic(size=400) > 0
    elif shape == "ring":
        y = (X**2).sum(axis=1) > 5.3
    else:
        y = (X[:, 0] > 0.3) ^ (X[:, 3] > -0.4)
    scores = score_students(
        default_students([X]),
        X,
        np.eye(2)[y.astype(int)],
        classes=[0, 1],
        given=np.ones(400, dtype=bool),
    )
    assert next(iter(scores)).startswith(best)
