"""Rows with probabilities as labeled rows with weights."""

import numpy as np

from skadistill._compat import num_samples, safe_indexing
from skadistill.student._checks import check_soft_targets

__all__ = ["expand_soft_labels"]


def expand_soft_labels(X, targets, classes, sample_weight=None, *, threshold=1e-3):
    """Turn rows with probabilities into labeled rows with weights.

    A row with weight :math:`w_i` and target :math:`t_i` becomes one copy per
    class, labeled :math:`c` and weighing :math:`w_i t_{ic}`. For every learner
    whose loss is a weighted sum over rows, training on the copies is training on
    the cross-entropy with soft targets.

    Parameters
    ----------
    X : array-like, sparse matrix, frame or list of length n_samples
        Rows of any kind that can be indexed.
    targets : array-like of shape (n_samples, n_classes)
        Probabilities; rows sum to 1.
    classes : array-like of shape (n_classes,)
        Sorted labels of the columns.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows; None means 1.
    threshold : float, default=1e-3
        Copies for classes less likely than this are left out and the row's other
        copies take over their weight. A class that no row would keep stays at
        its likeliest row, so that it is not forgotten.

    Returns
    -------
    X : same type as `X`, n_copies rows
        The copies, those of one row next to each other.
    y : ndarray of shape (n_copies,)
        Labels.
    weight : ndarray of shape (n_copies,)
        Weights; over the copies of a row they sum to the row's weight.

    Examples
    --------
    >>> from skadistill.student._soft_labels import expand_soft_labels
    >>> expand_soft_labels(
    ...     ["a", "b"], [[0.25, 0.75], [1.0, 0.0]], ["no", "yes"]
    ... )
    (['a', 'a', 'b'], array(['no', 'yes', 'no'], dtype='<U3'), array([0.25, 0.75, 1. ]))
    """
    _, classes = check_soft_targets(targets, classes)
    targets = np.asarray(targets, dtype=np.float64)
    n_samples = len(targets)
    if num_samples(X) != n_samples:
        raise ValueError(
            f"X and targets must have one row each per sample, got {num_samples(X)} "
            f"rows of X and {n_samples} of targets; pass the same rows."
        )
    if not 0 <= threshold < 1:
        raise ValueError(
            f"threshold must be a probability below 1, got {threshold!r}; pass for "
            "example 1e-3."
        )
    # The likeliest class of a row always stays, whatever the threshold.
    keep = (targets >= np.minimum(threshold, targets.max(axis=1))[:, None]) & (
        targets > 0
    )
    for column in np.flatnonzero(~keep.any(axis=0)):
        row = targets[:, column].argmax()
        keep[row, column] = targets[row, column] > 0
    mass = np.where(keep, targets, 0.0)
    mass /= mass.sum(axis=1, keepdims=True)
    if sample_weight is not None:
        mass *= np.asarray(sample_weight, dtype=np.float64)[:, None]
    rows, columns = np.nonzero(keep)
    return safe_indexing(X, rows), classes[columns], mass[rows, columns]
