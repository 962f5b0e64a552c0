"""Evidence, lessons, and the base class that turns one into the other."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skadistill._statistics.checks import TeacherChecks, is_wrong
from skadistill.exceptions import ObjectiveError

__all__ = ["Evidence", "Lesson", "Objective", "TeacherChecks", "margin"]


def margin(proba):
    """Return the difference of the two largest probabilities of each row."""
    top = np.partition(proba, -2, axis=1)
    return top[:, -1] - top[:, -2]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Labels, teacher answers and teacher checks from which an objective learns.

    Parameters
    ----------
    targets : ndarray of shape (n_samples, n_classes)
        Labels of the training rows: one-hot where given, the teacher's
        probabilities elsewhere.
    given : ndarray of bool of shape (n_samples,)
        Rows whose true label is known.
    teacher_checks : TeacherChecks or None, default=None
        The teacher's answers on some given rows, whose positions among the training
        rows are its ``rows``.
    embeddings : ndarray of shape (n_samples, n_dimensions) or None, default=None
        The teacher's embeddings; NaN in rows that it was not asked about.
    output_weights : ndarray of shape (n_classes, n_dimensions) or None, default=None
        The weights of the teacher's last layer, which turn an embedding into
        logits.
    out_of_fold : callable or None, default=None
        ``out_of_fold(targets, n_folds, random_state) -> proba`` trains students on
        all folds but one and predicts the rows of that fold; targets and
        probabilities have shape (n_samples, n_classes).
    random_state : int, default=0
        Seed for objectives that draw random numbers and have no seed.
    fit_and_predict : callable or None, default=None
        ``fit_and_predict(train, targets, test) -> proba`` trains a student on some of
        the training rows, with targets of shape (n_train, n_classes), and predicts
        others; `train` and `test` are positions.

    Raises
    ------
    ObjectiveError
        If the parts do not belong to the same rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.objectives import Evidence, SoftTargets
    >>> targets = np.array([[1.0, 0.0], [0.3, 0.7]])
    >>> evidence = Evidence(targets, given=np.array([True, False]))
    >>> SoftTargets().lesson(evidence).targets
    array([[1. , 0. ],
           [0.3, 0.7]])
    """

    targets: np.ndarray
    given: np.ndarray
    teacher_checks: TeacherChecks | None = None
    embeddings: np.ndarray | None = None
    output_weights: np.ndarray | None = None
    out_of_fold: Callable | None = None
    random_state: int = 0
    fit_and_predict: Callable | None = None

    def __post_init__(self):
        n_samples = len(self.targets)
        if self.given.shape != (n_samples,) or self.given.dtype != bool:
            raise ObjectiveError(
                f"given must be a mask of {n_samples} rows, got {self.given.dtype} of "
                f"shape {self.given.shape}; pass one boolean per row of targets that "
                "says whether its label is known."
            )
        if self.teacher_checks is not None:
            self._validate_checks(self.teacher_checks, n_samples)
        if self.embeddings is not None and len(self.embeddings) != n_samples:
            raise ObjectiveError(
                f"embeddings have {len(self.embeddings)} rows and targets "
                f"{n_samples}; pass one row per target, NaN for a missing embedding."
            )

    def _validate_checks(self, checks, n_samples):
        """Raise if checked rows are not among the given training rows."""
        rows, proba = checks.rows, checks.proba
        if proba.shape != (len(rows), self.targets.shape[1]):
            raise ObjectiveError(
                f"teacher_checks.proba has shape {proba.shape} for {len(rows)} rows "
                f"and {self.targets.shape[1]} classes; pass one row of probabilities "
                "per checked row."
            )
        if len(rows) and (rows.min() < 0 or rows.max() >= n_samples):
            raise ObjectiveError(
                f"teacher_checks.rows lie between {rows.min()} and {rows.max()}, but "
                f"there are {n_samples} training rows; pass positions among them."
            )
        if not self.given[rows].all():
            raise ObjectiveError(
                f"{int((~self.given[rows]).sum())} of teacher_checks.rows have no "
                "given label; pass rows whose true label is known."
            )

    @property
    def n_classes(self) -> Any:
        """Number of classes."""
        return self.targets.shape[1]

    @property
    def checked_truth(self) -> Any:
        """Positions of the true classes of the checked rows."""
        rows = (
            np.array([], int)
            if self.teacher_checks is None
            else self.teacher_checks.rows
        )
        return self.targets[rows].argmax(axis=1)

    @property
    def checked_right(self) -> Any:
        """Which checked rows the teacher labels correctly."""
        if self.teacher_checks is None:
            return np.array([], bool)
        return ~is_wrong(self.teacher_checks.proba, self.checked_truth)


