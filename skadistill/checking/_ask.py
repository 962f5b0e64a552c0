"""Ask a ready teacher about labeled rows."""

from dataclasses import replace

from skadistill._rows._containers import take_rows
from skadistill._statistics.checks import TeacherChecks
from skadistill.labeling._buy import buy_labels

__all__ = ["Checker"]


class Checker:
    """Ask a ready teacher about labeled rows, and collect what it answers."""

    def __init__(self, teacher, X, truth, *, row_numbers, first_size=None, **how):
        self.teacher, self.X, self.truth = teacher, X, truth
        self.row_numbers, self.first_size, self.how = row_numbers, first_size, how
        none = TeacherChecks.none(len(how["classes"]))
        self.checks = replace(none, truth=truth[:0])
        self.is_spent = False

    def ask(self, rows):
        """Ask about some rows and keep the answers."""
        purchase = buy_labels(
            self.teacher,
            take_rows(self.X, rows),
            row_numbers=self.row_numbers[rows],
            first_size=self.first_size,
            **self.how,
        )
        self.first_size = None
        self.is_spent = purchase.n_refused > 0
        # Without rows that the budget or the teacher left without a label.
        got = rows[purchase.labeled]
        self.checks = self.checks.add(
            got,
            purchase.labels[purchase.labeled],
            self.truth[got],
            n_paid=purchase.n_paid,
            cost=purchase.cost,
            n_no_label=int(purchase.no_label.sum()),
        )

    def ask_in_steps(self, order, n_more):
        """Ask about rows in this order while ``n_more(checks)`` is not 0."""
        while len(order) and not self.is_spent:
            n_rows = n_more(self.checks)
            if n_rows <= 0:
                return
            self.ask(order[:n_rows])
            order = order[n_rows:]
