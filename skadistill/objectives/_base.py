"""What an objective is given, what it hands to a student, and the contract."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import BaseEstimator

from skadistill.exceptions import ObjectiveError

__all__ = ["Evidence", "Lesson", "Objective", "TeacherChecks", "margin"]


def margin(proba):
    """Return how far the likeliest class is ahead of the second.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Probabilities, at least two columns.

    Returns
    -------
    margin : ndarray of shape (n_samples,)
        Largest minus second largest entry of each row.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.objectives import margin
    >>> margin(np.array([[0.7, 0.1, 0.2], [0.5, 0.5, 0.0]])).round(6)
    array([0.5, 0. ])
    """
    top = np.partition(proba, -2, axis=1)
    return top[:, -1] - top[:, -2]


@dataclass(frozen=True, eq=False)
class TeacherChecks:
    """Pair rows of known label with the answers of a teacher that had not seen them.

    Parameters
    ----------
    rows : ndarray of int of shape (n_validation,)
        Positions among the training rows; all of them rows with given labels.
    proba : ndarray of shape (n_validation, n_classes)
        The teacher's answers: cross-fitted ones, or those of a teacher that was
        trained on other rows.
    independent : bool, default=True
        Whether the teacher that labeled the other training rows had not seen the
        truth of these. That of a cross-fitted teacher has: it was fitted on all of
        them, so its answers on the other rows carry their truth to any student.
    """

    rows: np.ndarray
    proba: np.ndarray
    independent: bool = True


@dataclass(frozen=True, eq=False)
class Evidence:
    """Hold what is known when a student is about to be trained.

    Parameters
    ----------
    targets : ndarray of shape (n_samples, n_classes)
        Labels of the training rows: one-hot where given, the teacher's
        probabilities elsewhere.
    given : ndarray of bool of shape (n_samples,)
        Rows whose true label is known.
    validation : TeacherChecks or None, default=None
        The teacher's answers on some given rows.
    embeddings : ndarray of shape (n_samples, n_dimensions) or None, default=None
        The teacher's embeddings; a row of NaN where it was not asked.
    output_weights : ndarray of shape (n_classes, n_dimensions) or None, default=None
        The weights of the teacher's last layer, which turn an embedding into
        logits.
    out_of_fold : callable or None, default=None
        Takes targets, of shape (n_samples, n_classes), a number of folds and a seed,
        and returns the probabilities, of shape (n_samples, n_classes), that students
        trained on the targets of the other folds give each row:
        :func:`skadistill.student.predict_out_of_fold` with all else filled in.
    seed : int, default=0
        For objectives that draw random numbers and have no seed of their own.
    """

    targets: np.ndarray
    given: np.ndarray
    validation: TeacherChecks | None = None
    embeddings: np.ndarray | None = None
    output_weights: np.ndarray | None = None
    out_of_fold: Callable | None = None
    seed: int = 0

    def __post_init__(self):
        n_samples = len(self.targets)
        if self.given.shape != (n_samples,) or self.given.dtype != bool:
            raise ObjectiveError(
                f"given must be a mask of {n_samples} rows, got {self.given.dtype} of "
                f"shape {self.given.shape}; say of each row of targets whether its "
                "label is known."
            )
        if self.validation is not None:
            self._check_validation(self.validation, n_samples)
        if self.embeddings is not None and len(self.embeddings) != n_samples:
            raise ObjectiveError(
                f"embeddings have {len(self.embeddings)} rows where targets have "
                f"{n_samples}; pass one row each, NaN where there is none."
            )

    def _check_validation(self, validation, n_samples):
        """Refuse validation rows that are no given training rows."""
        rows, proba = validation.rows, validation.proba
        if proba.shape != (len(rows), self.targets.shape[1]):
            raise ObjectiveError(
                f"the validation's proba has shape {proba.shape} for {len(rows)} rows "
                f"and {self.targets.shape[1]} classes; pass one row of probabilities "
                "for each."
            )
        if len(rows) and (rows.min() < 0 or rows.max() >= n_samples):
            raise ObjectiveError(
                f"validation rows lie between {rows.min()} and {rows.max()} where "
                f"there are {n_samples} training rows; pass their positions."
            )
        if not self.given[rows].all():
            raise ObjectiveError(
                f"{int((~self.given[rows]).sum())} validation rows have no given "
                "label; pass rows whose true label is known."
            )

    @property
    def n_classes(self):
        """Number of classes."""
        return self.targets.shape[1]

    @property
    def validation_truth(self):
        """Positions of the true classes of the validation rows; none without any."""
        rows = np.array([], int) if self.validation is None else self.validation.rows
        return self.targets[rows].argmax(axis=1)

    @property
    def validation_right(self):
        """Where the teacher's likeliest class of the validation rows is the truth."""
        if self.validation is None:
            return np.array([], bool)
        return self.validation.proba.argmax(axis=1) == self.validation_truth


