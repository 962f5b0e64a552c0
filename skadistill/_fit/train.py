"""Train the student on every label known."""

import logging
from dataclasses import replace
from time import perf_counter

from sklearn.base import clone

from skadistill._fit.cold_start import rehearse, require_labels
from skadistill._fit.state import stop_reason
from skadistill.soft_labels._choose import score_students
from skadistill.soft_labels._fit_student import fit_student

__all__ = ["train"]

logger = logging.getLogger(__name__)

# Labeled rows with which students are first compared, and by which factor they grow
# until students are compared again; at the end they are in any case.
FEWEST_ROWS, GROWTH = 30, 4


def train(state, record, *, afresh):
    """Train the student, or rehearse it while no row has a label."""
    start, labels = perf_counter(), state.labels
    if record.round == 0 and not labels.rows.size:
        state.student, state.rehearsed = rehearse(state), True
        state.score(state.student)  # for its errors: this student has learned nothing
        record.seconds_student = perf_counter() - start
        state.record(record)
        return
    require_labels(labels)
    X = labels.table.take(labels.rows)
    if _is_choice_due(state):
        _choose_student(state, X)
    if afresh or state.rehearsed:
        state.student, state.rehearsed = clone(state.student), False
    fit_student(
        state.student,
        X,
        state.lesson(X),
        classes=labels.classes,
        **state.cut_metadata(labels.rows),
    )
    record.seconds_student = perf_counter() - start
    state.student_round = record.round
    if not record.round and afresh:
        state.first_student = state.student
    record.student_score = state.score(state.student)
    state.record(record)


def _is_choice_due(state):
    """Tell whether students are compared: when that is possible, and at the end."""
    n_labeled = state.labels.rows.size
    if not state.components.candidates or n_labeled < FEWEST_ROWS:
        return False
    return n_labeled >= GROWTH * state.n_compared or stop_reason(state) is not None


def _choose_student(state, X):
    """Let the student be of the kind that predicts the labels best, out of fold."""
    labels, candidates = state.labels, state.components.candidates
    state.student_scores = score_students(
        candidates,
        X,
        labels.targets,
        classes=labels.classes,
        given=labels.given,
        seed=state.seeds.objective,
    )
    state.n_compared = labels.rows.size
    best = next(iter(state.student_scores))
    scores = ", ".join(f"{k} {v:.3f}" for k, v in state.student_scores.items())
    logger.info("the student is: %s; Brier scores out of fold: %s", best, scores)
    state.student = clone(candidates[best])
    state.components = replace(state.components, student=state.student)
