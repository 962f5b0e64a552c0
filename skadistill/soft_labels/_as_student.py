"""Turn what a user passed as `student` into an unfitted estimator."""

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skadistill.exceptions import StudentError
from skadistill.soft_labels._binary_relevance import BinaryRelevance
from skadistill.soft_labels._default import default_students
from skadistill.soft_labels._out_of_fold import random_state_names

__all__ = ["as_student", "for_labels"]


def for_labels(student, space):
    """Return a student that learns what a fit learns."""
    if not space.multilabel:
        return student
    return BinaryRelevance(student, labels=space.classes.tolist())


def as_student(student=None, random_state=None, X=None):
    """Return an unfitted student: a clone of the one passed, or the default."""
    if isinstance(student, type):
        raise StudentError(
            f"student must be an instance, got the class {student.__name__}; pass "
            f"{student.__name__}()."
        )
    if student is None:
        students = default_students(() if X is None else (X,))
        student = next(iter(students.values()))
    elif hasattr(student, "fit") and hasattr(student, "get_params"):
        student = clone(student)
    else:
        raise StudentError(
            "student must be a classifier with the methods fit and get_params, got "
            f"{student!r}; pass for example StudentNet() or LogisticRegression()."
        )
    if random_state is None:
        return student
    random_state = check_random_state(random_state)
    params = student.get_params(deep=True)
    settings = {
        name: random_state.randint(np.iinfo(np.int32).max)
        for name in random_state_names(student)
        if params[name] is None
    }
    return student.set_params(**settings) if settings else student
