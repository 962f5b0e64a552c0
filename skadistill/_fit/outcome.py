"""What a fit leaves on the estimator."""

import warnings
from contextlib import contextmanager

from skadistill._fit.components import unwrap_teacher
from skadistill._fit.record import as_history
from skadistill._statistics.forecast import forecast_of
from skadistill._utils.display import message_of
from skadistill.exceptions import TeacherWarning
from skadistill.ledger._memory import MemoryLedger

__all__ = ["closing_step", "fitted_attributes", "labels_kept", "nothing_paid"]


def labels_kept(distiller, *args, **params):
    """Say what an interrupted fit has kept, and how to go on."""
    ledger = vars(distiller).get("ledger_")
    if ledger is None or not len(ledger):
        return "Interrupted before any label was paid for; call fit again."
    how = "call fit again with the same ledger"
    if isinstance(ledger, MemoryLedger):
        how = "set ledger=distiller.ledger_ and call fit again"
    return (
        f"Interrupted: {len(ledger)} paid labels are kept in {ledger!r}; {how}, and "
        "only the others are paid for."
    )


def nothing_paid(*args, **params):
    """Say what an interrupted plan costs."""
    return "Interrupted: nothing was paid for, and nothing has changed."


@contextmanager
def closing_step(what):
    """Turn an error after the last payment into a warning: the student is there."""
    try:
        yield
    except Exception as error:
        warnings.warn(
            f"{what} failed: {type(error).__name__}: {message_of(error):.300}.",
            TeacherWarning,
            stacklevel=5,
        )


def fitted_attributes(distiller, state):
    """Return what a fit that ended now would leave."""
    history, asked, labels = as_history(state.records), state.asked, state.labels
    checks = asked.findings.checks
    forecast = None
    with closing_step("there is no forecast, since fitting the learning curve"):
        forecast = forecast_of(history)

    def total(name):
        return sum(record[name] for record in history)

    return {
        "classes_": labels.space.classes,
        "_space": labels.space,
        "student_": state.students.last,
        "student_scores_": dict(state.students.scores),
        "objective_": state.components.objective,
        "teacher_": unwrap_teacher(asked.teacher, distiller.teacher),
        "teacher_error_": asked.findings.error,
        "teacher_checks_": None if checks is None else checks.without_answers(),
        "n_teacher_checks_": asked.n_checks_paid,
        "history_": history,
        "labeled_round_": labels.round.copy(),
        "transduction_": labels.transduction(distiller.unlabeled_marker),
        "n_rounds_": history[-1]["round"],
        "student_round_": state.students.last_round,
        "n_queries_": total("n_asked"),
        "n_paid_": total("n_paid") + asked.n_checks_paid,
        "n_free_": total("n_free") + asked.n_checks_free,
        "n_no_label_": total("n_no_label"),
        "cost_": asked.total_cost(total("cost")),
        "forecast_": forecast,
    }
