"""Predictions of students for rows that they were not trained on."""

import numpy as np
from sklearn.base import clone

from skadistill._statistics.folds import deal_folds
from skadistill._utils.compat import safe_indexing
from skadistill.soft_labels._fit_student import fit_student
from skadistill.student._checks import student_proba

__all__ = ["give_every_class", "predict_out_of_fold"]

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
    for k in range(n_folds):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if not len(test):
            continue
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
