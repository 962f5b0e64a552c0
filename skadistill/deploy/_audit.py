"""Rows on which a fitted distiller is audited: drawn evenly, not trained on, bought."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skadistill._rows._containers import count_rows, take_rows
from skadistill._rows._keys import row_keys
from skadistill.exceptions import BudgetError, TeacherError
from skadistill.labeling._buy import buy_labels
from skadistill.teachers._as_teacher import as_teacher

__all__ = ["Audit", "audit", "check_range", "draw_audit_rows", "teacher_of"]


@dataclass(frozen=True, eq=False)
class Audit:
    """Hold audited rows with the answers of student and teacher."""

    rows: np.ndarray
    X: Any
    proba: np.ndarray
    taught: np.ndarray
    n_paid: int
    n_no_label: int
    n_refused: int
    cost: float

    @property
    def agreed(self):
        """Whether student and teacher name the same class, row by row."""
        return self.proba.argmax(axis=1) == self.taught


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
    purchase = buy_labels(
        teacher_of(distiller),
        taken,
        classes=distiller.classes_,
        ledger=distiller.ledger_,
        row_numbers=rows,
    )
    kept = np.flatnonzero(purchase.labeled)
    return Audit(
        rows=rows[kept],
        X=take_rows(taken, kept),
        proba=proba[kept],
        taught=purchase.labels[kept].argmax(axis=1),
        n_paid=purchase.n_paid,
        n_no_label=purchase.n_no_label,
        n_refused=purchase.n_refused,
        cost=purchase.cost,
    )
