"""Try a teacher on labeled rows: what it gets wrong, and what it costs."""

import html
from collections import Counter
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length, check_random_state

from skadistill._rows._containers import count_rows, take_rows
from skadistill._statistics.intervals import posterior_interval
from skadistill._utils.optional import require
from skadistill._utils.validation import read_labels
from skadistill.checking._error_rate import positions_of
from skadistill.labeling._buy import buy_labels
from skadistill.ledger._as_ledger import as_ledger

__all__ = ["Trial", "try_teacher"]

#: Confusions that are printed.
_N_SHOWN = 8


@dataclass(frozen=True, repr=False, eq=False)
class Trial:
    """Hold what a teacher answered on labeled rows; it prints as a few lines.

    Attributes
    ----------
    rows : ndarray of int of shape (n_rows,)
        Positions in `X` of the rows asked about, ascending.
    y : ndarray of shape (n_rows,)
        Their labels.
    answers : ndarray of object of shape (n_rows,)
        The class that the teacher finds most likely, None without a label.
    n_right, n_no_label, n_paid : int
        Rows answered with their label, rows answered without one, and rows that were
        paid for: the ledger held the others.
    confusions : dict of (label, answer) to int
        How often a class was taken for another one, the most frequent first.
    cost : float or None
        What the rows paid for cost; None without prices.
    seconds : float
        Time in the teacher.
    ledger : object
        The ledger with the answers: pass it to the distiller.
    """

    rows: np.ndarray
    y: np.ndarray
    answers: np.ndarray
    n_paid: int
    cost: float | None
    seconds: float
    ledger: Any
    name: str

    @property
    def n_right(self):
        """Rows answered with their label."""
        return int((self.answers == self.y).sum())

    @property
    def n_no_label(self):
        """Rows answered without a label."""
        return sum(answer is None for answer in self.answers)

    @property
    def confusions(self):
        """How often a class was taken for another one, the most frequent first."""
        pairs = zip(self.y.tolist(), self.answers.tolist(), strict=True)
        wrong = (pair for pair in pairs if pair[1] is not None and pair[0] != pair[1])
        return dict(Counter(wrong).most_common())

    def to_frame(self):
        """Return the rows as a pandas DataFrame: ``row``, ``label`` and ``answer``."""
        columns = {"row": self.rows, "label": self.y, "answer": self.answers}
        return require("pandas", "pandas").DataFrame(columns)

    def __repr__(self):
        n_rows = len(self.rows)
        if not n_rows:
            return f"{self.name} was asked about no row"
        low, high = (100 * x for x in posterior_interval(self.n_right, n_rows))
        lines = [
            f"{self.name} is right on {self.n_right} of {n_rows} rows: "
            f"{100 * self.n_right / n_rows:.1f} % (95 % interval {low:.1f} to "
            f"{high:.1f})"
        ]
        lines += [
            f"{label!r} answered as {answer!r}: {count} times"
            for (label, answer), count in list(self.confusions.items())[:_N_SHOWN]
        ]
        if len(self.confusions) > _N_SHOWN:
            lines.append(f"and {len(self.confusions) - _N_SHOWN} other confusions")
        if self.n_no_label:
            lines.append(f"no label: {self.n_no_label} times")
        paid = f"paid: {self.n_paid} rows"
        if self.cost is not None and self.n_paid:
            mean = 1000 * self.cost / self.n_paid
            paid += f", cost {self.cost:.4g} ({mean:.4g} per 1,000 rows)"
        return "\n".join([*lines, f"{paid}, {self.seconds:.2g} s"])

    def _repr_html_(self):
        return f"<pre>{html.escape(repr(self))}</pre>"


def try_teacher(teacher, X, y, *, ledger=None, n_rows=50, random_state=None):
    """Do what `BaseTeacher.try_on` says."""
    is_count = isinstance(n_rows, Integral) and not isinstance(n_rows, bool)
    if n_rows is not None and not (is_count and n_rows >= 1):
        raise ValueError(
            f"n_rows is {n_rows!r}; pass an integer of at least 1, or None for all."
        )
    y, _ = read_labels(y, None)
    if y.ndim == 2:
        raise ValueError(
            "try_on compares one class per row, and y is an indicator matrix of "
            f"{y.shape[1]} labels; ask the teacher with buy_labels instead."
        )
    check_consistent_length(X, y)
    classes = teacher.classes_
    classes = np.unique(y) if classes is None else np.asarray(classes)
    positions_of(y, classes.tolist())
    order = check_random_state(random_state).permutation(count_rows(X))
    rows = np.sort(order[:n_rows])
    ledger = as_ledger(ledger)
    bought = buy_labels(
        teacher, take_rows(X, rows), classes=classes, ledger=ledger, row_numbers=rows
    )
    answered = bought.labeled | bought.no_label
    answers = np.full(len(rows), None, dtype=object)
    best = bought.labels[bought.labeled].argmax(axis=1)
    answers[bought.labeled] = np.array(classes.tolist(), dtype=object)[best]
    return Trial(
        rows=rows[answered],
        y=np.array(y[rows].tolist(), dtype=object)[answered],
        answers=answers[answered],
        n_paid=bought.n_paid,
        cost=bought.cost or None,
        seconds=bought.seconds,
        ledger=ledger,
        name=teacher.display_name,
    )
