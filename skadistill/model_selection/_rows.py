"""Labels as an array, some of them missing."""

import numpy as np

from skadistill._validation import unlabeled_mask

__all__ = ["as_labels", "labeled_values", "mask_of"]


def as_labels(y):
    """Return `y` as an array in which a numeric marker stays a number.

    ``np.asarray(["a", -1])`` is ``["a", "-1"]``: a list of strings and numbers
    becomes an array of dtype object instead.
    """
    if isinstance(y, list | tuple) and any(isinstance(v, str) for v in y):
        out = np.empty(len(y), dtype=object)
        out[:] = y
        return out
    return np.asarray(y)


def mask_of(y, marker):
    """Return labels as an array and the mask of those that are missing."""
    y = as_labels(y)
    return y, unlabeled_mask(y, marker)


def labeled_values(y):
    """Give labels that are all of one kind the dtype of that kind.

    scikit-learn's checks refuse object arrays of numbers and treat object arrays
    of strings unlike others; once the marker is gone neither is needed.
    """
    return np.array(y.tolist()) if y.dtype == object else y
