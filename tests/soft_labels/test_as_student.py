"""What may be passed as `student`."""

import logging

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller
from skadistill.exceptions import StudentError
from skadistill.soft_labels._as_student import as_student
from skadistill.student import StudentNet


def test_default_student():
    """Without a student there is a StudentNet with default settings."""
    student = as_student()
    assert isinstance(student, StudentNet)
    assert student.get_params(deep=False) == StudentNet().get_params(deep=False)


def test_as_student_clones_and_seeds():
    """The user's object stays as it is; only seeds that are None are drawn."""
    mine = make_pipeline(StandardScaler(), LogisticRegression())
    student = as_student(mine, random_state=0)
    assert student is not mine
    assert mine[-1].random_state is None
    assert isinstance(student[-1].random_state, int | np.integer)
    again = as_student(mine, random_state=0)
    assert again[-1].random_state == student[-1].random_state
    assert as_student(mine, random_state=1)[-1].random_state != student[-1].random_state
    assert as_student(LogisticRegression(random_state=7), 0).random_state == 7
    assert as_student(LogisticRegression()).random_state is None
    assert isinstance(as_student(None, 0).random_state, int | np.integer)
    search = GridSearchCV(StudentNet(), {"lr": [1]})
    assert as_student(search, 0).estimator.random_state is not None
    nb = KNeighborsClassifier()
    assert clone(as_student(nb, 0)).get_params() == nb.get_params()


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (
            StudentNet,
            r"student must be an instance, got the class StudentNet; pass "
            r"StudentNet\(\)\.",
        ),
        (
            "net",
            r"student must be a classifier with the methods fit and get_params, got "
            r"'net'; pass for example StudentNet\(\) or LogisticRegression\(\)\.",
        ),
        (3, r"student must be a classifier with the methods .*, got 3; pass .*\."),
    ],
)
def test_unknown_students_are_student_errors(student, message):
    """Classes, names and other objects are one kind of error, a ValueError too."""
    with pytest.raises(StudentError, match=message) as caught:
        as_student(student)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TypeError)


TEXTS = ["a good film", "a bad film", "good plot", "bad plot"] * 15
WIDE = sp.random(60, 1200, 0.05, format="csr", random_state=0)


@pytest.mark.parametrize("container", [list, pd.Series, np.asarray])
def test_texts_get_a_linear_student(container, caplog):
    """Without a student texts are hashed and learned within a fit, and it is said."""
    y = np.array([1, 0, 1, 0] * 15)
    partly = np.where(np.arange(60) < 8, y, -1)
    with caplog.at_level(logging.INFO, logger="skadistill"):
        model = ActiveDistiller(
            lambda X: [int("good" in text) for text in X], budget=10, random_state=0
        ).fit(container(TEXTS), partly)
    assert isinstance(model.student_[-1], LogisticRegression)
    assert "linear classifier of hashed words" in caplog.text
    assert model.score(container(TEXTS), y) == 1.0
    # Words that no row had have a place all the same.
    assert model.predict(container(["good luck", "bad luck"])).tolist() == [1, 0]


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array])
def test_wide_sparse_rows_get_a_linear_student(kind, caplog):
    """A network would have a first layer that no row teaches."""
    with caplog.at_level(logging.INFO, logger="skadistill"):
        student = as_student(None, 0, kind(WIDE))
    assert isinstance(student, LogisticRegression)
    assert "rows are sparse and wide" in caplog.text
    y = np.arange(60) % 2
    partly = np.where(np.arange(60) < 20, y, -1)
    model = ActiveDistiller(
        LogisticRegression(), budget=10, teacher_error=0.1, random_state=0
    ).fit(kind(WIDE), partly)
    assert isinstance(model.student_, LogisticRegression)


@pytest.mark.parametrize("X", [WIDE[:, :900], WIDE.toarray(), None])
def test_other_rows_get_a_network(X):
    """Narrow sparse rows, arrays however wide, and rows that nobody has seen yet."""
    assert isinstance(as_student(None, 0, X), StudentNet)
