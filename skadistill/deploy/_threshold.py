"""How sure the student must be: thresholds whose promise is exact."""

import math

import numpy as np

from skadistill._statistics.intervals import exact_upper
from skadistill.exceptions import CascadeError

__all__ = ["check_audit_size", "deferral_threshold", "promised_threshold"]

#: A student that may answer fewer rows than this share saves nothing.
LEAST_ANSWERED = 0.01


def check_audit_size(n_audit, target, max_deferred, confidence):
    """Raise if so many audit rows could show nothing, whatever the answers are."""
    if max_deferred == 0:
        return
    risk = 1 - target if max_deferred is None else max_deferred
    if _largest_count(n_audit, risk, confidence) is None:
        n_needed = math.ceil(math.log(1 - confidence) / math.log(1 - risk))
        claim = (
            f"show an agreement of {target:g}"
            if max_deferred is None
            else f"show that at most {max_deferred:g} of all rows are deferred"
        )
        setting = "a lower target" if max_deferred is None else "a larger max_deferred"
        raise CascadeError(
            f"{n_audit} audit rows cannot {claim} with confidence {confidence:g}, even "
            f"if all of them agree; pass at least {n_needed}, or {setting}."
        )


def promised_threshold(sure, agreed, target, confidence):
    """Find the lowest threshold with which the promise is kept."""
    n_audit = len(sure)
    check_audit_size(n_audit, target, None, confidence)
    n_allowed = _largest_count(n_audit, 1 - target, confidence)
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
    check_audit_size(len(sure), None, max_deferred, confidence)
    n_allowed = _largest_count(len(sure), max_deferred, confidence)
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
