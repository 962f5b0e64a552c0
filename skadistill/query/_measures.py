"""How informative a row is, measured from the student's probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MEASURES",
    "as_measure",
    "entropy_gain",
    "least_confident_gain",
    "margin_gain",
]


def margin_gain(proba: NDArray[Any]) -> NDArray[Any]:
    """Compute 1 minus the gap between the two largest probabilities of each row.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Rows of probabilities, at least two classes.

    Returns
    -------
    gain : ndarray of shape (n_samples,)
        In [0, 1]; 1 if the two first classes tie.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._measures import margin_gain
    >>> margin_gain(np.array([[0.75, 0.25], [0.5, 0.5]]))
    array([0.5, 1. ])
    """
    if proba.shape[1] == 2:
        return 1.0 - np.abs(proba[:, 0] - proba[:, 1])
    if proba.shape[1] > 16:
        top = np.partition(proba, -2, axis=1)[:, -2:]
        return 1.0 - (top[:, 1] - top[:, 0])
    # Class by class: several times faster than partitioning short rows.
    first = proba[:, 0].copy()
    second = np.full_like(first, -np.inf)
    for column in proba.T[1:]:
        np.maximum(second, np.minimum(first, column), out=second)
        np.maximum(first, column, out=first)
    return 1.0 - (first - second)


def entropy_gain(proba):
    """Compute the Shannon entropy of each row, in nats."""
    safe = np.maximum(proba, np.finfo(proba.dtype).tiny)
    return np.maximum(-(proba * np.log(safe)).sum(axis=1), 0.0)


def least_confident_gain(proba):
    """Compute 1 minus the largest probability of each row."""
    return 1.0 - proba.max(axis=1)


MEASURES = {
    "margin": margin_gain,
    "entropy": entropy_gain,
    "least_confident": least_confident_gain,
}


def as_measure(measure):
    """Return the function of a name, or the function itself."""
    return measure if callable(measure) else MEASURES[measure]