@dataclass(frozen=True, eq=False)
class Lesson:
    r"""Hold what a student is trained to match, row by row.

    With :math:`f` the student's probabilities at temperature :math:`T`, summed over
    pseudo-subclasses if there are any, the loss of a row is

    .. math:: -T^2 \sum_c t_c \log\bigl(\alpha f_c + s_c (1 - f_c)\bigr)
              - T^2 \sum_c t_c \sum_i u_{ci} \log f_{i|c}

    Everything but the targets is optional; with targets only, this is the
    cross-entropy.

    Parameters
    ----------
    targets : ndarray of shape (n_samples, n_classes)
        :math:`t`; rows sum to 1.
    temperature : ndarray of shape (n_samples,) or None, default=None
        :math:`T`. None: 1.
    alpha : ndarray of shape (n_samples,) or None, default=None
        :math:`\alpha`, in (0, 1]. None: 1.
    spread : ndarray of shape (n_samples, n_classes) or None, default=None
        :math:`s`, in [0, 1]. None: 0.
    subclasses : ndarray or None, default=None
        :math:`u`, of shape (n_samples, n_classes, n_subclasses): a distribution over
        the pseudo-subclasses of each class. NaN in unknown rows;
        their second sum is left out.
    weights : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows, not negative. None: 1.
    reweight : callable or None, default=None
        Takes the student's probabilities of all training rows, of shape
        (n_samples, n_classes), and returns weights of shape (n_samples,), which
        multiply `weights`. Nets call it before each epoch but the first, other
        students are fitted a second time.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.objectives import Lesson
    >>> lesson = Lesson(np.array([[1.0, 0.0], [0.3, 0.7]]))
    >>> lesson.replace(weights=np.array([1.0, 0.5])).weights
    array([1. , 0.5])
    """

    targets: np.ndarray
    temperature: np.ndarray | None = None
    alpha: np.ndarray | None = None
    spread: np.ndarray | None = None
    subclasses: np.ndarray | None = None
    weights: np.ndarray | None = None
    reweight: Callable | None = None

    @property
    def n_subclasses(self) -> Any:
        """Number of outputs of the student per class."""
        return 1 if self.subclasses is None else self.subclasses.shape[2]

    @property
    def has_own_loss(self) -> Any:
        """Whether the loss is more than a weighted cross-entropy."""
        return any(
            part is not None
            for part in (self.temperature, self.alpha, self.spread, self.subclasses)
        )

    def replace(self, **changes: Any) -> Any:
        """Return a copy of this lesson with some of its parts replaced."""
        return replace(self, **changes)


