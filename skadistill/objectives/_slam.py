"""Mix the student's answer with the mistakes its teacher is known to make."""

from numbers import Integral, Real

import numpy as np

from skadistill._compat import Interval, StrOptions
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

    The model: the teacher's likeliest class is right with probability
    :math:`\alpha(x)`; else the truth is one of its second to :math:`k`-th, each as
    likely. A student that knew the truth would then see the *teacher's* class with
    the probabilities

    .. math:: \mathrm{mix}(f)_c = \alpha f_c
              + \frac{1 - \alpha}{k - 1} (1 - f_c) \, [c \in \mathrm{top}(y_T; k)],

    and it is the mixture, not :math:`f`, that is compared with the teacher's
    answer, by cross-entropy [1]_. The student is used unmixed. Given labels are
    matched as they are.

    :math:`\alpha` and :math:`k` are read off validation rows: :math:`\alpha` by
    isotonic regression of the teacher's correctness on its margin, each level
    shrunk by a Beta prior; :math:`k` as the smallest number of classes that hold
    the truth on a share `coverage` of the rows. A teacher whose first class does
    that has :math:`k = 1`, and nothing is mixed.

    Parameters
    ----------
    alpha : {"relative", "absolute"}, float, array-like or callable, default="relative"
        :math:`\alpha`, in (0, 1]: "absolute" is the estimate itself, as in the paper;
        "relative" divides it by the probability that the teacher gives its likeliest
        class at that margin, at most to 1, so that only doubt is mixed in that its
        soft labels do not state already. Or one number for all rows; one for each
        training row; or a function that takes the teacher's probabilities and
        returns one for each row.
    k : {"auto"}, int or callable, default="auto"
        :math:`k`: "auto" estimates it; one number, where more than the classes
        means all of them; or a function that takes the teacher's probabilities and
        returns one for each row.
    normalized : bool, default=True
        Whether the second term is divided by :math:`k - 1`, as the model asks.
        False: as the paper ran its experiments (its remark B.1).
    lower_bound : {"auto"} or float, default="auto"
        Smaller :math:`\alpha` are raised to it. At :math:`1/k` (:math:`1/2` without
        normalization) a hard label teaches nothing and below it the contrary of
        what it says. "auto" lies just above: the slope in the student's probability
        is at least a hundredth of the plain one.
    coverage : float, default=0.95
        Share of the validation rows whose truth is among the first :math:`k`.
    over : Objective or None, default=None
        The objective whose lesson is changed. None: the bare targets.

    Notes
    -----
    At :math:`k = 2` both forms are the same, with :math:`\alpha = 1` both are the
    plain cross-entropy. With hard labels the form without normalization does not
    depend on :math:`k`.

    When not to use it: the model knows one kind of mistake, the truth a little
    further down the teacher's own list. Where wrong answers are as confident as
    right ones, :math:`\alpha` is the same everywhere and mixing only makes the loss
    flatter. Soft labels of a calibrated teacher state its doubts already, and
    mixing with ``alpha="absolute"`` counts them twice: the student ends up surer
    than it should be. The default does not: for a teacher that claims no more than
    it keeps it is 1, plain distillation; for hard labels, which claim certainty,
    it is "absolute". On seven settings with teachers trained on few rows
    "absolute" lost 0.3 to 0.5 points to soft targets and "relative" nothing
    (``benchmarks/results/noisy_teachers.md``).

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
        alpha="relative",
        k="auto",
        normalized=True,
        lower_bound="auto",
        coverage=0.95,
        *,
        base=None,
    ):
        self.alpha = alpha
        self.k = k
        self.normalized = normalized
        self.lower_bound = lower_bound
        self.coverage = coverage
        self.base = base

    @property
    def uses_teacher_checks(self):
        """Whether something is left to estimate."""
        return isinstance(self.alpha, str) or isinstance(self.k, str)

    def transform(self, lesson, evidence):
        """Mix on the rows that the teacher labeled.

        See :meth:`skadistill.objectives.Objective.transform`.
        """
        if evidence.given.all():
            # Plain, but with a loss of its own: a student that cannot follow it is
            # found out by the first training, before the teacher is paid.
            return lesson.replace(alpha=np.ones(len(evidence.given)))
        k = self._choose_k(evidence)
        alpha = np.maximum(self._choose_alpha(evidence), self._floor(k))
        # The likeliest class alone leaves no room for another truth.
        certain = (k == 1) & self.normalized
        alpha = np.where(evidence.given | certain, 1.0, alpha)
        if (alpha == 1).all():
            return lesson
        share = (1 - alpha) / (np.maximum(k - 1, 1) if self.normalized else 1)
        top = class_ranks(evidence.targets) < k[:, None]
        return lesson.replace(alpha=alpha, spread=share[:, None] * top)

    def _choose_k(self, evidence):
        """Return k of each row."""
        k = self.k
        if isinstance(k, str):
            proba = evidence.validation.proba
            covered = topk_coverage(proba, evidence.validation_truth)
            k = 1 + np.argmax(covered >= self.coverage)
        elif callable(k):
            k = k(evidence.targets)
        k = _per_row("k", k, len(evidence.targets))
        if not (k >= 1).all():
            raise ObjectiveError(
                f"k must be at least 1, got {k.min()}; let the function return how "
                "many classes may hold the truth."
            )
        return np.minimum(k, evidence.n_classes)

    def _choose_alpha(self, evidence):
        """Return alpha of each row, not yet raised."""
        alpha = self.alpha
        if isinstance(alpha, str):
            proba, asked = evidence.validation.proba, margin(evidence.targets)
            curve = correctness_curve(margin(proba), evidence.validation_right)
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

    def _floor(self, k):
        """Return the smallest alpha allowed on each row."""
        if self.lower_bound != "auto":
            return self.lower_bound
        useless = 1 / k if self.normalized else 1 / 2
        return useless + MIN_SLOPE * (1 - useless)


def _per_row(name, values, n_samples):
    """Spread one number over the rows; refuse arrays of another length."""
    values = np.asarray(values)
    if values.shape not in ((), (n_samples,)):
        raise ObjectiveError(
            f"{name} has shape {values.shape} where there are {n_samples} training "
            "rows; pass one number, or one for each row."
        )
    return np.broadcast_to(values, (n_samples,))
