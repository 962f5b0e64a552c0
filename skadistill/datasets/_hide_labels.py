"""Turn a labeled table into a partially labeled one."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skadistill.exceptions import SkadistillError

__all__ = ["hide_labels"]


def hide_labels(
    y: ArrayLike, n_labeled: float, *, marker: Any = -1, random_state: Any = None
) -> NDArray[Any]:
    """Replace all labels but a few by the unlabeled marker.

    The rows that keep their label are drawn at random; every class keeps at least one
    if `n_labeled` allows it.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels of all rows.
    n_labeled : int or float
        Rows that keep their label: a number of at least 1, or a share in (0, 1).
    marker : object, default=-1
        The value that stands for "no label".
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    y_partial : ndarray of shape (n_samples,)
        A copy; of dtype object if `y` holds strings, so that a marker that is not a
        string keeps its type.

    Raises
    ------
    SkadistillError
        If no row would keep its label.
    ValueError
        If `n_labeled` is larger than the number of rows, or the marker is already one
        of the labels.

    Examples
    --------
    >>> from skadistill.datasets import hide_labels
    >>> y = hide_labels(["ham", "spam", "ham", "spam"], 2, random_state=0)
    >>> sorted(y.tolist(), key=str)
    [-1, -1, 'ham', 'spam']
    """
    y = np.asarray(y)
    rng = check_random_state(random_state)
    count = n_labeled
    if not isinstance(n_labeled, int | np.integer):
        if not 0 < n_labeled < 1:
            raise ValueError(
                f"n_labeled={n_labeled!r} is neither a number of rows nor a share; "
                "pass an int, or a float between 0 and 1."
            )
        count = round(n_labeled * len(y))
    if count < 1:
        raise SkadistillError(
            f"n_labeled={n_labeled!r} leaves none of {len(y)} rows with a label; "
            "pass a larger number."
        )
    if count > len(y):
        raise ValueError(
            f"n_labeled={n_labeled!r} is larger than the number of rows, {len(y)}; "
            "pass at most that many."
        )
    values = y.tolist()
    if any(
        isinstance(v, str) == isinstance(marker, str) and v == marker for v in values
    ):
        raise ValueError(
            f"y already holds the marker {marker!r} as a label; pass the labels of "
            "all rows, or another marker."
        )
    keep = _draw_with_every_class(values, count, rng)
    if isinstance(marker, str) or y.dtype.kind in "USO":
        out = np.empty(len(y), dtype=object)
        out[:] = values
    else:
        # An unsigned dtype or bool could not hold -1.
        out = y.astype(np.result_type(y.dtype, np.min_scalar_type(marker)))
    hidden = np.ones(len(y), dtype=bool)
    hidden[keep] = False
    out[hidden] = marker
    return out


def _draw_with_every_class(values, count, rng):
    """Draw rows at random, one of every class first as far as `count` goes."""
    order = rng.permutation(len(values)).tolist()
    seen: set = set()
    first = []
    for i in order:
        if values[i] not in seen:
            seen.add(values[i])
            first.append(i)
    chosen = set(first)
    return (first + [i for i in order if i not in chosen])[:count]
