"""Students that differ in nothing but their random numbers."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone

from skadistill.student._fit_student import fit_student
from skadistill.student._out_of_fold import TRACE
from skadistill.student._predictions import student_proba

__all__ = ["Committee", "random_state_names", "train_committee"]

#: Members of a committee.
N_STUDENTS = 5


@dataclass(frozen=True, eq=False)
class Committee:
    """Fitted students whose mean is less a matter of chance than any of them.

    Parameters
    ----------
    students : list of classifier
        Fitted to the same rows.
    n_classes : int
        Classes that they were fitted to.
    """

    students: list
    n_classes: int

    def predict_proba(self, X):
        """Return the mean of the students' probabilities.

        Parameters
        ----------
        X : container of n_samples rows
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Probabilities, in the students' dtype.
        """
        total = sum(student_proba(each, X, self.n_classes) for each in self.students)
        return total / len(self.students)


def random_state_names(estimator):
    """List the parameters that are seeds, of an estimator and its parts.

    Parameters
    ----------
    estimator : estimator
        Any.

    Returns
    -------
    names : list of str
        Sorted.
    """
    return [
        name
        for name in sorted(estimator.get_params(deep=True))
        if name == "random_state" or name.endswith("__random_state")
    ]


def train_committee(
    student, X, targets, *, classes, seed, n_students=N_STUDENTS, **fit_params
):
    """Train students that differ in their random numbers only.

    Parameters
    ----------
    student : classifier or Pipeline
        Cloned for each member; whatever :func:`fit_student` can fit. One without a
        `random_state` makes a committee of one.
    X : container of n_samples rows
        Training rows.
    targets : ndarray of shape (n_samples, n_classes)
        What the students are to match; rows sum to 1.
    classes : ndarray of shape (n_classes,)
        Sorted labels of the columns.
    seed : int
        Draws the members' seeds.
    n_students : int, default=5
        Members.
    **fit_params : dict
        Passed to the students' ``fit``.

    Returns
    -------
    committee : Committee
        The fitted students.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import ExtraTreeClassifier
    >>> from skadistill.student._committee import train_committee
    >>> X = np.arange(8.0)[:, None]
    >>> targets = np.eye(2)[[0, 0, 0, 0, 1, 1, 1, 1]]
    >>> committee = train_committee(
    ...     ExtraTreeClassifier(), X, targets, classes=[0, 1], seed=0
    ... )
    >>> len(committee.students), committee.predict_proba(np.array([[0.0], [7.0]]))[:, 1]
    (5, array([0., 1.]))
    """
    names = random_state_names(student)
    targets = (targets + TRACE) / (1 + targets.shape[1] * TRACE)
    rng = np.random.default_rng(seed)
    students = []
    for _ in range(n_students if names else 1):
        member = clone(student)
        if names:
            seeds = rng.integers(np.iinfo(np.int32).max, size=len(names)).tolist()
            member.set_params(**dict(zip(names, seeds, strict=True)))
        students.append(fit_student(member, X, targets, classes=classes, **fit_params))
    return Committee(students, targets.shape[1])
