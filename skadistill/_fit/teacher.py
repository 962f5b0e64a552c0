"""The teacher of one fit: fitted, identified and checked on labeled rows."""

import logging
from dataclasses import dataclass, replace

from skadistill._rows._containers import take_metadata
from skadistill.labeling._teacher_error import (
    TeacherErrorEstimate,
    estimate_teacher_error,
)
from skadistill.objectives._base import TeacherChecks
from skadistill.teachers._base import BaseTeacher

__all__ = ["AskedTeacher", "needs_checks", "prepare_teacher"]

logger = logging.getLogger(__name__)


@dataclass
class AskedTeacher:
    """Hold a teacher that is ready to be asked, and what is known of it.

    Parameters
    ----------
    teacher : BaseTeacher or None, default=None
        The teacher; None until it is prepared.
    identity : str or None, default=None
        Under which the ledger files its answers.
    error : float or None, default=None
        Its error rate; None: unknown, or needed by nobody.
    checks : TeacherChecks or None, default=None
        Its answers on labeled rows.
    estimate : TeacherErrorEstimate or None, default=None
        How often it was wrong on those.
    n_checks : int, default=0
        Labeled rows paid for to find out.
    """

    teacher: BaseTeacher | None = None
    identity: str | None = None
    error: float | None = None
    checks: TeacherChecks | None = None
    estimate: TeacherErrorEstimate | None = None
    n_checks: int = 0


def needs_checks(components, teacher_error):
    """Tell whether somebody needs the teacher's answers on labeled rows.

    Parameters
    ----------
    components : Components
        Strategy and objective.
    teacher_error : "auto", float or None
        As the user gave it.

    Returns
    -------
    needed : bool
        Whether the objective learns from them, or the strategy needs an error rate
        that is to be estimated.
    """
    if components.objective.needs_teacher_checks:
        return True
    needs_error = getattr(components.strategy, "needs_teacher_error", False)
    return needs_error and teacher_error == "auto"


def prepare_teacher(
    components, labels, fit_params, *, teacher_error, ledger, n_checks, batch_size, seed
):
    """Check a teacher on labeled rows if needed, and fit it if needed.

    Parameters
    ----------
    components : Components
        Teacher, strategy and objective.
    labels : Labels
        The rows, of which only the given ones have a label.
    fit_params : dict
        Metadata for the teacher's ``fit``, for all rows of X.
    teacher_error : "auto", float or None
        As the user gave it.
    ledger : BaseLedger
        Where answers are looked up and recorded.
    n_checks : int or None
        Labeled rows at most that a teacher is paid for; None: all.
    batch_size : int or None
        Rows per call.
    seed : int
        Draws these rows, or deals the folds of a teacher that is fitted here.

    Returns
    -------
    asked : AskedTeacher
        The teacher, ready to be asked.
    embeddings : ndarray of shape (n_given, n_dims) or None
        Those of the labeled rows, if a teacher that is fitted here has them.
    """
    teacher, objective = components.teacher, components.objective
    X, y = labels.table.take(labels.rows), labels.y
    fit_params = take_metadata(fit_params, labels.rows, labels.table.n_first)
    asked = AskedTeacher(error=None if teacher_error == "auto" else teacher_error)
    if needs_checks(components, teacher_error):
        estimate = estimate_teacher_error(
            teacher,
            X,
            y,
            classes=labels.classes,
            ledger=ledger,
            n_samples=n_checks,
            batch_size=batch_size,
            random_state=seed,
            fit_params=fit_params,
        )
        if teacher_error == "auto":
            asked.error = estimate.rate
        if estimate.proba is not None:
            asked.checks = TeacherChecks(
                estimate.rows, estimate.proba, independent=not teacher.needs_fit
            )
        asked.n_checks = estimate.n_paid
        asked.estimate = replace(estimate, proba=None)
        logger.info(
            "the teacher is wrong on %d of %d labeled rows (%s)",
            estimate.n_wrong,
            estimate.n_samples,
            estimate.method,
        )
    embeddings = None
    asked.teacher = teacher
    if teacher.needs_fit:
        asked.teacher = teacher.fitted_on(X, y, **fit_params)
        if objective.needs_embeddings:
            # One's own teacher is not paid for each row it looks at.
            embeddings = asked.teacher.embed(X)
    # Deriving it reads the whole teacher: once per fit, not once per round.
    asked.identity = asked.teacher.identity
    return asked, embeddings
