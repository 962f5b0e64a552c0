"""The steps of a round: score the pool, choose rows, buy their labels."""

import logging
from time import perf_counter

import numpy as np
from sklearn import get_config

from skadistill._fit.known import KnownAnswers
from skadistill._fit.pool import FitPool
from skadistill._fit.state import stop_reason
from skadistill._rows._sources import PartitionedRows
from skadistill.exceptions import JobPendingError
from skadistill.labeling._buy import buy_labels
from skadistill.query._base import check_query

__all__ = ["ask", "choose", "find_known", "look_at_pool", "wait_for_jobs"]

logger = logging.getLogger(__name__)


def look_at_pool(state):
    """Let the student score the pool before the teacher costs anything."""
    if not hasattr(state.student, "predict_proba"):
        raise TypeError(
            f"the student {type(state.student).__name__} has no predict_proba, "
            "from which rows are chosen; use a student that predicts "
            "probabilities, or wrap it in CalibratedClassifierCV."
        )
    view = _view(state)
    n_bytes = 8 * view.n_samples * view.n_classes
    source = state.labels.table.parts[-1]
    if n_bytes <= get_config()["working_memory"] * 2**20 / 16 and not isinstance(
        source, PartitionedRows
    ):
        view.predict_proba()  # kept: the first query need not score it again
    elif state.shares.n_checks:
        view.map_proba(_nothing)
    state.view = view


def _view(state):
    """Return the pool as the present student sees it."""
    keep_classes = state.settings.stopping_criterion is not None
    return FitPool(state, keep_classes=keep_classes, n_jobs=state.settings.n_jobs)


def choose(state, record):
    """Return the rows to ask for; note what speaks against paying for them."""
    view, state.view = state.view or _view(state), None
    if state.known.size:
        rows, state.known = state.known, state.known[:0]
        return rows
    if state.in_flight.size:
        rows, state.in_flight = state.in_flight, state.in_flight[:0]
        return rows
    view.teacher_error = state.asked.error
    view.evidence = state.asked.evidence
    n_queries = min(state.n_left, state.full_size)
    start, seconds = perf_counter(), view.seconds
    rows = _draw(state, view, state.full_size)
    record.seconds_query = perf_counter() - start - (view.seconds - seconds)
    if n_queries < state.full_size:
        # A random part of the full round, so that a larger budget asks for these
        # rows too.
        part = state.seeds.generator(state.n_draws - 1).spawn(1)[0]
        rows = rows[np.sort(part.permutation(rows.size)[:n_queries])]
    record.take_report(view.report)
    progress = state.progress
    progress.no_gain = view.report.get("gain_max", 1.0) <= 0
    if state.settings.stopping_criterion is not None:
        progress.compare(state.labels.pool, view.predicted_classes())
        progress.stable = state.settings.stopping_criterion.should_stop(
            progress.agreements
        )
        record.student_stability = next(reversed(progress.agreements), None)
    record.seconds_predict = view.seconds
    return rows


def _draw(state, view, n_queries):
    """Let the strategy choose rows of the pool."""
    strategy, generator = state.components.strategy, state.next_generator()
    positions = strategy.query(view, n_queries, generator)
    positions = check_query(positions, view.n_samples, n_queries, strategy)
    state.labels.kept = view.kept
    return state.labels.pool[positions]


def ask(state, rows, record):
    """Buy labels of the chosen rows, and of others if some get none."""
    try:
        n_missing = _pay(state, rows, record)
        while n_missing and not stop_reason(state):
            n_queries = min(n_missing, state.n_left, state.labels.pool.size)
            rows = _draw(state, _view(state), n_queries)
            n_missing = _pay(state, rows, record)
    except JobPendingError as error:
        wait_for_jobs(state, error)


def find_known(state):
    """Find the rows of the pool whose labels were paid for by earlier fits.

    Parameters
    ----------
    state : FitState
        The fit; its teacher is ready to be asked.
    """
    labels, asked = state.labels, state.asked
    known = KnownAnswers(
        asked.teacher, state.settings.ledger, labels.classes, asked.identity
    )
    state.known, refused = known.find(
        labels.table,
        labels.pool,
        with_embeddings=state.components.objective.needs_embeddings,
    )
    # Paid once, answered without a label: they fill the budget all the same.
    labels.drop(refused)
    state.progress.n_asked += refused.size
    state.in_flight = known.in_flight(labels.table, labels.pool)


def wait_for_jobs(state, error):
    """Let the fit end here: it goes on when it is run again.

    Parameters
    ----------
    state : FitState
        The fit.
    error : JobPendingError
        Names the jobs.
    """
    state.progress.waiting = True
    state.asked.teacher = state.asked.teacher or state.components.teacher
    logger.warning("the fit ends before its budget is spent: %s", error)


def _pay(state, rows, record):
    """Buy the labels of some rows; return how many are answered without one."""
    labels, asked, progress = state.labels, state.asked, state.progress
    X = labels.table.take(rows)
    start = perf_counter()
    expected = np.asarray(state.student.predict_proba(X)).argmax(axis=1)
    record.seconds_predict += perf_counter() - start
    purchase = buy_labels(
        asked.teacher,
        X,
        classes=labels.classes,
        ledger=state.settings.ledger,
        batch_size=state.settings.batch_size,
        identity=asked.identity,
        with_embeddings=state.components.objective.needs_embeddings,
        first_size=asked.first_size,
        row_numbers=rows,
    )
    asked.heard = True
    got, embeddings = purchase.labeled, purchase.embeddings
    no_label = purchase.no_label
    if embeddings is not None:
        embeddings = embeddings[got]
    labels.add(rows[got], purchase.labels[got], record.round, embeddings)
    labels.drop(rows[no_label])
    agreed = (expected == purchase.labels.argmax(axis=1))[got]
    n_no_label = int(no_label.sum())
    record.take_purchase(purchase, n_no_label, int(agreed.sum()))
    progress.n_asked += int(got.sum()) + n_no_label
    progress.n_no_label += n_no_label
    progress.ledger_spent = purchase.n_refused > 0
    return n_no_label


def _nothing(proba):
    """Return one value per row that costs nothing."""
    return np.zeros(len(proba), dtype=np.float32)
