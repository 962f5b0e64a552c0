"""The steps of a round: score the pool, choose rows, buy their labels."""

import warnings
from time import perf_counter

import numpy as np
from sklearn import get_config

from skadistill._fit.cold_start import is_cold, spread_rows
from skadistill._fit.draw import RoundDraw, draw_round
from skadistill._fit.pool import FitPool
from skadistill._fit.record import as_history
from skadistill._fit.state import stop_reason
from skadistill._rows._sources import PartitionedRows
from skadistill.exceptions import BudgetWarning, JobPendingError
from skadistill.labeling._buy import buy_labels
from skadistill.query._base import check_query
from skadistill.student._predictions import student_proba

__all__ = ["ask", "choose", "look_at_pool"]


def look_at_pool(state):
    """Let the student score the pool before the teacher costs anything."""
    if not hasattr(state.student, "predict_proba"):
        raise TypeError(
            f"the student {type(state.student).__name__} has no predict_proba, "
            "which choosing rows requires; use a student that predicts "
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
    criterion = state.settings.stopping_criterion
    keep_classes = not getattr(criterion, "reads_history", criterion is None)
    return FitPool(state, keep_classes=keep_classes, n_jobs=state.settings.n_jobs)


def choose(state, record):
    """Return the rows to ask for; note what speaks against paying for them."""
    view, state.view = state.view or _view(state), None
    if state.known.size:
        rows, state.known = state.known, state.known[:0]
        state.draw = None
        return rows
    if state.in_flight.size:
        rows, state.in_flight = state.in_flight, state.in_flight[:0]
        state.draw = None
        return rows
    view.teacher_error = state.asked.error
    view.evidence = state.asked.evidence
    n_queries = min(state.n_left, state.full_size)
    start, seconds = perf_counter(), view.seconds
    cold = is_cold(state)
    generator = state.next_generator()
    part, uniform = state.seeds.generator(state.n_draws - 1).spawn(2)
    if cold:
        draw = _spread(state, generator)
    else:
        draw = draw_round(
            state.components.strategy,
            view,
            state.full_size,
            uniform_share=state.settings.uniform_share,
            rng=generator,
            uniform_rng=uniform,
        )
        state.labels.kept = view.kept
    record.seconds_query = perf_counter() - start - (view.seconds - seconds)
    if n_queries < state.full_size:
        # A random part of the full round, so that a larger budget asks for these
        # rows too.
        draw = draw.part(n_queries, part)
    rows = state.labels.pool[draw.positions]
    state.labels.even[rows[draw.even]] = True
    state.draw = None if cold else draw  # spread rows show nothing of the pool
    if cold:
        return rows
    record.take_report(view.report)
    if state.n_left < view.n_samples:
        _warn_if_all_certain(state, record)
    progress = state.progress
    criterion = state.settings.stopping_criterion
    if criterion is not None:
        if getattr(criterion, "reads_history", False):
            progress.stable = criterion.should_stop(as_history(state.records))
        else:
            progress.compare(state.labels.pool, view.predicted_classes())
            progress.stable = criterion.should_stop(progress.agreements)
            record.student_stability = next(reversed(progress.agreements), None)
        progress.reason = getattr(criterion, "reason", progress.reason)
    record.seconds_predict = view.seconds
    return rows


def _warn_if_all_certain(state, record):
    """Warn, once in a fit, if no row has a gain: no strategy can tell them apart."""
    if record.gain_max != 0 or any(before.gain_max == 0 for before in state.records):
        return
    warnings.warn(
        f"the student {type(state.student).__name__} is certain of every row of the "
        f"pool, so that {state.components.strategy!r} cannot tell which ones help, and "
        "random ones are asked; use a student with graded probabilities, for example "
        "a forest instead of a tree, or end the fit by a stopping_criterion.",
        BudgetWarning,
        stacklevel=2,
    )


def _draw_more(state, n_queries, record):
    """Let the strategy choose other rows for those that got no label."""
    view, start = _view(state), perf_counter()
    strategy, generator = state.components.strategy, state.next_generator()
    positions = strategy.query(view, n_queries, generator)
    positions = check_query(positions, view.n_samples, n_queries, strategy)
    state.labels.kept = view.kept
    record.seconds_predict += view.seconds
    record.seconds_query += perf_counter() - start - view.seconds
    return state.labels.pool[positions]


def _spread(state, generator):
    """Choose rows all over the pool, whatever the student says of them."""
    labels = state.labels
    n_pool = labels.pool.size
    positions = spread_rows(
        labels.table, labels.pool, labels.rows, state.full_size, generator
    )
    return RoundDraw(positions, np.zeros(len(positions), dtype=bool), None, n_pool)


def ask(state, rows, record):
    """Buy labels of the chosen rows, and of others if some get none."""
    try:
        n_missing = _pay(state, rows, record)
        while n_missing and not stop_reason(state):
            n_queries = min(n_missing, state.n_left, state.labels.pool.size)
            rows, state.draw = _draw_more(state, n_queries, record), None
            n_missing = _pay(state, rows, record)
    except JobPendingError as error:
        state.wait_for_jobs(error)


def _pay(state, rows, record):
    """Buy the labels of some rows; return how many are answered without one."""
    labels, asked, progress = state.labels, state.asked, state.progress
    X = labels.table.take(rows)
    start = perf_counter()
    expected = student_proba(state.student, X, len(labels.classes)).argmax(axis=1)
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
    agreed = got & (expected == purchase.labels.argmax(axis=1))
    if state.draw is not None:
        judge_student(state, agreed, got)
    labels.add(rows[got], purchase.labels[got], record.round, embeddings)
    labels.drop(rows[no_label])
    n_no_label = int(no_label.sum())
    record.take_purchase(purchase, n_no_label, int(agreed.sum()))
    if state.rehearsed:
        record.student_agreement = None
    progress.n_asked += int(got.sum()) + n_no_label
    progress.n_no_label += n_no_label
    progress.ledger_spent = purchase.n_refused > 0
    return n_no_label


def judge_student(state, agreed, answered):
    """Estimate how good the student is that was there when the round was drawn.

    It was not trained on these rows. On those that the teacher labeled before, what
    it predicts is compared with what it was taught.
    """
    labels, record = state.labels, state.records[-1]
    paid = ~labels.given
    n_known_agreed = 0
    if paid.any():
        X = labels.table.take(labels.rows[paid])
        proba = student_proba(state.student, X, len(labels.classes))
        taught = labels.targets[paid].argmax(axis=1)
        n_known_agreed = int((proba.argmax(axis=1) == taught).sum())
    record.take_estimate(
        state.draw.estimate(agreed, answered, int(paid.sum()), n_known_agreed),
        state.asked.estimate,
    )


def _nothing(proba):
    """Return one value per row that costs nothing."""
    return np.zeros(len(proba), dtype=np.float32)