class Objective(BaseEstimator, ABC):
    """Turn evidence about the teacher into a lesson for the student.

    An objective changes the lesson of its `base`: ``SLaM(base=LELP())`` mixes over
    pseudo-subclasses. It has ``get_params`` and ``set_params``, so that a search
    reaches ``objective__base__n_subclasses``.

    Subclasses write `transform` and store `base`. They set
    ``uses_teacher_checks = True``, ``uses_embeddings = True`` or
    ``uses_out_of_fold = True`` if they use that part of the evidence.

    Parameters
    ----------
    base : Objective or None, default=None
        The objective whose lesson is changed. None: the plain targets.

    See Also
    --------
    skadistill.testing.check_objective : The contract, as checks.

    Examples
    --------
    An objective that gives confident answers more weight:

    >>> import numpy as np
    >>> from skadistill.objectives import Evidence, Objective
    >>> class Confident(Objective):
    ...     def transform(self, lesson, evidence):
    ...         return lesson.replace(weights=evidence.targets.max(axis=1))
    >>> evidence = Evidence(np.array([[1.0, 0], [0.6, 0.4]]), np.array([True, False]))
    >>> Confident().lesson(evidence).weights
    array([1. , 0.6])
    """

    def __init__(self, *, base: Any = None) -> None:
        self.base = base

    @property
    def uses_teacher_checks(self) -> bool:
        """Whether this objective itself reads the evidence's teacher checks."""
        return False

    @property
    def uses_embeddings(self) -> bool:
        """Whether this objective itself reads the evidence's embeddings."""
        return False

    @property
    def uses_out_of_fold(self) -> bool:
        """Whether this objective itself trains students on folds of the rows."""
        return False

    @property
    def uses_fit_and_predict(self) -> bool:
        """Whether this objective itself trains students on rows of its choice."""
        return False

    @property
    def only_at_end(self) -> bool:
        """Whether it is used for the last training of a fit only.

        The trainings before learn the lesson of its base, or the plain targets.
        """
        return False

    @abstractmethod
    def transform(self, lesson: Lesson, evidence: Evidence) -> Lesson:
        """Return the lesson of `base` after this objective's change.

        Parameters
        ----------
        lesson : Lesson
            The lesson of `base`, or the plain targets.
        evidence : Evidence
            Labels, teacher answers and teacher checks.

        Returns
        -------
        lesson : Lesson
            The changed lesson. If every row is given, nothing is known about the
            teacher yet, and the loss must stay the same.
        """

    def lesson(self, evidence: Evidence) -> Lesson:
        """Return what the student is trained to match.

        Parameters
        ----------
        evidence : Evidence
            Labels, teacher answers and teacher checks.

        Returns
        -------
        lesson : Lesson
            Targets, loss and weights, row by row.

        Raises
        ------
        ObjectiveError
            If the evidence lacks what the objective needs.
        """
        self._check_evidence(evidence)
        if self.base is None:
            lesson = Lesson(np.asarray(evidence.targets, dtype=np.float64))
        else:
            lesson = self.base.lesson(evidence)
        return self.transform(lesson, evidence)

    @property
    def needs_teacher_checks(self) -> Any:
        """Whether the teacher's answers on rows with known labels are needed."""
        return self._needs("teacher_checks")

    @property
    def needs_embeddings(self) -> Any:
        """Whether the teacher's embeddings are needed."""
        return self._needs("embeddings")

    @property
    def needs_out_of_fold(self) -> Any:
        """Whether students trained on folds of the rows are needed."""
        return self._needs("out_of_fold")

    @property
    def needs_fit_and_predict(self) -> Any:
        """Whether students trained on rows of its choice are needed."""
        return self._needs("fit_and_predict")

    def _needs(self, what):
        """Tell whether this objective uses something, or its base needs it."""
        base_needs = self.base is not None and getattr(self.base, f"needs_{what}")
        return getattr(self, f"uses_{what}") or base_needs

    def _check_evidence(self, evidence):
        """Raise for missing evidence before computing anything."""
        if hasattr(self, "_parameter_constraints"):
            self._validate_params()
        if self.base is not None and not isinstance(self.base, Objective):
            raise ObjectiveError(
                f"{type(self).__name__} got base={self.base!r}, which is not an "
                "objective; pass an instance such as SoftTargets() or None."
            )
        if evidence.given.all():
            return
        checks = evidence.teacher_checks
        if self.uses_teacher_checks and (checks is None or not len(checks.rows)):
            raise ObjectiveError(
                f"{type(self).__name__} needs the teacher's answers on rows with known "
                "labels, and evidence.teacher_checks is "
                f"{'None' if checks is None else 'empty'}; pass some, or set the "
                "parameters that are estimated from them."
            )
        if self.uses_embeddings and evidence.embeddings is None:
            raise ObjectiveError(
                f"{type(self).__name__} needs the teacher's embeddings, and "
                "evidence.embeddings is None; use a teacher that returns them, or "
                "another objective."
            )
        if self.uses_fit_and_predict and evidence.fit_and_predict is None:
            raise ObjectiveError(
                f"{type(self).__name__} needs students trained on some of the rows, "
                "and evidence.fit_and_predict is None; pass a function that trains one "
                "and predicts, or use another objective."
            )
        if self.uses_out_of_fold and evidence.out_of_fold is None:
            raise ObjectiveError(
                f"{type(self).__name__} needs predictions of students trained on other "
                "rows, and evidence.out_of_fold is None; pass a function that "
                "returns them, or use another objective."
            )
