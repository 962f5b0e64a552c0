"""Choose the rows of a round: look at the pool, draw, and judge by what was seen."""

import contextlib
import copy
import warnings
from time import perf_counter

import numpy as np
from sklearn import get_config

from skadistill._fit.cold_start import is_cold
from skadistill._fit.draw import Chosen, RoundDraw, draw_round
from skadistill._fit.pool import FitPool
from skadistill._fit.record import as_history
from skadistill._rows._sources import PartitionedRows
from skadistill.exceptions import BudgetWarning
from skadistill.query._base import check_query
from skadistill.query._spread import spread_rows

__all__ = ["choose", "draw_more", "look_at_pool"]

#: Rows of the pool among which a strategy chooses on trial.
REHEARSED_ROWS = 100


def look_at_pool(state):
    """Let the student score the pool before the teacher costs anything."""
    if not hasattr(state.students.last, "predict_proba"):
        raise TypeError(
            f"the student {type(state.students.last).__name__} has no predict_proba, "
            "which choosing rows requires; use a student that predicts "
            "probabilities, or wrap it in CalibratedClassifierCV."
        )
    view = view_of(state)
    n_bytes = 8 * view.n_samples * view.n_classes
    source = state.labels.table.parts[-1]
    if n_bytes <= get_config()["working_memory"] * 2**20 / 16 and not isinstance(
        source, PartitionedRows
    ):
        view.predict_proba()  # kept: the first query need not score it again
    elif state.shares.n_checks:
        view.map_proba(_nothing)
    if is_cold(state):
        _rehearse_strategy(state)
    return view


def _rehearse_strategy(state):
    """Let the strategy choose among a few rows, since the first batch does without it.

    What it is told of labels is made up while no row has one.
    """
    labels, strategy = state.labels, state.components.strategy
    rows = labels.pool[:REHEARSED_ROWS]
    view = FitPool(state, keep_classes=False, rows=rows)
    if not labels.rows.size:
        n_classes = len(labels.classes)
        some = rows[: 2 * n_classes]
        targets = np.eye(n_classes)[np.arange(len(some)) % n_classes]
        view.labeled = labels.table.take(some), targets
    if view.teacher_error is None and getattr(strategy, "needs_teacher_error", False):
        view.teacher_error = 0.1
    n_queries = max(1, len(rows) // 2)
    with contextlib.suppress(Exception):  # one that holds a client is used itself
        strategy = copy.deepcopy(strategy)
    positions = strategy.query(view, n_queries, np.random.default_rng(0))
    check_query(positions, len(rows), n_queries, strategy)


def view_of(state):
    """Return the pool as the present student sees it."""
    criterion = state.settings.stopping_criterion
    keep_classes = not getattr(criterion, "reads_history", criterion is None)
    return FitPool(state, keep_classes=keep_classes, n_jobs=state.settings.n_jobs)


def choose(state, record, view=None):
    """Return the rows to ask for next; note what speaks against paying for them.

    `view` is the pool as the present student sees it, if it was looked at before.
    """
    view = view_of(state) if view is None else view
    view.take_findings(state.asked.findings)
    n_queries = min(state.n_left, state.full_size)
    start, seconds = perf_counter(), view.seconds
    cold = is_cold(state)
    generator = state.next_generator()
    part, uniform = state.seeds.generator(state.progress.n_draws - 1).spawn(2)
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
    if cold:
        return Chosen(rows)  # spread rows show nothing of the pool
    record.take_report(view.report)
    if state.n_left < view.n_samples:
        _warn_if_all_certain(state, record)
    _judge_stability(state, record, view)
    record.seconds_predict = view.seconds
    return Chosen(rows, draw)


def _spread(state, generator):
    """Choose rows all over the pool, whatever the student says of them."""
    labels = state.labels
    n_pool = labels.pool.size
    positions = spread_rows(
        labels.table, labels.pool, labels.rows, state.full_size, generator
    )
    return RoundDraw(positions, np.zeros(len(positions), dtype=bool), None, n_pool)


def _judge_stability(state, record, view):
    """Ask the stopping criterion whether this round is still worth its price."""
    progress, criterion = state.progress, state.settings.stopping_criterion
    if criterion is None:
        return
    if getattr(criterion, "reads_history", False):
        progress.stable = criterion.should_stop(as_history(state.records))
    else:
        progress.compare(state.labels.pool, view.predicted_classes())
        progress.stable = criterion.should_stop(progress.agreements)
        record.student_stability = next(reversed(progress.agreements), None)
    progress.reason = getattr(criterion, "reason", progress.reason)


def _warn_if_all_certain(state, record):
    """Warn, once in a fit, if no row has a gain: no strategy can tell them apart."""
    if record.gain_max != 0 or any(before.gain_max == 0 for before in state.records):
        return
    warnings.warn(
        f"the student {type(state.students.last).__name__} is certain of every row of "
        f"the pool, so that {state.components.strategy!r} cannot tell which ones help, "
        "and random ones are asked; use a student with graded probabilities, for "
        "example a forest instead of a tree, or end the fit by a stopping_criterion.",
        BudgetWarning,
        stacklevel=2,
    )


def draw_more(state, n_queries, record):
    """Let the strategy choose other rows for those that got no label."""
    view, start = view_of(state), perf_counter()
    strategy, generator = state.components.strategy, state.next_generator()
    positions = strategy.query(view, n_queries, generator)
    positions = check_query(positions, view.n_samples, n_queries, strategy)
    state.labels.kept = view.kept
    record.seconds_predict += view.seconds
    record.seconds_query += perf_counter() - start - view.seconds
    return Chosen(state.labels.pool[positions])


def _nothing(proba):
    """Return one value per row that costs nothing."""
    return np.zeros(len(proba), dtype=np.float32)
