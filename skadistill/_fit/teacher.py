"""The teacher of one fit: fitted, identified and checked on labeled rows."""

import logging
import warnings
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.metrics import confusion_matrix

from skadistill._fit.checks import StepwiseChecks, aimed_checks, even_checks
from skadistill._fit.known import KnownAnswers
from skadistill._fit.weak import FEWEST_ROWS, hold_against_student
from skadistill._rows._containers import take_metadata
from skadistill.exceptions import TeacherWarning
from skadistill.labeling._job_buyer import answers_later
from skadistill.labeling._teacher_error import (
    TeacherErrorEstimate,
    estimate_teacher_error,
)
from skadistill.objectives._auto import AutoObjective
from skadistill.objectives._base import TeacherChecks
from skadistill.query._evidence import TeacherEvidence
from skadistill.teachers._base import BaseTeacher
from skadistill.teachers._estimator import EstimatorTeacher

__all__ = [
    "AskedTeacher",
    "needs_checks",
    "needs_evidence",
    "prepare_teacher",
    "stops_checking",
    "wants_checks",
]

logger = logging.getLogger(__name__)

#: Rows of the first call to a teacher that has not answered yet.
FIRST_SIZE = 2

#: Rows that are looked up in the ledger to learn whether a teacher has answered.
N_LOOKED_UP = 1_000


@dataclass
class AskedTeacher:
    """Hold a teacher that is ready to be asked, with its error estimate."""

    teacher: BaseTeacher | None = None
    identity: str | None = None
    error: float | None = None
    checks: TeacherChecks | None = None
    estimate: TeacherErrorEstimate | None = None
    evidence: TeacherEvidence | None = None
    error_rate: float | None = None
    weak: bool = False
    evidence_alone: TeacherEvidence | None = None
    fit_params: dict = field(default_factory=dict)
    is_new: bool = False
    heard: bool = True

    @property
    def first_size(self):
        """Rows of the next call, if it is to be smaller than others."""
        return None if self.heard else FIRST_SIZE

    @property
    def n_checks_paid(self):
        """Labeled rows paid for."""
        return 0 if self.estimate is None else self.estimate.n_paid

    @property
    def n_checks_free(self):
        """Labeled rows whose answers a called teacher had given before."""
        if self.estimate is None or self.estimate.method == "cross-fitted":
            return 0
        n_answered = self.estimate.n_samples + self.estimate.n_no_label
        return n_answered - self.estimate.n_paid

    def bill(self, cost):
        """Add the price of the checks to that of the pool; None without any price."""
        if self.estimate is not None:
            cost += self.estimate.cost
        priced = getattr(self.teacher, "max_cost_per_row", None) is not None
        return cost if cost or priced else None


def is_untried(known, labels):
    """Tell whether a teacher's first answer about these classes is still to be seen."""
    if isinstance(known.teacher, EstimatorTeacher):
        return False
    rows = np.concatenate([labels.rows, labels.pool])[:N_LOOKED_UP]
    return known.is_new or not any(part.size for part in known.find(labels.table, rows))


def needs_checks(components, teacher_error):
    """Tell whether strategy or objective need the teacher's answers on labeled rows."""
    if components.objective.needs_teacher_checks:
        return True
    needs_error = getattr(components.strategy, "needs_teacher_error", False)
    return teacher_error == "auto" and (needs_error or needs_evidence(components))


def needs_evidence(components):
    """Tell whether the strategy looks at single answers on labeled rows."""
    return getattr(components.strategy, "needs_evidence", False)


def wants_checks(components, teacher_error):
    """Tell whether the objective is to be chosen by what a ready teacher answers."""
    objective = components.objective
    return (
        isinstance(objective, AutoObjective)
        and components.teacher.is_fitted
        and objective.wants_checks(teacher_error)
    )


def stops_checking(components, teacher_error):
    """Tell whether the teacher is checked in steps, until enough is known.

    Its error rate alone takes all checks, as does an objective that learns from them.
    """
    teacher = components.teacher
    aimed = teacher_error == "auto" and needs_evidence(components)
    needs_rate = needs_checks(components, teacher_error) and not aimed
    return (
        teacher.is_fitted
        and not needs_rate
        and not components.objective.needs_teacher_checks
        # Each step of one that answers later would take up to a day.
        and not answers_later(teacher)
    )


