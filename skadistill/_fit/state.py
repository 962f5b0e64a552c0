"""What one fit carries from round to round."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skadistill._fit.components import Components
from skadistill._fit.known import KnownAnswers
from skadistill._fit.plan import Budget, round_size
from skadistill._fit.record import RoundRecord
from skadistill._fit.teacher import AskedTeacher
from skadistill._rows._keys import KEY_DTYPE, row_keys
from skadistill._statistics.checks import TeacherChecks
from skadistill._utils.compat import safe_indexing
from skadistill._utils.label_space import OneClass
from skadistill.checking._error_curve import ErrorCurve
from skadistill.checking._policy import CheckPlan
from skadistill.ledger._base import BaseLedger
from skadistill.objectives._auto import AutoObjective
from skadistill.objectives._base import Evidence
from skadistill.objectives._soft import SoftTargets
from skadistill.soft_labels._fit_student import fit_student
from skadistill.soft_labels._out_of_fold import (
    give_every_class,
    predict_out_of_fold,
    train_committee,
)
from skadistill.student._checks import student_proba

__all__ = ["FitState", "Labels", "Seeds", "Settings", "Students", "stop_reason"]

logger = logging.getLogger(__name__)

#: Share of the budget that may go to rows which the teacher gives no label.
MAX_NO_LABEL = 0.1


class Seeds(NamedTuple):
    """One seed for each part of a fit that draws random numbers."""

    student: int
    queries: int
    teacher: int
    objective: int

    @classmethod
    def draw(cls, random_state):
        """Draw them from the estimator's `random_state`, always in the same order."""
        seeds = check_random_state(random_state).randint(2**31 - 1, size=4)
        return cls(*seeds.tolist())

    def generator(self, number):
        """Return a generator for one query; what it draws moves no other."""
        sequence = np.random.SeedSequence(self.queries, spawn_key=(number,))
        return np.random.default_rng(sequence)


class Labels:
    """Know which rows have a label, and which are still in the pool."""

    def __init__(self, table, rows, y, space=None):
        self.table = table
        self.y = y
        self.space = OneClass(np.unique(y)) if space is None else space
        self.rows = rows
        self.targets = self.space.targets(y)
        self.pool = np.setdiff1d(np.arange(table.n_samples), rows, assume_unique=True)
        self.round = np.full(table.n_samples, -1, dtype=np.int64)
        self.round[rows] = 0
        self.even = np.zeros(table.n_samples, dtype=bool)
        self.embeddings = None
        self.kept: Any = None
        self.paid_keys = [np.empty(0, dtype=KEY_DTYPE)]

    def drop(self, rows):
        """Take rows out of the pool that can get no label."""
        stays = np.isin(self.pool, rows, assume_unique=True, invert=True)
        self.pool = self.pool[stays]
        if self.kept is not None:
            self.kept = self.kept[stays]

    def add(self, rows, targets, round_, embeddings=None, keys=None):
        """Move rows from the pool to the labeled ones."""
        if keys is not None:
            self.paid_keys.append(keys)
        if embeddings is not None:
            if self.embeddings is None:
                self.embeddings = np.full(
                    (self.rows.size, embeddings.shape[1]), np.nan, dtype=np.float32
                )
            self.embeddings = np.concatenate([self.embeddings, embeddings])
        self.rows = np.concatenate([self.rows, rows])
        self.targets = np.concatenate([self.targets, targets])
        self.round[rows] = round_
        self.drop(rows)

    def trained_keys(self):
        """Return the keys of the labeled rows, by which an audit leaves them out.

        Those of paid rows are known since they were bought.
        """
        given = self.table.take(self.rows[self.given])
        return np.concatenate([row_keys(given), *self.paid_keys])

    @property
    def classes(self):
        """What the columns of targets, answers and predictions are."""
        return self.space.columns

    @property
    def given(self):
        """Mask of the labeled rows whose label was given."""
        return self.round[self.rows] == 0

    def transduction(self, marker):
        """Return the labels of all rows, in a dtype that also holds the marker."""
        return self.space.fill(self.rows, self.targets, self.table.n_samples, marker)


