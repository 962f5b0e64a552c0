"""What one fit carries from round to round."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from skadistill._rows._table import RowTable
from skadistill.objectives import Evidence, Objective, TeacherChecks
from skadistill.student import predict_out_of_fold

__all__ = ["FitState"]


@dataclass
class FitState:
    """Hold what a fit knows: the rows, their labels so far, student and teacher.

    Parameters
    ----------
    table : RowTable
        All rows.
    pool : ndarray of int of shape (n_pool,)
        Rows still unlabeled, ascending.
    rows : ndarray of int of shape (n_labeled,)
        Rows with a label, given ones first, then in the order of asking.
    targets : ndarray of shape (n_labeled, n_classes)
        Their labels as probabilities.
    classes : ndarray of shape (n_classes,)
        Labels of the columns of `targets`.
    schedule : tuple of int
        Rows to ask for in each round.
    student : estimator
        The student of the last round.
    cut_metadata : callable
        Gives the student's fit parameters for some rows.
    random_state : numpy.random.Generator
        Seeds the choice of rows.
    y : ndarray of shape (n_given,)
        The labels given, which the teacher is fitted on or held against.
    teacher_seed : int
        Seeds cross-fitting or the choice of validation rows.
    objective : Objective
        What the student must match.
    objective_seed : int
        Seeds what the objective draws.
    score : callable
        Scores a student on rows kept aside, None where there are none.
    teacher : BaseTeacher or None, default=None
        Who is asked.
    teacher_identity : str or None, default=None
        Under which the ledger files its answers.
    teacher_error : float or None, default=None
        Its error rate.
    validation : TeacherChecks or None, default=None
        Its answers on rows with given labels.
    embeddings : ndarray of float32 of shape (n_labeled, n_dims) or None, default=None
        What it gave beside labels; NaN in rows where it was not asked. None: it was
        never asked for any.
    """

    table: RowTable
    pool: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    classes: np.ndarray
    schedule: tuple
    student: Any
    cut_metadata: Any
    random_state: np.random.Generator
    y: np.ndarray
    teacher_seed: int
    objective: Objective
    objective_seed: int
    score: Any
    teacher: Any = None
    teacher_identity: str | None = None
    teacher_error: float | None = None
    validation: TeacherChecks | None = None
    embeddings: np.ndarray | None = None
    history: list = field(default_factory=list)
    agreements: list = field(default_factory=list)
    classes_before: np.ndarray | None = None

    def __post_init__(self):
        self.labeled_round = np.full(self.table.n_samples, -1, dtype=np.int64)
        self.labeled_round[self.rows] = 0

    def add(self, rows, targets, round_, embeddings=None):
        """Move rows from the pool to the labeled ones."""
        if embeddings is not None:
            if self.embeddings is None:
                self.embeddings = np.full(
                    (self.rows.size, embeddings.shape[1]), np.nan, dtype=np.float32
                )
            self.embeddings = np.concatenate([self.embeddings, embeddings])
        self.rows = np.concatenate([self.rows, rows])
        self.targets = np.concatenate([self.targets, targets])
        self.labeled_round[rows] = round_
        self.pool = np.setdiff1d(self.pool, rows, assume_unique=True)

    @property
    def given(self):
        """Which of the labeled rows were given their label."""
        return self.labeled_round[self.rows] == 0

    def lesson(self, X):
        """Ask the objective what the student is to be taught with what is known.

        X are the labeled rows, gathered.
        """
        evidence = Evidence(
            self.targets,
            self.given,
            validation=self.validation,
            embeddings=self.embeddings,
            output_weights=getattr(self.teacher, "output_weights", None),
            out_of_fold=partial(self._predict_out_of_fold, X),
            seed=self.objective_seed,
        )
        return self.objective.lesson(evidence)

    def _predict_out_of_fold(self, X, targets, n_folds, seed):
        """Let students trained on other folds judge the labeled rows."""
        return predict_out_of_fold(
            self.student,
            X,
            targets,
            classes=self.classes,
            given=self.given,
            n_folds=n_folds,
            seed=seed,
            fit_params=lambda positions: self.cut_metadata(self.rows[positions]),
        )

    def record(self, round_, **what):
        """Leave the evidence of one round; every key is present in every record."""
        record = {
            "round": round_,
            "n_labeled": self.rows.size,
            "n_pool": self.pool.size,
            "n_asked": 0,
            "n_paid": 0,
            "n_free": 0,
            "n_calls": 0,
            "teacher_error": self.teacher_error,
            "gain_mean": None,
            "gain_max": None,
            "water_level": None,
            "n_mistakes": None,
            "n_support": None,
            "student_agreement": None,
            "student_score": None,
            "student_stability": None,
            "seconds_teacher": 0.0,
            "seconds_student": 0.0,
            "seconds_predict": 0.0,
            "seconds_query": 0.0,
            "seconds_total": 0.0,
        }
        self.history.append({**record, **what})
