"""The students that are compared if none is named."""

import logging
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.special import softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill._rows._containers import count_rows
from skadistill.soft_labels import fit_student
from skadistill.soft_labels._default import default_students
from skadistill.student import StudentNet

TEXTS = ["a good film", "a bad film", "good plot", "bad plot"] * 15
WIDE = sp.random(60, 1200, 0.05, format="csr", random_state=0)
RECORDS = [{"size": i % 7, "color": "red" if i % 2 else "blue"} for i in range(60)]
FRAME = pd.DataFrame({"size": np.arange(60) % 7, "color": ["red", "blue"] * 30})
KINDS = {
    "texts": TEXTS,
    "wide": WIDE,
    "narrow": WIDE[:, :900],
    "records": RECORDS,
    "frame": FRAME,
    "numeric frame": FRAME[["size"]],
    "array": WIDE.toarray()[:, :20],
}


def labels_of(n_samples=60, n_labeled=40):
    """Return labels, most of them known, and all of them."""
    y = np.arange(n_samples) % 2
    return np.where(np.arange(n_samples) < n_labeled, y, -1), y


def always(rows):
    """Answer class 0."""
    return np.zeros(count_rows(rows), dtype=int)


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_rows_get_a_student(kind, caplog):
    """The choice is on the fitted object, in the log and in the report."""
    X = KINDS[kind]
    y, _ = labels_of()
    model = ActiveDistiller(always, budget=10, teacher_checks=0, random_state=0)
    with caplog.at_level(logging.INFO, logger="skadistill"):
        model.fit(X, y)
    names = set(default_students([X], 2))
    assert set(model.student_scores_) == names
    assert list(model.student_scores_.values()) == sorted(
        model.student_scores_.values()
    )
    best = next(iter(model.student_scores_))
    assert f"the student is: {best}" in caplog.text
    assert f"{best} (" in model._repr_html_()
    expected = default_students([X], 2)[best]
    assert str(clone(model.student_)).split("(")[0] == str(expected).split("(")[0]


@pytest.mark.parametrize("container", [list, pd.Series, np.asarray])
def test_texts(container):
    """Words decide, and unknown words are no error."""
    y, truth = labels_of()
    truth = np.array([1, 0, 1, 0] * 15)
    model = ActiveDistiller(
        lambda X: [int("good" in text) for text in X], budget=10, random_state=0
    ).fit(container(TEXTS), np.where(y < 0, -1, truth))
    assert isinstance(model.student_[-1], LogisticRegression)
    assert model.score(container(TEXTS), truth) == 1.0
    assert model.predict(container(["good luck", "bad luck"])).tolist() == [1, 0]


def test_long_texts_are_told_apart_by_words():
    """Counting their letters would take long."""
    assert any("letters" in name for name in default_students([TEXTS]))
    long = [text * 100 for text in TEXTS]
    assert all(name.startswith("words, ") for name in default_students([long]))


def test_boosting_is_for_few_classes_and_columns():
    """One tree per class and step, each of which looks at all columns, takes long."""
    X = KINDS["array"]
    assert "boosting" in default_students([X], 5)
    assert "boosting" not in default_students([X], 6)
    assert "boosting" not in default_students([np.zeros((5, 151))], 2)


def test_the_same_seed_chooses_and_predicts_the_same():
    """Two fits differ in nothing."""
    X = np.random.default_rng(0).normal(size=(120, 5))
    y = np.where(np.arange(120) < 50, X[:, 0] > 0, -1)
    fits = [
        ActiveDistiller(
            lambda X: (X[:, 0] > 0).astype(int), budget=30, random_state=3
        ).fit(X, y)
        for _ in range(2)
    ]
    assert fits[0].student_scores_ == fits[1].student_scores_
    np.testing.assert_array_equal(*(fit.predict_proba(X) for fit in fits))


def test_few_labels_get_the_first_student():
    """Nothing is compared with fewer than 30 labeled rows."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = np.where(np.arange(40) < 12, X[:, 0] > 0, -1)
    model = ActiveDistiller(
        lambda X: (X[:, 0] > 0).astype(int), budget=8, random_state=0
    ).fit(X, y)
    assert model.student_scores_ == {}
    assert "kernel" in model.student_.named_steps


def test_what_only_a_network_can_do_gets_a_network():
    """A loss of its own."""
    X = np.random.default_rng(0).normal(size=(80, 3))
    y = np.where(np.arange(80) < 50, X[:, 0] > 0, -1)
    model = ActiveDistiller(
        lambda X: (X[:, 0] > 0).astype(int), budget=20, random_state=0, objective="slam"
    ).fit(X, y)
    assert isinstance(model.student_, StudentNet)
    assert model.student_scores_ == {}


def test_soft_labels_are_learned_exactly():
    """Each linear step has the optimum of weighted copies, one for each class."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 4))
    targets = softmax(2 * X[:, :3] + rng.normal(size=(80, 3)), axis=1)
    students = default_students([X], 3)
    for name in ("radial basis, C=10", "linear, C=0.1"):
        student = students[name].set_params(classifier__tol=1e-8)
        if "kernel" in student.named_steps:
            student.set_params(kernel__n_components=30, kernel__random_state=0)
        student = fit_student(student, X, targets, classes=np.arange(3))
        Z = student[:-1].transform(X)
        copies = LogisticRegression(C=student[-1].C, tol=1e-8, max_iter=5000).fit(
            np.repeat(Z, 3, axis=0),
            np.tile(np.arange(3), 80),
            sample_weight=targets.ravel(),
        )
        np.testing.assert_allclose(
            student[-1].predict_proba(Z), copies.predict_proba(Z), atol=1e-5
        )


LOAD = """
import pickle, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("skadistill", "torch", "skorch"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
student, X, expected = pickle.load(sys.stdin.buffer)
assert abs(student.predict_proba(X) - expected).max() < 1e-9
"""


@pytest.mark.parametrize("kind", KINDS)
def test_students_load_without_this_package(kind):
    """A pickled student needs scikit-learn, neither skadistill nor torch."""
    X = KINDS[kind]
    _, y = labels_of()
    for student in default_students([X], 2).values():
        fit_student(student, X, np.eye(2)[y], classes=[0, 1])
        content = pickle.dumps((student, X, student.predict_proba(X)))
        assert b"skadistill" not in content
    if kind in ("texts", "frame"):  # a process takes a second to start
        subprocess.run([sys.executable, "-c", LOAD], input=content, check=True)
