"""Turn what a user passed as `student` into an unfitted estimator."""

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skadistill.exceptions import StudentError
from skadistill.student._committee import random_state_names
from skadistill.student._default import default_student

__all__ = ["as_student"]


def as_student(student=None, random_state=None, X=None):
    """Return an unfitted student: a clone of the one passed, or the default.

    Parameters
    ----------
    student : classifier, Pipeline or None, default=None
        Cloned. None stands for a student that suits the rows: for texts a linear
        classifier of hashed words and their beginnings, for sparse rows of more than
        1000 columns a linear classifier, otherwise a :class:`StudentNet`.
    random_state : int, RandomState instance or None, default=None
        If the clone or one of its parts has a `random_state` that is None, it is
        set to a number drawn from this one. None leaves all as they are.
    X : container of n_samples rows or None, default=None
        Rows that the student will be fitted to. None: a table is assumed.

    Returns
    -------
    student : estimator
        An unfitted student; the original is not touched.

    Raises
    ------
    StudentError
        If it is not an estimator.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill.student._as_student import as_student
    >>> as_student(LogisticRegression(), random_state=0).random_state is None
    False
    """
    if isinstance(student, type):
        raise StudentError(
            f"student must be an instance, got the class {student.__name__}; pass "
            f"{student.__name__}()."
        )
    if student is None:
        student = default_student(X)
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
