"""Students that differ in nothing but their random numbers."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone

from skadistill.soft_labels._fit_student import fit_student
from skadistill.soft_labels._out_of_fold import TRACE
from skadistill.student._checks import student_proba

__all__ = ["Committee", "random_state_names", "train_committee"]

#: Members of a committee.
N_STUDENTS = 5


@dataclass(frozen=True, eq=False)
class Committee:
    """Fitted students whose mean is less a matter of chance than any of them."""

    students: list
    n_classes: int

    def predict_proba(self, X):
        """Return the mean of the students' probabilities."""
        total = sum(student_proba(each, X, self.n_classes) for each in self.students)
        return total / len(self.students)


def random_state_names(estimator):
    """List the parameters that are seeds, of an estimator and its parts."""
    return [
        name
        for name in sorted(estimator.get_params(deep=True))
        if name == "random_state" or name.endswith("__random_state")
    ]


def train_committee(
    student, X, targets, *, classes, seed, n_students=N_STUDENTS, **fit_params
):
    """Train students that differ in their random numbers only."""
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
