"""Check a ready teacher on labeled rows, a few at a time."""

import numpy as np

from skadistill._rows._containers import take_rows
from skadistill.labeling._buy import buy_labels
from skadistill.labeling._teacher_error import TeacherErrorEstimate

__all__ = ["check_in_steps"]


def check_in_steps(
    strategy, evidence, X, *, share, limit, rng, row_numbers, teacher, first_size, **how
):
    """Ask the teacher about labeled rows until the strategy knows enough.

    Parameters
    ----------
    strategy : RobustSampler
        Says when to stop.
    evidence : TeacherEvidence
        Nothing checked yet.
    X : container of n_labeled rows
        Labeled rows.
    share : float
        Share of the pool that is asked in a round.
    limit : int
        Rows to pay for at most.
    rng : numpy.random.Generator
        Draws the rows.
    row_numbers : ndarray of int of shape (n_labeled,)
        The numbers of the rows in messages.
    teacher : BaseTeacher
        Asked.
    first_size : int or None
        Rows of the first call, if it is to be smaller than others.
    **how : dict
        Passed to :func:`skadistill.labeling.buy_labels`.

    Returns
    -------
    evidence : TeacherEvidence
        What was learned.
    estimate : TeacherErrorEstimate
        The error rate on these rows: most of them are hard for the student, so it
        tends to be higher than that on all rows.
    """
    order = evidence.order(share, rng)
    limit, n_paid, cost = min(limit, len(order)), 0, 0.0
    n_done = 0
    while True:
        n_more = min(strategy.wants_checks(evidence, share), limit - n_done)
        if n_more <= 0:
            break
        rows = order[n_done : n_done + n_more]
        n_done += n_more
        purchase = buy_labels(
            teacher,
            take_rows(X, rows),
            row_numbers=row_numbers[rows],
            first_size=first_size,
            **how,
        )
        first_size = None
        n_paid += purchase.n_paid
        cost += purchase.cost
        got = purchase.labeled
        if got.any():
            evidence = evidence.add(rows[got], purchase.labels[got])
        if purchase.n_refused:
            break
    n_rows, n_wrong = len(evidence.rows), int(evidence.wrong.sum())
    by_row = np.argsort(evidence.rows)
    estimate = TeacherErrorEstimate(
        rate=(n_wrong + 1) / (n_rows + 2),
        n_wrong=n_wrong,
        n_samples=n_rows,
        method="aimed",
        n_paid=n_paid,
        cost=cost,
        proba=evidence.answers[by_row] if n_rows else None,
        rows=evidence.rows[by_row],
    )
    return evidence, estimate
