"""SoftTargets: plain distillation, with a temperature and mixed-in labels."""

from numbers import Real
from typing import Any

import numpy as np

from skadistill._utils.compat import Interval
from skadistill.objectives._base import Objective

__all__ = ["SoftTargets"]


class SoftTargets(Objective):
    r"""Match the teacher's probabilities by cross-entropy.

    On a row that the teacher labeled, with :math:`y_T^{(\tau)} \propto
    y_T^{1/\tau}` and :math:`f^{(\tau)}` the student's softmax of logits over
    :math:`\tau`, the loss is

    .. math:: -\tau^2 \sum_c y_{T,c}^{(\tau)} \log f_c^{(\tau)}

    (the factor keeps the size of the gradients [1]_). On a row with a given label it
    is the cross-entropy with that label. If the teacher was checked on such a row,
    the target is :math:`h` times the given label plus :math:`1 - h` times the
    teacher's answer.

    Parameters
    ----------
    temperature : float, default=1.0
        :math:`\tau`. Above 1, the probabilities of unlikely classes count more. The
        student must be a neural network unless this is 1.
    hard_weight : float, default=1.0
        :math:`h`, in [0, 1]: weight of the given label on rows that were used to check
        the teacher. The default uses given labels only.
    base : Objective or None, default=None
        The objective whose lesson is changed. None: the plain targets.

    Notes
    -----
    The cross-entropy is the Kullback-Leibler divergence plus the entropy of the
    target, which does not depend on the student: minimizing one is minimizing the
    other.

    When not to use it: if the teacher is often wrong and its margins are smaller when
    it is; :class:`SLaM` and :class:`Debiased` use that.

    References
    ----------
    .. [1] Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network."
       arXiv:1503.02531, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.objectives import Evidence, SoftTargets
    >>> evidence = Evidence(np.array([[0.9, 0.1]]), np.array([False]))
    >>> SoftTargets(temperature=2.0).lesson(evidence).targets
    array([[0.75, 0.25]])
    """

    _parameter_constraints: dict = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "hard_weight": [Interval(Real, 0, 1, closed="both")],
        "base": [Objective, None],
    }

    def __init__(
        self,
        temperature: float = 1.0,
        hard_weight: float = 1.0,
        *,
        base: Objective | None = None,
    ) -> None:
        self.temperature = temperature
        self.hard_weight = hard_weight
        self.base = base

    def transform(self, lesson: Any, evidence: Any) -> Any:
        """Soften the teacher's targets; mix its answers into given labels.

        See :meth:`skadistill.objectives.Objective.transform`.
        """
        targets = lesson.targets.copy()
        if self.temperature != 1:
            targets[~evidence.given] = soften(
                targets[~evidence.given], self.temperature
            )
        if self.hard_weight < 1 and evidence.teacher_checks is not None:
            rows = evidence.teacher_checks.rows
            targets[rows] *= self.hard_weight
            targets[rows] += (1 - self.hard_weight) * evidence.teacher_checks.proba
        if self.temperature == 1:
            return lesson.replace(targets=targets)
        temperature = np.where(evidence.given, 1.0, self.temperature)
        return lesson.replace(targets=targets, temperature=temperature)


def soften(proba, temperature):
    """Raise probabilities to the power 1 / temperature and renormalize."""
    # Relative to the largest entry, which no power can make vanish.
    top = proba.max(axis=1, keepdims=True)
    powers = (proba / top) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)