@dataclass
class Progress:
    """Note what can end the loop before its budget does."""

    agreements: list = field(default_factory=list)
    classes_before: np.ndarray | None = None
    n_draws: int = 0
    n_asked: int = 0
    n_no_label: int = 0
    reason: str = "stable_predictions"
    stable: bool = False
    ledger_spent: bool = False
    callback: bool = False
    waiting: bool = False

    def compare(self, pool, classes):
        """Compare the predicted classes of the pool with those of the round before."""
        if self.classes_before is None:
            self.classes_before = np.full(pool.max(initial=-1) + 1, -1, dtype=np.int32)
        else:
            same = classes == self.classes_before[pool]
            self.agreements.append(float(same.mean()))
        self.classes_before[pool] = classes


@dataclass(frozen=True, eq=False)
class Settings:
    """Hold what every round reads and none changes."""

    ledger: BaseLedger
    query_size: int | str
    uniform_share: float
    stopping_criterion: Any
    n_jobs: int | None
    #: Cuts the student's metadata to rows.
    cut_metadata: Callable[[np.ndarray], dict]
    #: Scores a student on the validation rows, of which there are `n_val`.
    score: Callable[[Any], float | None]
    n_val: int | None = None


@dataclass
class Students:
    """Hold the student of the last round, and that of the given labels alone."""

    last: Any
    last_round: int = 0
    first: Any = None
    is_rehearsed: bool = False  # learned made-up labels, as no row had one
    learned_last: bool = False  # the lesson that the objective has for the end
    learned: np.ndarray | None = None  # targets of the last lesson
    #: Brier scores of the kinds compared last, on so many labeled rows.
    scores: dict = field(default_factory=dict)
    n_compared: int = 0


