"""How sure the student must be: thresholds whose promise is exact."""

import math

import numpy as np

from skadistill._intervals import exact_upper
from skadistill.exceptions import CascadeError

__all__ = ["deferral_threshold", "promised_threshold"]

#: A student that may answer fewer rows than this share saves nothing.
LEAST_ANSWERED = 0.01


def promised_threshold(sure, agreed, target, confidence):
    """Find the lowest threshold with which the promise is kept.

    Parameters
    ----------
    sure : ndarray of shape (n_audit,)
        The student's largest probability on each audit row.
    agreed : ndarray of bool of shape (n_audit,)
        Whether its class is the teacher's.
    target : float
        Share of all rows on which the cascade must agree with the teacher.
    confidence : float
        The promise is broken in at most 1 minus so many draws of the audit rows.

    Returns
    -------
    threshold : float
        The student answers rows that are above it; -inf: all.

    Raises
    ------
    CascadeError
        If there are too few rows, or the student may answer hardly any of them.

    Notes
    -----
    Let k(v) be the audit rows above v on which both differ. It only grows as v falls,
    so that testing thresholds one by one from the highest down, and stopping at the
    first that fails, ends where k exceeds the largest number c whose upper bound keeps
    the promise. If v* is the threshold at which the promise begins to be broken, the
    search passes it only if k(v*) <= c, which is as rare as promised.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.deploy._threshold import promised_threshold
    >>> sure = np.linspace(0.5, 1, 101)
    >>> promised_threshold(sure, sure > 0.6, target=0.95, confidence=0.95)
    0.595
    """
    n_audit, risk = len(sure), 1 - target
    n_allowed = _largest_count(n_audit, risk, confidence)
    if n_allowed is None:
        n_needed = math.ceil(math.log(1 - confidence) / math.log(target))
        raise CascadeError(
            f"{n_audit} audit rows cannot show an agreement of {target:g} with "
            f"confidence {confidence:g}, even if all of them agree; pass at least "
            f"{n_needed}, or a lower target."
        )
    missed = np.sort(sure[~agreed])[::-1]
    if len(missed) <= n_allowed:
        return -math.inf
    threshold = float(missed[n_allowed])
    if np.mean(sure > threshold) < LEAST_ANSWERED:
        raise CascadeError(
            f"no useful threshold keeps an agreement of {target:g} on {n_audit} audit "
            "rows: the student contradicts the teacher on rows it is surest of, and "
            "nearly every row would be deferred; label more rows, audit more, or lower "
            "the target."
        )
    return threshold


def deferral_threshold(sure, max_deferred, confidence):
    """Find the highest threshold with which few enough rows are deferred.

    Parameters
    ----------
    sure : ndarray of shape (n_audit,)
        The student's largest probability on each audit row.
    max_deferred : float
        Share of all rows that may be deferred; 0: none.
    confidence : float
        As in `promised_threshold`.

    Returns
    -------
    threshold : float
        Rows above it are not deferred; -inf: none is.

    Raises
    ------
    CascadeError
        If there are too few rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.deploy._threshold import deferral_threshold
    >>> deferral_threshold(np.linspace(0.5, 1, 101), 0.2, confidence=0.95)
    0.56
    """
    if max_deferred == 0:
        return -math.inf
    n_audit = len(sure)
    n_allowed = _largest_count(n_audit, max_deferred, confidence)
    if n_allowed is None:
        n_needed = math.ceil(math.log(1 - confidence) / math.log(1 - max_deferred))
        raise CascadeError(
            f"{n_audit} audit rows cannot show that at most {max_deferred:g} of all "
            f"rows are deferred; pass at least {n_needed}, or a larger max_deferred."
        )
    values, counts = np.unique(sure, return_counts=True)
    # Rows that are equally sure are deferred together or not at all.
    few = np.flatnonzero(np.cumsum(counts) <= n_allowed)
    return float(values[few[-1]]) if len(few) else -math.inf


def _largest_count(n_samples, risk, confidence):
    """Return the largest count whose exact upper bound is within the risk."""
    if n_samples == 0 or exact_upper(0, n_samples, confidence) > risk:
        return None
    low, high = 0, n_samples  # the bound at n_samples is 1
    while high - low > 1:
        middle = (low + high) // 2
        if exact_upper(middle, n_samples, confidence) <= risk:
            low = middle
        else:
            high = middle
    return low