@dataclass(frozen=True, eq=False)
class Lesson:
    r"""Say what a student is asked to match, row by row.

    With :math:`f` the student's probabilities at temperature :math:`T`, folded over
    pseudo-subclasses where there are some, the loss of a row is

    .. math:: -T^2 \sum_c t_c \log\bigl(\alpha f_c + s_c (1 - f_c)\bigr)
              - T^2 \sum_c t_c \sum_i u_{ci} \log f_{i|c}

    and everything but the targets is optional: without it, this is the
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
        the pseudo-subclasses of each class; NaN in a row about which nothing is
        known: its second sum is left out.
    weights : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows, not negative. None: 1.
    reweight : callable or None, default=None
        Takes the student's probabilities of all training rows, of shape
        (n_samples, n_classes), and returns weights of shape (n_samples,), which
        multiply `weights`. Nets call it before each epoch but the first, other
        students are fitted a second time.
    """

    targets: np.ndarray
    temperature: np.ndarray | None = None
    alpha: np.ndarray | None = None
    spread: np.ndarray | None = None
    subclasses: np.ndarray | None = None
    weights: np.ndarray | None = None
    reweight: Callable | None = None

    @property
    def n_subclasses(self):
        """Outputs of the student per class."""
        return 1 if self.subclasses is None else self.subclasses.shape[2]

    @property
    def has_own_loss(self):
        """Whether a student must follow the loss above to learn this lesson."""
        return any(
            part is not None
            for part in (self.temperature, self.alpha, self.spread, self.subclasses)
        )

    def replace(self, **changes):
        """Return this lesson with some of its parts replaced."""
        return replace(self, **changes)


class Objective(BaseEstimator, ABC):
    """Turn evidence about the teacher into a lesson for the student.

    An objective changes the lesson of its `base`: ``SLaM(base=LELP())``
    mixes over pseudo-subclasses. Parameters are scikit-learn's, so that a search
    reaches ``objective__over__n_subclasses``.

    Subclasses write `transform`, store `base` and, where they use them, say so by
    ``uses_teacher_checks = True``, ``uses_embeddings = True`` or
    ``uses_out_of_fold = True``.

    See Also
    --------
    skadistill.testing.check_objective : The contract, as checks.

    Examples
    --------
    An objective that trusts confident answers more:

    >>> import numpy as np
    >>> from skadistill.objectives import Evidence, Objective, margin
    >>> class Confident(Objective):
    ...     def transform(self, lesson, evidence):
    ...         trust = np.where(evidence.given, 1.0, margin(evidence.targets))
    ...         return lesson.replace(weights=trust)
    >>> evidence = Evidence(np.array([[1.0, 0], [0.6, 0.4]]), np.array([True, False]))
    >>> Confident().lesson(evidence).weights
    array([1. , 0.2])
    """

    def __init__(self, *, base=None):
        self.base = base

    @property
    def uses_teacher_checks(self):
        """Whether this objective itself reads the evidence's validation."""
        return False

    @property
    def uses_embeddings(self):
        """Whether this objective itself reads the evidence's embeddings."""
        return False

    @property
    def uses_out_of_fold(self):
        """Whether this objective itself trains students on folds of the rows."""
        return False

    @abstractmethod
    def transform(self, lesson, evidence):
        """Return the lesson of the objective below, changed.

        Parameters
        ----------
        lesson : Lesson
            What the student would be asked without this objective.
        evidence : Evidence
            What is known.

        Returns
        -------
        lesson : Lesson
            What it is asked instead. Where every row is given, nothing of the
            teacher is known yet, and the lesson should be as good as untouched.
        """

    def lesson(self, evidence):
        """Say what the student is asked to match.

        Parameters
        ----------
        evidence : Evidence
            What is known of teacher and rows.

        Returns
        -------
        lesson : Lesson
            Targets, loss and weights, row by row.

        Raises
        ------
        ObjectiveError
            If the evidence lacks what the objective needs.
        """
        self._refuse_without(evidence)
        if self.base is None:
            lesson = Lesson(np.asarray(evidence.targets, dtype=np.float64))
        else:
            lesson = self.base.lesson(evidence)
        return self.transform(lesson, evidence)

    @property
    def needs_teacher_checks(self):
        """Whether the teacher's answers on rows with known labels are needed."""
        return self._here_or_below("teacher_checks")

    @property
    def needs_embeddings(self):
        """Whether the teacher's embeddings are needed."""
        return self._here_or_below("embeddings")

    @property
    def needs_out_of_fold(self):
        """Whether students trained on folds of the rows are needed."""
        return self._here_or_below("out_of_fold")

    def _here_or_below(self, what):
        """Tell whether this objective uses something, or the one below needs it."""
        below = self.base is not None and getattr(self.base, f"needs_{what}")
        return getattr(self, f"uses_{what}") or below

    def _refuse_without(self, evidence):
        """Ask for evidence by name before computing anything."""
        if hasattr(self, "_parameter_constraints"):
            self._validate_params()
        if self.base is not None and not isinstance(self.base, Objective):
            raise ObjectiveError(
                f"{type(self).__name__} got base={self.base!r}, which is no objective; "
                "pass an instance such as SoftTargets() or None."
            )
        if evidence.given.all():
            return
        validation = evidence.validation
        if self.uses_teacher_checks and (
            validation is None or not len(validation.rows)
        ):
            raise ObjectiveError(
                f"{type(self).__name__} learns from the teacher's answers on rows "
                "with known labels, and got none; pass validation, or give the "
                "quantities it estimates yourself."
            )
        if self.uses_embeddings and evidence.embeddings is None:
            raise ObjectiveError(
                f"{type(self).__name__} needs the teacher's embeddings, and got none; "
                "use a teacher that gives them, or another objective."
            )
        if self.uses_out_of_fold and evidence.out_of_fold is None:
            raise ObjectiveError(
                f"{type(self).__name__} asks students that were trained on other rows, "
                "and evidence.out_of_fold is None; pass a function that does so, made "
                "of skadistill.student.predict_out_of_fold, or use another objective."
            )
