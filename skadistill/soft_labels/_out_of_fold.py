"""Students trained on parts of the rows, or several times, to judge labels by them."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone

from skadistill._statistics.folds import deal_folds, each_fold
from skadistill._utils.compat import safe_indexing
from skadistill.soft_labels._fit_student import fit_student
from skadistill.student._checks import student_proba

__all__ = [
    "TRACE",
    "Committee",
    "give_every_class",
    "predict_out_of_fold",
    "random_state_names",
    "train_committee",
]

# Probability that every row gives every class, so that no fold lacks one.
TRACE = 1e-6


def predict_out_of_fold(
    student, X, targets, *, classes, given, n_folds=3, seed=0, fit_params=None
):
    """Predict each row with a student that was trained on other rows."""
    n_samples, n_classes = targets.shape
    groups = targets.argmax(axis=1) + n_classes * given
    fold = deal_folds(groups, n_folds, np.random.default_rng(seed))
    targets = (targets + TRACE) / (1 + n_classes * TRACE)
    proba = np.empty((n_samples, n_classes))
    for train, test in each_fold(fold):
        own = {} if fit_params is None else fit_params(train)
        learner = fit_student(
            clone(student),
            safe_indexing(X, train),
            targets[train],
            classes=classes,
            **own,
        )
        proba[test] = student_proba(learner, safe_indexing(X, test), n_classes)
    # A GaussianNB that has learned a single row has no opinion.
    proba[~np.isfinite(proba).all(axis=1)] = 1 / n_classes
    return proba


def give_every_class(targets):
    """Give classes that no row names a trace of probability: some students need it."""
    missing = targets.sum(axis=0) == 0
    if not missing.any():
        return targets
    targets = targets.copy()
    # In one row only: in all of them it would multiply the rows of students that
    # learn from one copy of a row per class.
    targets[0] += TRACE * missing
    targets[0] /= targets[0].sum()
    return targets


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
