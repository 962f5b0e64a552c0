"""Labels of one kind, once those that are missing are left out."""

import numpy as np

__all__ = ["labeled_values"]


def labeled_values(y):
    """Give labels that are all of one kind the dtype of that kind.

    scikit-learn's checks refuse object arrays of numbers and treat object arrays
    of strings unlike others; once the marker is gone neither is needed.
    """
    return np.array(y.tolist()) if y.dtype == object else y
