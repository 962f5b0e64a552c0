"""Buy the labels of chosen rows, and judge the student by them."""

from time import perf_counter

from skadistill._fit.choose import draw_more
from skadistill._fit.state import stop_reason
from skadistill.exceptions import JobPendingError
from skadistill.labeling._buy import buy_labels
from skadistill.student._checks import student_proba

__all__ = ["ask"]


def ask(state, chosen, record):
    """Buy labels of the chosen rows, and of others if some get none."""
    n_missing = _pay(state, chosen, record)
    while n_missing and not stop_reason(state):
        n_queries = min(n_missing, state.n_left, state.labels.pool.size)
        n_missing = _pay(state, draw_more(state, n_queries, record), record)


def _pay(state, chosen, record):
    """Buy the labels of some rows; return how many are answered without one."""
    labels, asked, progress = state.labels, state.asked, state.progress
    rows, X = chosen.rows, labels.table.take(chosen.rows)
    start = perf_counter()
    proba = _predicted(state, X)
    expected = proba.argmax(axis=1)
    record.seconds_predict += perf_counter() - start
    if record.round > 1 and hasattr(asked.teacher, "offer_candidates"):
        asked.teacher.offer_candidates(X, proba, labels.classes)
    try:
        purchase = buy_labels(
            asked.teacher,
            X,
            classes=labels.classes,
            ledger=state.settings.ledger,
            identity=asked.identity,
            with_embeddings=state.components.objective.needs_embeddings,
            first_size=asked.first_size,
            row_numbers=rows,
        )
    except JobPendingError as error:
        state.wait_for_jobs(error)
        purchase = error.purchase
    asked.has_answered = True
    got, embeddings = purchase.labeled, purchase.embeddings
    no_label = purchase.no_label
    if embeddings is not None:
        embeddings = embeddings[got]
    agreed = got & (expected == labels.space.outcomes(purchase.labels))
    if chosen.draw is not None and not state.progress.waiting:
        _judge_student(state, chosen.draw, agreed, got)
    labels.add(
        rows[got],
        purchase.labels[got],
        record.round,
        embeddings,
        purchase.keys[got],
    )
    labels.drop(rows[no_label])
    n_no_label = int(no_label.sum())
    record.take_purchase(purchase, n_no_label, int(agreed.sum()))
    if state.students.is_rehearsed:
        record.student_agreement = None
    progress.n_asked += int(got.sum()) + n_no_label
    progress.n_no_label += n_no_label
    progress.ledger_spent = purchase.n_refused > 0
    return n_no_label


def _judge_student(state, draw, agreed, answered):
    """Estimate how good the student is that was there when the round was drawn.

    It was not trained on these rows. On those that the teacher labeled before, what
    it predicts is compared with what it was taught.
    """
    labels, record = state.labels, state.records[-1]
    paid = ~labels.given
    n_known_agreed = 0
    if paid.any():
        proba = _predicted(state, labels.table.take(labels.rows[paid]))
        taught = labels.space.outcomes(labels.targets[paid])
        n_known_agreed = int((labels.space.outcomes(proba) == taught).sum())
    record.take_estimate(
        draw.estimate(agreed, answered, int(paid.sum()), n_known_agreed),
        state.asked.findings.checks,
    )


def _predicted(state, X):
    """Return the probabilities that the present student predicts."""
    return student_proba(state.students.last, X, len(state.labels.classes))
