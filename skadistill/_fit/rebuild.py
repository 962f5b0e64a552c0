"""The rounds of earlier fits, rebuilt from a ledger: their rows, and what they show."""

import numpy as np

from skadistill._fit.draw import Chosen
from skadistill._fit.plan import split_rounds
from skadistill._rows._keys import row_keys
from skadistill._statistics.intervals import post_stratified
from skadistill.student._checks import student_proba

__all__ = ["judge_by_known", "known_rounds"]

#: Rows by which the students of rebuilt rounds are judged at least, and rows of the
#: pool that are looked at to know how sure they are of all.
FEWEST_ROWS, MOST_ROWS = 20, 5000


def known_rounds(state):
    """Return the rows of the pool whose answers are known, as rounds.

    In the order in which they were paid, in rounds that grow with the labels.
    """
    found, in_flight = state.look_up_known()
    order = state.settings.ledger._keys_in_order(
        state.asked.identity, state.labels.classes.tolist()
    )
    position = {key: k for k, key in enumerate(order.tolist())}
    keys = row_keys(state.labels.table.take(found)).tolist() if found.size else []
    paid_at = np.array([position.get(key, len(position)) for key in keys], dtype=int)
    found = found[np.argsort(paid_at, kind="stable")]
    n_labeled, n_classes = state.labels.targets.shape
    sizes = split_rounds(len(found), "auto", n_labeled, n_classes)
    rounds = np.split(found, np.cumsum(sizes)[:-1]) if sizes else []
    return [Chosen(rows) for rows in (*rounds, in_flight) if rows.size]


def judge_by_known(state, rows):
    """Estimate how often the present student agrees with the teacher on the pool.

    By the rows of the next round, which it has not learned. They were chosen by how
    sure a student like it was, so that they are weighed by how sure it is of them.
    """
    labels, record = state.labels, state.records[-1]
    if state.students.is_rehearsed or len(rows) < FEWEST_ROWS:
        return
    X = labels.table.take(rows)
    known, answers = state.settings.ledger.lookup(
        row_keys(X), state.asked.identity, labels.classes
    )
    known &= ~np.isnan(answers).any(axis=1)
    if known.sum() < FEWEST_ROWS:
        return
    pool = labels.pool
    if len(pool) > MOST_ROWS:
        rng = np.random.default_rng(state.seeds.objective)
        pool = np.sort(rng.choice(pool, MOST_ROWS, replace=False))
    space, n_columns = labels.space, len(labels.classes)
    tables = [
        student_proba(state.students.last, rows, n_columns)
        for rows in (X, labels.table.take(pool))
    ]
    sure, sure_of_pool = (_margins(table) for table in tables)
    agreed = space.outcomes(tables[0]) == space.outcomes(np.nan_to_num(answers))
    estimate = post_stratified(agreed[known], sure[known], sure_of_pool)
    paid = ~labels.given
    if paid.any():
        table = student_proba(
            state.students.last, labels.table.take(labels.rows[paid]), n_columns
        )
        taught = space.outcomes(labels.targets[paid])
        n_hits = int((space.outcomes(table) == taught).sum())
        estimate = estimate.with_known(len(labels.pool), int(paid.sum()), n_hits)
    record.take_estimate(estimate, state.asked.findings.checks)


def _margins(table):
    """Return the difference of the two largest probabilities of each row."""
    second, first = np.partition(table, table.shape[1] - 2, axis=1)[:, -2:].T
    return first - second
