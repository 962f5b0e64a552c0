"""Predictions of students for rows that they were not trained on."""

import numpy as np
from sklearn.base import clone

from skadistill._compat import safe_indexing
from skadistill._rows._folds import deal_folds
from skadistill.student._fit_student import fit_student
from skadistill.student._predictions import student_proba

__all__ = ["give_every_class", "predict_out_of_fold"]

# Probability that every row gives every class, so that no fold lacks one.
TRACE = 1e-6


def predict_out_of_fold(
    student, X, targets, *, classes, given, n_folds=3, seed=0, fit_params=None
):
    """Predict each row with a student that was trained on other rows.

    Parameters
    ----------
    student : classifier or Pipeline
        Cloned for every fold; whatever :func:`fit_student` can fit.
    X : array-like, sparse matrix, frame or list of length n_samples
        Rows.
    targets : ndarray of shape (n_samples, n_classes)
        What the students are to match; rows sum to 1.
    classes : ndarray of shape (n_classes,)
        Sorted labels of the columns.
    given : ndarray of bool of shape (n_samples,)
        Rows whose true label is known: these, and the others, are spread over the
        folds evenly, class by class.
    n_folds : int, default=3
        Folds, and students trained, each on the rows of all folds but one.
    seed : int, default=0
        Deals the folds.
    fit_params : callable or None, default=None
        Takes positions of rows and returns the keyword arguments of a student's
        ``fit`` on them; None without metadata.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        Probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill.student._out_of_fold import predict_out_of_fold
    >>> X, y = np.arange(-6.0, 6.0)[:, None], np.repeat([0, 1], 6)
    >>> y[2] = 1  # wrong, as the other rows tell
    >>> given = np.zeros(12, dtype=bool)
    >>> proba = predict_out_of_fold(
    ...     LogisticRegression(), X, np.eye(2)[y], classes=[0, 1], given=given
    ... )
    >>> int(proba[2].argmax())
    0
    """
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
    """Give classes that no row names a trace of probability, which some students need.

    Parameters
    ----------
    targets : ndarray of shape (n_samples, n_classes)
        What a student is to match; rows sum to 1.

    Returns
    -------
    targets : ndarray of shape (n_samples, n_classes)
        The same array if no class is missing, else a copy.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.student._out_of_fold import give_every_class
    >>> bool(give_every_class(np.eye(3)[[0, 1]])[:, 2].sum() > 0)
    True
    """
    missing = targets.sum(axis=0) == 0
    if not missing.any():
        return targets
    targets = targets.copy()
    # In one row only: in all of them it would multiply the rows of students that
    # learn from one copy of a row per class.
    targets[0] += TRACE * missing
    targets[0] /= targets[0].sum()
    return targets
