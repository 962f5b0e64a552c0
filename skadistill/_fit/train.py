"""Train the student on every label known."""

from time import perf_counter

from sklearn.base import clone

from skadistill._fit.cold_start import rehearse, require_labels
from skadistill.soft_labels._fit_student import fit_student

__all__ = ["train"]


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
    if afresh or state.rehearsed:
        state.student, state.rehearsed = clone(state.student), False
    X = labels.table.take(labels.rows)
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
