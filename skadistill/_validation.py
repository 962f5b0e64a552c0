"""Checks that several folders share: unlabeled rows, amounts of money."""

import math

import numpy as np

from skadistill.exceptions import TeacherError

__all__ = ["as_cost", "unlabeled_mask"]


def unlabeled_mask(y, marker):
    """Mark the rows of `y` that carry no label.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels; strings need dtype object when the marker is not a string.
    marker : object or None
        The value that stands for "no label", usually -1. None: every row is
        labeled.

    Returns
    -------
    mask : ndarray of bool of shape (n_samples,)
        True where the row has no label.

    Raises
    ------
    ValueError
        If `y` is an array of fixed-width strings and the marker is a number:
        numpy would have turned the marker into a string class.

    Examples
    --------
    >>> from skadistill._validation import unlabeled_mask
    >>> unlabeled_mask([0, -1, 2], marker=-1)
    array([False,  True, False])
    """
    y = np.asarray(y)
    if marker is None:
        return np.zeros(y.shape[0], dtype=bool)
    if y.dtype.kind in "US" and not isinstance(marker, str):
        if str(marker) in y:
            raise ValueError(
                f"y holds strings of dtype {y.dtype} and some equal {str(marker)!r}, "
                f"but unlabeled_marker={marker!r} is not a string; build y with "
                "dtype=object so that the marker stays what it is, or pass "
                f"unlabeled_marker={str(marker)!r}."
            )
        return np.zeros(y.shape[0], dtype=bool)
    if y.dtype == object:
        # Element by element: `array == -1` is elementwise for object arrays but
        # an entry whose __eq__ returns an array would break it.
        return np.fromiter((bool(v == marker) for v in y), bool, count=len(y))
    return y == marker


def as_cost(value, name):
    """Return an amount of money as a float.

    Parameters
    ----------
    value : float, int, numpy scalar, Decimal or None
        The amount. None: not known.
    name : str
        What the amount is called in the message.

    Returns
    -------
    cost : float or None
        Finite and not negative; None for None.

    Raises
    ------
    TeacherError
        If the value is a text, a truth value, NaN, infinite or negative.

    Examples
    --------
    >>> from decimal import Decimal
    >>> from skadistill._validation import as_cost
    >>> as_cost(Decimal("0.25"), "cost_per_row")
    0.25
    """
    if value is None:
        return None
    try:
        number = not isinstance(value, str | bytes | bool | np.bool_)
        cost = float(value) if number else math.nan
    except (TypeError, ValueError, OverflowError):
        cost = math.nan
    if not 0 <= cost < math.inf:
        raise TeacherError(
            f"{name} is {value!r:.80}, which is not an amount of money; pass a finite "
            "number of at least 0, or None if it is not known."
        )
    return cost
