"""What may be passed as `student`."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill.exceptions import StudentError
from skadistill.soft_labels._as_student import as_student
from skadistill.student import StudentNet


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
    assert isinstance(as_student(None, 0)[-1].random_state, int | np.integer)
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
