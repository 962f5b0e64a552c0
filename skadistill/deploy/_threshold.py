"""How sure the student must be: thresholds whose promise is exact."""

import math

import numpy as np

from skadistill._statistics.intervals import exact_upper
from skadistill.exceptions import CascadeError

__all__ = ["deferral_threshold", "promised_threshold"]

#: A student that may answer fewer rows than this share saves nothing.
LEAST_ANSWERED = 0.01


def promised_threshold(sure, agreed, target, confidence):
    """Find the lowest threshold with which the promise is kept."""
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
    """Find the highest threshold with which few enough rows are deferred."""
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
