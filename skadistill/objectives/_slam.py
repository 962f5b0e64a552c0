"""SLaM: compare the teacher with a mixture of the student and its likely mistakes."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skadistill._utils.compat import Interval, StrOptions
from skadistill.exceptions import ObjectiveError
from skadistill.objectives._base import Objective, margin
from skadistill.objectives._calibration import (
    claim_curve,
    class_ranks,
    correctness_curve,
    topk_coverage,
)

__all__ = ["SLaM"]

# By default no row's loss is flatter, in the student's probability of the teacher's
# class, than this share of the plain one.
MIN_SLOPE = 0.01


class SLaM(Objective):
    r"""Match a noisy teacher through a model of its mistakes: student-label mixing.

    The model: the teacher's most likely class is right with probability
    :math:`\alpha(x)`; else the truth is one of its second to :math:`k`-th classes, each
    equally likely. If :math:`f` is the truth, the *teacher's* class has the
    probabilities

    .. math:: \mathrm{mix}(f)_c = \alpha f_c
              + \frac{1 - \alpha}{k - 1} (1 - f_c) \, [c \in \mathrm{top}(y_T; k)],

    and the mixture, not :math:`f`, is compared with the teacher's answer, by
    cross-entropy [1]_. Predictions use :math:`f`. Given labels are matched unmixed.

    :math:`\alpha` and :math:`k` are estimated from the teacher checks: :math:`\alpha`
    by isotonic regression of the teacher's correctness on its margin, each level
    shrunk by a Beta prior; :math:`k` as the smallest number of classes that contain the
    truth on a share `coverage` of the rows. If the first class alone does, then
    :math:`k = 1` and nothing is mixed.

    Parameters
    ----------
    alpha : {"relative", "absolute"}, float, array-like or callable, default="relative"
        :math:`\alpha`, in (0, 1]. "absolute" is the estimate itself, as in the paper.
        "relative" divides it by the probability that the teacher gives its most likely
        class at that margin, up to 1, so that only uncertainty is mixed in that its
        soft labels do not express. Or one value for all rows, one value per training
        row, or a function that takes the teacher's probabilities and returns one value
        per row.
    k : {"auto"}, int or callable, default="auto"
        :math:`k`. "auto" estimates it. Or one value for all rows, limited to the number
        of classes; or a function that takes the teacher's probabilities and
        returns one value per row.
    normalized : bool, default=True
        Whether the second term is divided by :math:`k - 1`, as in the model. False: as
        in the paper's experiments (its remark B.1).
    lower_bound : {"auto"} or float, default="auto"
        Smaller :math:`\alpha` are raised to it. At :math:`1/k` (:math:`1/2` without
        normalization) a hard label teaches nothing, and below it the opposite. "auto"
        lies just above: the slope in the student's probability is at least a
        hundredth of the slope without mixing.
    coverage : float, default=0.95
        Share of the checked rows whose truth is among the first :math:`k` classes.
    base : Objective or None, default=None
        The objective whose lesson is changed. None: the plain targets.

    Notes
    -----
    At :math:`k = 2` both forms are equal; with :math:`\alpha = 1` both are the plain
    cross-entropy. With hard labels the form without normalization does not
    depend on :math:`k`.

    When not to use it: the model describes one kind of mistake, in which the truth is
    one of the teacher's next classes. If wrong answers are as confident as right ones,
    :math:`\alpha` is the same everywhere and mixing only makes the loss flatter. Soft
    labels of a calibrated teacher already express its uncertainty, and mixing with
    ``alpha="absolute"`` counts them twice, so that the student becomes overconfident.
    The default does not: for a calibrated teacher :math:`\alpha` is 1, plain
    distillation; for hard labels, which express no uncertainty, it is "absolute". On
    seven settings with teachers trained on few rows "absolute" lost 0.3 to 0.5 points
    to soft targets and "relative" nothing (``benchmarks/results/noisy_teachers.md``).

    References
    ----------
    .. [1] Kontonis, Iliopoulos, Trinh, Baykal, Menghani, Vee. "SLaM: Student-Label
       Mixing for Distillation with Unlabeled Examples." NeurIPS 2023,
       arXiv:2302.03806.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.objectives import Evidence, SLaM
    >>> proba = np.array([[0.7, 0.2, 0.1]])
    >>> evidence = Evidence(proba, given=np.array([False]))
    >>> lesson = SLaM(alpha=0.8, k=3).lesson(evidence)
    >>> lesson.alpha, lesson.spread.round(6)
    (array([0.8]), array([[0.1, 0.1, 0.1]]))
    """

    _parameter_constraints: dict = {
        "alpha": [
            StrOptions({"relative", "absolute"}),
            Interval(Real, 0, 1, closed="right"),
            "array-like",
            callable,
        ],
        "k": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            callable,
        ],
        "normalized": ["boolean"],
        "lower_bound": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "coverage": [Interval(Real, 0, 1, closed="right")],
        "base": [Objective, None],
    }

    def __init__(
        self,
        alpha: str | float | ArrayLike | Callable[..., Any] = "relative",
        k: Any = "auto",
        normalized: bool = True,
        lower_bound: str | float = "auto",
        coverage: float = 0.95,
        *,
        base: Objective | None = None,
    ) -> None:
        self.alpha = alpha
        self.k = k
        self.normalized = normalized
        self.lower_bound = lower_bound
        self.coverage = coverage
        self.base = base

    @property
    def uses_teacher_checks(self) -> Any:
        """Whether `alpha` or `k` is to be estimated."""
        return isinstance(self.alpha, str) or isinstance(self.k, str)

    def transform(self, lesson: Any, evidence: Any) -> Any:
        """Mix on the rows that the teacher labeled.

        See :meth:`skadistill.objectives.Objective.transform`.
        """
        if evidence.given.all():
            # No change, but a loss of its own: a student that cannot follow it fails in
            # the first training, before the teacher is paid.
            return lesson.replace(alpha=np.ones(len(evidence.given)))
        k = self._choose_k(evidence)
        alpha = np.maximum(self._choose_alpha(evidence), self._lower_bound(k))
        # If the truth is always the most likely class, there is nothing to mix.
        certain = (k == 1) & self.normalized
        alpha = np.where(evidence.given | certain, 1.0, alpha)
        if (alpha == 1).all():
            return lesson
        share = (1 - alpha) / (np.maximum(k - 1, 1) if self.normalized else 1)
        top = class_ranks(evidence.targets) < k[:, None]
        return lesson.replace(alpha=alpha, spread=share[:, None] * top)

    def _choose_k(self, evidence):
        """Return k, one value per row."""
        k = self.k
        if isinstance(k, str):
            proba = evidence.teacher_checks.proba
            covered = topk_coverage(proba, evidence.checked_truth)
            k = 1 + np.argmax(covered >= self.coverage)
        elif callable(k):
            k = k(evidence.targets)
        k = _per_row("k", k, len(evidence.targets))
        if not (k >= 1).all():
            raise ObjectiveError(
                f"k must be at least 1, got {k.min()}; let the function return how "
                "many classes may be the true one."
            )
        return np.minimum(k, evidence.n_classes)

    def _choose_alpha(self, evidence):
        """Return alpha, one value per row, before it is raised."""
        alpha = self.alpha
        if isinstance(alpha, str):
            proba, asked = evidence.teacher_checks.proba, margin(evidence.targets)
            curve = correctness_curve(margin(proba), evidence.checked_right)
            alpha = curve(asked)
            if self.alpha == "relative":
                claimed = claim_curve(margin(proba), proba.max(axis=1))(asked)
                alpha = np.minimum(alpha / claimed, 1.0)
        elif callable(alpha):
            alpha = alpha(evidence.targets)
        alpha = _per_row("alpha", alpha, len(evidence.targets))
        if not ((alpha > 0) & (alpha <= 1)).all():
            raise ObjectiveError(
                f"alpha must lie in (0, 1], got values from {alpha.min()} to "
                f"{alpha.max()}; pass probabilities that the teacher is right."
            )
        return alpha

    def _lower_bound(self, k):
        """Return the smallest allowed alpha, one value per row."""
        if self.lower_bound != "auto":
            return self.lower_bound
        useless = 1 / k if self.normalized else 1 / 2
        return useless + MIN_SLOPE * (1 - useless)


def _per_row(name, values, n_samples):
    """Return one value per row; raise for arrays of another length."""
    values = np.asarray(values)
    if values.shape not in ((), (n_samples,)):
        raise ObjectiveError(
            f"{name} has shape {values.shape} for {n_samples} training rows; pass one "
            "value, or one value per row."
        )
    return np.broadcast_to(values, (n_samples,))
