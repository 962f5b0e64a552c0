"""Train the student on every label known."""

import logging
from dataclasses import replace
from time import perf_counter

import numpy as np
from sklearn.base import clone

from skadistill._fit.cold_start import rehearse, require_labels
from skadistill._fit.state import stop_reason
from skadistill.soft_labels._choose import score_students
from skadistill.soft_labels._fit_student import fit_student

__all__ = ["train", "train_at_end", "tune_thresholds"]

logger = logging.getLogger(__name__)

# Labeled rows with which students are first compared, and by which factor they grow
# until students are compared again; at the end they are in any case.
FEWEST_ROWS, GROWTH = 30, 4


def train(state, record):
    """Train the student, or rehearse it while no row has a label.

    It starts from scratch unless its own parameter ``warm_start`` says otherwise.
    """
    start, labels, students = perf_counter(), state.labels, state.students
    if record.round == 0 and not labels.rows.size:
        students.last, students.is_rehearsed = rehearse(state), True
        # For its errors: this student has learned nothing.
        state.settings.score(students.last)
        record.seconds_student = perf_counter() - start
        state.record(record)
        return
    require_labels(labels)
    X = labels.table.take(labels.rows)
    if _is_choice_due(state):
        _choose_student(state, X)
    afresh = not students.last.get_params(deep=False).get("warm_start", False)
    if afresh or students.is_rehearsed:
        students.last, students.is_rehearsed = clone(students.last), False
    _fit(students.last, state, X, is_last=stop_reason(state) is not None)
    record.seconds_student = perf_counter() - start
    students.last_round = record.round
    if not record.round and afresh:
        students.first = students.last
    record.student_score = state.settings.score(students.last)
    state.record(record)


def train_at_end(state):
    """Train once more if the objective is for the end, and the end came unforeseen."""
    students, record = state.students, state.records[-1]
    if students.learned_last or not state.components.objective.only_at_end:
        return
    start, student = perf_counter(), clone(students.last)
    X = state.labels.table.take(state.labels.rows)
    _fit(student, state, X, is_last=True)
    students.last = student
    record.seconds_student += perf_counter() - start
    record.student_score = state.settings.score(students.last)


# Weight of a paid row beside a given one in the choice of thresholds, unless its labels
# are corrected: a teacher that is wrong on a rare label makes it look frequent.
PAID_WEIGHT = 0.3


def tune_thresholds(state):
    """Let a student of several labels choose what it predicts, on all rows known."""
    tune, labels = getattr(state.students.last, "tune", None), state.labels
    if tune is not None:
        corrected = state.components.objective.needs_teacher_checks
        tune(
            labels.table.take(labels.rows),
            state.students.learned,
            seed=state.seeds.objective,
            weight=np.where(labels.given | corrected, 1.0, PAID_WEIGHT),
        )


def _fit(student, state, X, *, is_last):
    """Fit a student to the lesson of the labeled rows, which are X."""
    lesson = state.lesson(X, is_last=is_last)
    fit_student(
        student,
        X,
        lesson,
        classes=state.labels.classes,
        **state.settings.cut_metadata(state.labels.rows),
    )
    state.students.learned_last = is_last
    state.students.learned = lesson.targets


def _is_choice_due(state):
    """Tell whether students are compared: when that is possible, and at the end."""
    n_labeled, n_compared = state.labels.rows.size, state.students.n_compared
    if not state.components.candidates or n_labeled < FEWEST_ROWS:
        return False
    return n_labeled >= GROWTH * n_compared or stop_reason(state) is not None


def _choose_student(state, X):
    """Let the student be of the kind that predicts the labels best, out of fold."""
    labels, candidates = state.labels, state.components.candidates
    students = state.students
    students.scores = score_students(
        candidates,
        X,
        labels.targets,
        classes=labels.classes,
        given=labels.given,
        seed=state.seeds.objective,
    )
    students.n_compared = labels.rows.size
    best = next(iter(students.scores))
    scores = ", ".join(f"{k} {v:.3f}" for k, v in students.scores.items())
    logger.info("the student is: %s; Brier scores out of fold: %s", best, scores)
    students.last = clone(candidates[best])
    state.components = replace(state.components, student=students.last)
