"""Rows on which a fitted distiller is audited, and thresholds with exact promises."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skadistill._rows._containers import count_rows, take_rows
from skadistill._rows._keys import row_keys
from skadistill._statistics.intervals import exact_upper
from skadistill._utils.label_space import same_labels
from skadistill.exceptions import BudgetError, CascadeError, TeacherError
from skadistill.labeling._buy import buy_labels
from skadistill.teachers._as_teacher import as_teacher

__all__ = [
    "Audit",
    "audit",
    "check_audit_size",
    "check_range",
    "deferral_threshold",
    "draw_audit_rows",
    "promised_threshold",
    "teacher_of",
]

#: A student that may answer fewer rows than this share saves nothing.
LEAST_ANSWERED = 0.01


@dataclass(frozen=True, eq=False)
class Audit:
    """Hold audited rows with the answers of student and teacher."""

    rows: np.ndarray
    X: Any
    proba: np.ndarray
    said: np.ndarray
    taught: np.ndarray
    n_paid: int
    n_no_label: int
    n_refused: int
    cost: float

    @property
    def agreed(self):
        """Whether student and teacher name the same labels, row by row."""
        return same_labels(self.said, self.taught)


def teacher_of(distiller):
    """Return the teacher of a fitted distiller, ready to be asked."""
    given = getattr(distiller, "teacher_", None)
    if given is None:
        given = distiller.teacher
    teacher = None if given is None else as_teacher(given)
    if teacher is None or not teacher.is_fitted:
        raise TeacherError(
            f"this {type(distiller).__name__} has no teacher that could be asked; "
            "assign one to its attribute teacher_."
        )
    return teacher


def check_range(name, value, low, high):
    """Raise if a number does not lie between two others, both excluded."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low < value < high:
        raise ValueError(
            f"{name} is {value!r}; pass a number between {low} and {high}."
        )


def draw_audit_rows(distiller, X, n_audit, random_state):
    """Draw rows evenly, without those that the student was trained on."""
    check_is_fitted(distiller, "student_")
    if n_audit is not None and (
        isinstance(n_audit, bool) or not isinstance(n_audit, Integral) or n_audit < 1
    ):
        raise ValueError(
            f"n_audit is {n_audit!r}; pass an integer of at least 1, or None for all "
            "audit rows."
        )
    n_samples = count_rows(X)
    if not n_samples:
        raise BudgetError("there are no audit rows; pass some in X_audit.")
    order = check_random_state(random_state).permutation(n_samples)
    trained = getattr(distiller, "_trained_keys", np.empty(0, dtype="V16"))
    if n_audit is not None:
        # A row may be there several times, but hardly more often than rows trained on.
        order = order[: n_audit + 2 * len(trained)]
    keys = row_keys(take_rows(X, order)).tolist()
    seen = set(trained.tolist())
    rows = order[[key not in seen for key in keys]][:n_audit]
    if not rows.size:
        raise BudgetError(
            f"none of the {n_samples} audit rows can be used: the student was trained "
            "on all of them; pass rows that are in neither X nor X_unlabeled of fit."
        )
    return rows


def audit(distiller, X, n_audit, *, random_state=None):
    """Draw rows evenly and buy the teacher's answers."""
    rows = draw_audit_rows(distiller, X, n_audit, random_state)
    taken = take_rows(X, rows)
    # Before anything is paid: rows that the student cannot read must cost nothing.
    proba = np.asarray(distiller.predict_proba(taken))
    space = distiller._space
    said = space.decide(proba, distiller.student_)
    purchase = buy_labels(
        teacher_of(distiller),
        taken,
        classes=space.columns,
        ledger=distiller.ledger_,
        row_numbers=rows,
    )
    kept = np.flatnonzero(purchase.labeled)
    return Audit(
        rows=rows[kept],
        X=take_rows(taken, kept),
        proba=proba[kept],
        said=said[kept],
        taught=space.labels(purchase.labels[kept]),
        n_paid=purchase.n_paid,
        n_no_label=purchase.n_no_label,
        n_refused=purchase.n_refused,
        cost=purchase.cost,
    )


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
