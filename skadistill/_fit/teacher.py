"""The teacher of one fit: checked on labeled rows, fitted and identified."""

from dataclasses import dataclass, field

import numpy as np
from sklearn.base import clone

from skadistill._fit.known import KnownAnswers
from skadistill._rows._containers import take_metadata
from skadistill._rows._keys import row_keys
from skadistill.checking._check_teacher import Findings, LabeledRows, check_teacher
from skadistill.labeling._buy import buy_labels
from skadistill.teachers._base import BaseTeacher
from skadistill.teachers._estimator import EstimatorTeacher

__all__ = ["AskedTeacher", "prepare_teacher"]

#: Rows of the first call to a teacher that has not answered yet.
FIRST_SIZE = 2

#: Rows that are looked up in the ledger to learn whether a teacher has answered.
N_LOOKED_UP = 1_000


@dataclass
class AskedTeacher:
    """Hold a teacher that is ready to be asked, and what is known of it."""

    teacher: BaseTeacher | None = None
    identity: str | None = None
    findings: Findings = field(default_factory=Findings)
    fit_params: dict = field(default_factory=dict)
    is_new: bool = False  # to the ledger
    has_answered: bool = True
    #: What a panel has bought to choose among its members: answers, those paid for,
    #: their cost, and the labeled rows.
    n_choice: int = 0
    n_choice_paid: int = 0
    choice_cost: float = 0.0
    choice_rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.intp))

    @property
    def first_size(self):
        """Rows of the next call, if it is to be smaller than others."""
        return None if self.has_answered else FIRST_SIZE

    @property
    def n_checks_paid(self):
        """Labeled rows paid for."""
        checks = self.findings.checks
        return self.n_choice_paid + (0 if checks is None else checks.n_paid)

    @property
    def n_checks_free(self):
        """Labeled rows whose answers a called teacher had given before."""
        checks = self.findings.checks
        if checks is None or not checks.independent:
            return 0
        n_again = int(np.isin(checks.rows, self.choice_rows).sum())
        n_free = checks.n_samples + checks.n_no_label - checks.n_paid - n_again
        return n_free + self.n_choice - self.n_choice_paid

    def total_cost(self, cost):
        """Add the price of the checks to that of the pool; None without any price."""
        cost += self.choice_cost
        if self.findings.checks is not None:
            cost += self.findings.checks.cost
        priced = getattr(self.teacher, "max_cost_per_row", None) is not None
        return cost if cost or priced else None


def prepare_teacher(state, fit_params, *, uses_known):
    """Check the teacher on labeled rows if needed, and fit it if needed."""
    teacher, labels, plan = state.components.teacher, state.labels, state.check_plan
    X = labels.table.take(labels.rows)
    params = take_metadata(fit_params, labels.rows, labels.table.n_first)
    choice = []
    if hasattr(teacher, "choose"):
        teacher = _choose_member(state, X)
        choice = teacher.members_
    known = KnownAnswers(teacher, state.settings.ledger, labels.classes)
    asked = AskedTeacher(
        findings=Findings(error=plan.policy.error_rate),
        fit_params=params,
        is_new=teacher.is_fitted and known.is_new,
        has_answered=not _is_untried(known, labels),
        n_choice=sum(member["n_checks"] for member in choice),
        n_choice_paid=sum(member["n_paid"] for member in choice),
        choice_cost=sum(member["cost"] for member in choice),
    )
    if choice:
        asked.choice_rows = teacher.checked_rows
    # Cross-fitting costs nothing; other checks do, and the budget may leave none.
    if plan.is_free or state.shares.n_checks:
        tried = known.tried(row_keys(X)) if uses_known else np.empty(0, np.intp)
        asked.findings = _check(state, teacher, X, params, asked.first_size, tried)
        asked.has_answered = True
    asked.teacher = teacher
    if not teacher.is_fitted:
        asked.teacher = clone(teacher).fit(X, labels.y, **params)
        if state.components.objective.needs_embeddings:
            # One's own teacher is not paid for each row it looks at.
            labels.embeddings = asked.teacher.embed(X)
    # Deriving it reads the whole teacher: once per fit, not once per round.
    asked.identity = asked.teacher.identity
    return asked


def _choose_member(state, X):
    """Let a panel find out on the labeled rows, gathered, which member to ask."""
    labels = state.labels
    return state.components.teacher.choose(
        buy_labels,
        X,
        labels.space.outcomes(labels.targets),
        outcomes=labels.space.outcomes,
        classes=labels.classes,
        ledger=state.settings.ledger,
        n_rows=sum(state.shares) if state.shares.n_checks else 0,
        rng=np.random.default_rng(state.seeds.teacher),
    )


def _check(state, teacher, X, fit_params, first_size, tried):
    """Check the teacher on the labeled rows, gathered."""
    labels = state.labels
    return check_teacher(
        teacher,
        LabeledRows(
            X, labels.y, labels.space.truth(labels.targets), labels.classes, labels.rows
        ),
        state.check_plan,
        lambda: state.start_curve(X),
        n_checks=state.shares.n_checks,
        share=state.full_size / max(labels.pool.size, 1),
        seed=state.seeds.teacher,
        fit_params=fit_params,
        ledger=state.settings.ledger,
        first_size=first_size,
        tried=tried,
    )


def _is_untried(known, labels):
    """Tell whether a teacher's first answer about these classes is still to be seen."""
    if isinstance(known.teacher, EstimatorTeacher):
        return False
    rows = np.concatenate([labels.rows, labels.pool])[:N_LOOKED_UP]
    return known.is_new or not any(part.size for part in known.find(labels.table, rows))
