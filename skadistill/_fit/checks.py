"""Check a ready teacher on labeled rows, a few at a time."""

import numpy as np

from skadistill._rows._containers import take_rows
from skadistill.labeling._buy import buy_labels
from skadistill.labeling._teacher_error import TeacherErrorEstimate

__all__ = ["StepwiseChecks", "aimed_checks", "even_checks"]


class StepwiseChecks:
    """Ask a teacher about labeled rows, a few at a time, and keep its answers."""

    def __init__(self, teacher, X, truth, *, limit, row_numbers, first_size, **how):
        self.teacher, self.X, self.truth = teacher, X, truth
        self.limit, self.row_numbers = min(limit, len(truth)), row_numbers
        self.first_size, self.how = first_size, how
        self.rows = np.empty(0, dtype=np.intp)
        self.answers = np.empty((0, len(how["classes"])))
        self.n_asked, self.n_paid, self.n_no_label, self.cost = 0, 0, 0, 0.0
        self.is_spent = False

    @property
    def n_left(self):
        """Rows that may still be asked about."""
        return 0 if self.is_spent else self.limit - self.n_asked

    @property
    def wrong(self):
        """Whether the teacher's first choice is wrong, row by row."""
        return self.answers.argmax(axis=1) != self.truth[self.rows]

    def ask(self, rows):
        """Ask about some rows and return those answered, with the answers."""
        self.n_asked += len(rows)
        purchase = buy_labels(
            self.teacher,
            take_rows(self.X, rows),
            row_numbers=self.row_numbers[rows],
            first_size=self.first_size,
            **self.how,
        )
        self.first_size = None
        self.n_paid += purchase.n_paid
        self.cost += purchase.cost
        self.n_no_label += int(purchase.no_label.sum())
        self.is_spent = purchase.n_refused > 0
        got = rows[purchase.labeled], purchase.labels[purchase.labeled]
        self.rows = np.concatenate([self.rows, got[0]])
        self.answers = np.concatenate([self.answers, got[1]])
        return got

    def estimate(self, method):
        """Return what was found out about the teacher, in the order of the rows."""
        n_rows, n_wrong = len(self.rows), int(self.wrong.sum())
        by_row = np.argsort(self.rows)
        return TeacherErrorEstimate(
            rate=(n_wrong + 1) / (n_rows + 2),
            n_wrong=n_wrong,
            n_samples=n_rows,
            method=method,
            n_paid=self.n_paid,
            cost=self.cost,
            n_no_label=self.n_no_label,
            proba=self.answers[by_row] if n_rows else None,
            rows=self.rows[by_row],
        )


def aimed_checks(checks, strategy, evidence, *, share, rng, objective=None):
    """Ask about labeled rows until the strategy knows enough."""
    order, n_done = evidence.order(share, rng), 0
    while True:
        n_more = strategy.wants_checks(evidence, share)
        if objective is not None:
            rate = evidence.error_rate
            n_more = max(n_more, objective.n_more_checks(len(evidence.rows), rate))
        n_more = min(n_more, checks.n_left)
        if n_more <= 0:
            return evidence
        rows, answers = checks.ask(order[n_done : n_done + n_more])
        n_done += n_more
        if len(rows):
            evidence = evidence.add(rows, answers)


def even_checks(checks, objective, *, rng):
    """Ask about evenly drawn labeled rows until the objective can be chosen."""
    order, n_done = rng.permutation(len(checks.truth)), 0
    while True:
        wrong = checks.wrong
        error_rate = float(wrong.mean()) if len(wrong) else None
        n_more = min(objective.n_more_checks(len(wrong), error_rate), checks.n_left)
        if n_more <= 0:
            return error_rate
        checks.ask(order[n_done : n_done + n_more])
        n_done += n_more