def doubt_teacher(teacher, estimate, labels, evidence=None):
    """Warn of a teacher that knows nothing, or that names its columns wrongly."""
    n_samples, n_classes = estimate.n_samples, len(labels.classes)
    if n_samples < 20:
        return
    truth = labels.targets[estimate.rows].argmax(axis=1)
    counts = confusion_matrix(
        truth, estimate.proba.argmax(axis=1), labels=np.arange(n_classes)
    )
    n_right, n_largest = int(np.trace(counts)), int(counts.sum(axis=1).max())
    _, columns = linear_sum_assignment(counts, maximize=True)
    n_reordered = int(counts[np.arange(n_classes), columns].sum())
    n_present = np.maximum(counts.sum(axis=1), 1)
    balanced = np.mean(np.diag(counts) / n_present)
    who = f"{teacher.display_name} is right on {n_right} of {n_samples} labeled rows"
    order = labels.classes.tolist()
    if n_reordered >= 0.9 * n_samples > n_right + 0.3 * n_samples:
        # Column j of the answers holds the class to which it is assigned.
        meant = labels.classes[np.argsort(columns)].tolist()
        warnings.warn(
            f"{who}, and would be on {n_reordered} if its columns were {meant}; they "
            f"are read as {order}, so name them with as_teacher(teacher, "
            f"classes={meant}).",
            TeacherWarning,
            stacklevel=2,
        )
    elif n_right <= n_largest and balanced <= 1 / n_classes + 0.05:
        if evidence is not None and n_right >= evidence.n_student_right:
            return
        warnings.warn(
            f"{who}, and always answering the largest class would be on {n_largest}; "
            f"check what the teacher is asked, and that its columns are {order}.",
            TeacherWarning,
            stacklevel=2,
        )


def prepare_teacher(
    components,
    labels,
    fit_params,
    *,
    teacher_error,
    ledger,
    n_checks,
    batch_size,
    seed,
    start_evidence=None,
    share=None,
    on_weak_teacher="warn",
):
    """Check a teacher on labeled rows if needed, and fit it if needed."""
    teacher, objective = components.teacher, components.objective
    X, y = labels.table.take(labels.rows), labels.y
    fit_params = take_metadata(fit_params, labels.rows, labels.table.n_first)
    asked = AskedTeacher(error=None if teacher_error == "auto" else teacher_error)
    asked.fit_params = fit_params
    known = KnownAnswers(teacher, ledger, labels.classes)
    asked.heard = not is_untried(known, labels)
    asked.is_new = teacher.is_fitted and known.is_new
    needed = needs_checks(components, teacher_error)
    wanted = wants_checks(components, teacher_error)
    if (needed and not teacher.is_fitted) or ((needed or wanted) and n_checks):
        evidence = None
        if needs_evidence(components) and teacher_error == "auto":
            evidence = start_evidence(X)
        how = {
            "classes": labels.classes,
            "ledger": ledger,
            "batch_size": batch_size,
            "first_size": asked.first_size,
            "row_numbers": labels.rows,
        }
        if not stops_checking(components, teacher_error):
            estimate = estimate_teacher_error(
                teacher,
                X,
                y,
                n_samples=n_checks,
                random_state=seed,
                fit_params=fit_params,
                **how,
            )
            if estimate.proba is not None:
                truth = labels.targets[estimate.rows].argmax(axis=1)
                wrong = estimate.proba.argmax(axis=1) != truth
                asked.error_rate = float(wrong.mean())
                if evidence is not None:
                    evidence = evidence.add(estimate.rows, estimate.proba)
        else:
            truth, rng = labels.targets.argmax(axis=1), np.random.default_rng(seed)
            checks = StepwiseChecks(teacher, X, truth, limit=n_checks, **how)
            if evidence is not None:
                evidence = aimed_checks(
                    checks,
                    components.strategy,
                    evidence,
                    share=share,
                    rng=rng,
                    objective=objective if wanted else None,
                )
                asked.error_rate = evidence.error_rate
                estimate = checks.estimate("aimed")
            else:
                asked.error_rate = even_checks(checks, objective, rng=rng)
                estimate = checks.estimate("asked")
        if evidence is not None:
            asked.evidence = evidence.settle(share)
        asked.heard = True
        is_aimed = estimate.method == "aimed"
        if teacher_error == "auto":
            asked.error = asked.error_rate if is_aimed else estimate.rate
        if estimate.proba is not None:
            asked.checks = TeacherChecks(
                estimate.rows, estimate.proba, independent=teacher.is_fitted
            )
            aimed = asked.evidence if is_aimed else None
            doubt_teacher(teacher, estimate, labels, aimed)
            if on_weak_teacher != "ignore" and estimate.n_samples >= FEWEST_ROWS:
                asked.evidence_alone = evidence or start_evidence(X)
                asked.weak = hold_against_student(
                    teacher, estimate, asked.evidence_alone, on_weak_teacher
                )
        asked.estimate = replace(estimate, proba=None)
        logger.info(
            "the teacher is wrong on %d of %d labeled rows (%s)",
            estimate.n_wrong,
            estimate.n_samples,
            estimate.method,
        )
    embeddings = None
    asked.teacher = teacher
    if not teacher.is_fitted:
        asked.teacher = clone(teacher).fit(X, y, **fit_params)
        if objective.needs_embeddings:
            # One's own teacher is not paid for each row it looks at.
            embeddings = asked.teacher.embed(X)
    # Deriving it reads the whole teacher: once per fit, not once per round.
    asked.identity = asked.teacher.identity
    return asked, embeddings