@dataclass
class FitState:
    """Hold what a fit knows."""

    components: Components
    labels: Labels
    seeds: Seeds
    settings: Settings
    check_plan: CheckPlan
    shares: Budget
    students: Students
    asked: AskedTeacher = field(default_factory=AskedTeacher)
    progress: Progress = field(default_factory=Progress)
    records: list[RoundRecord] = field(default_factory=list)
    known: list = field(default_factory=list)  # rounds of earlier fits, to come
    planned: Budget | None = None  # before checks that are not needed become queries

    def __post_init__(self):
        self.planned = self.planned or self.shares

    @property
    def n_left(self):
        """Rows that the budget still allows to ask for."""
        return max(0, self.shares.n_queries - self.progress.n_asked)

    def settle_objective(self):
        """Choose the objective, once for all rounds, if that is left to the fit."""
        objective = self.components.objective
        if isinstance(objective, AutoObjective):
            objective = objective.settle(
                self.asked.findings.checks, self.asked.findings.error_rate
            )
            self.components = replace(self.components, objective=objective)
            logger.info("the student matches %r", objective)

    def look_up_known(self):
        """Find the rows of the pool that the ledger holds answers of, or jobs."""
        asked, labels = self.asked, self.labels
        known = KnownAnswers(
            asked.teacher, self.settings.ledger, labels.classes, asked.identity
        )
        found, refused = known.find(
            labels.table,
            labels.pool,
            with_embeddings=self.components.objective.needs_embeddings,
        )
        # Paid once, answered without a label: they fill the budget all the same.
        labels.drop(refused)
        self.progress.n_asked += refused.size
        return found, known.in_flight(labels.table, labels.pool)

    def wait_for_jobs(self, error):
        """Let the fit end here: it goes on when it is run again."""
        self.progress.waiting = True
        self.asked.teacher = self.asked.teacher or self.components.teacher
        logger.warning("the fit ends before its budget is spent: %s", error)

    def return_checks(self, n_checked):
        """Ask for rows of the pool instead of the checks that were not needed."""
        n_checks, n_queries = self.shares
        if n_checks:
            n_queries = min(n_queries + n_checks - n_checked, self.labels.pool.size)
            self.shares = Budget(n_checked, n_queries)

    @property
    def full_size(self):
        """Rows of the next round, as if the budget had no end."""
        n_labeled, n_classes = self.labels.targets.shape
        size = round_size(self.settings.query_size, n_labeled, n_classes)
        return min(size, self.labels.pool.size)

    @property
    def has_too_few_labels(self):
        """Whether too many rows were answered without a label."""
        return self.progress.n_no_label > MAX_NO_LABEL * self.shares.n_queries

    def next_generator(self):
        """Return the generator of the next query."""
        self.progress.n_draws += 1
        return self.seeds.generator(self.progress.n_draws - 1)

    def lesson(self, X, *, is_last=True):
        """Return the lesson that the objective makes from the known labels.

        X are the labeled rows, gathered.
        """
        objective = self.components.objective
        if objective.only_at_end and not is_last:
            objective = objective.base or SoftTargets()
        evidence = Evidence(
            self.labels.targets,
            self.labels.given,
            teacher_checks=self.asked.findings.checks,
            embeddings=self.labels.embeddings,
            output_weights=getattr(self.asked.teacher, "output_weights", None),
            out_of_fold=partial(self._predict_out_of_fold, X),
            random_state=self.seeds.objective,
            fit_and_predict=partial(self._fit_and_predict, X),
        )
        lesson = objective.lesson(evidence)
        return lesson.replace(targets=give_every_class(lesson.targets))

    def start_curve(self, X):
        """Let students judge the given rows that they were not trained on.

        X are the labeled rows, gathered, before any other has a label.
        """
        targets, seed = self.labels.targets, self.seeds.objective

        def judge(number):
            return self._predict_out_of_fold(X, targets, 5, seed + number)

        # Trained later, if at all: on these rows, whatever has a label by then.
        train = partial(
            train_committee,
            self.components.student,
            X,
            targets,
            classes=self.labels.classes,
            seed=seed,
            **self.settings.cut_metadata(self.labels.rows),
        )
        return ErrorCurve(
            judge(0),
            targets.argmax(axis=1),
            TeacherChecks.none(targets.shape[1]),
            judge_again=judge,
            train_committee=train,
        )

    def _fit_and_predict(self, X, train, targets, test):
        """Train a student on some of the labeled rows and let it predict others."""
        classes = self.labels.classes
        student = fit_student(
            clone(self.students.last),
            safe_indexing(X, train),
            give_every_class(np.asarray(targets)),
            classes=classes,
            **self.settings.cut_metadata(self.labels.rows[train]),
        )
        return student_proba(student, safe_indexing(X, test), len(classes))

    def _predict_out_of_fold(self, X, targets, n_folds, seed):
        """Let students trained on other folds judge the labeled rows."""
        return predict_out_of_fold(
            self.students.last,
            X,
            targets,
            classes=self.labels.classes,
            given=self.labels.given,
            n_folds=n_folds,
            seed=seed,
            fit_params=lambda rows: self.settings.cut_metadata(self.labels.rows[rows]),
        )

    def record(self, record):
        """Complete a round's record and keep it."""
        record.n_labeled = self.labels.rows.size
        record.n_pool = self.labels.pool.size
        record.teacher_error = self.asked.findings.error
        record.n_val = self.settings.n_val
        record.seconds_total = perf_counter() - record.start
        self.records.append(record)


def stop_reason(state):
    """Say why the loop ends here; None if it goes on."""
    progress = state.progress
    if progress.callback:
        return "callback"
    if progress.waiting:
        return "waiting"
    if progress.ledger_spent:
        return "ledger_budget"
    if progress.stable:
        return progress.reason
    if state.labels.pool.size == 0:
        return "no_pool" if len(state.records) == 1 else "pool_empty"
    if state.has_too_few_labels:
        return "no_label"
    return None if state.n_left or state.known else "budget"
