"""Corrected: change the teacher's labels by predictions of students."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill._utils.compat import Interval
from skadistill.objectives._base import Objective, margin

__all__ = ["Corrected", "probability_right", "rank_weights"]

# Added to probabilities, so that logarithms stay finite and no class is impossible.
MIN_PROBA = 1e-3


class Corrected(Objective):
    r"""Correct the teacher's labels by predictions of students of other rows.

    Students trained on other rows give a second opinion on each row: if they
    contradict the teacher, it is more often wrong. How much more often is estimated
    from the teacher checks. A logistic regression learns the probability :math:`p(x)`
    that the teacher's most likely class is right, from

    - the logarithm of the probability that the students give this class, whether it
      is also their most likely one, and their margin;
    - the teacher's margin, and the logarithm of its largest probability.

    The weight :math:`\pi_r` counts how often the truth has rank :math:`r` in the
    teacher's answer if the first class is wrong; each count is increased by
    :math:`1 / r`, and classes that are equally likely share their counts. With
    :math:`t` the teacher's probabilities, :math:`c^*` its most likely class, and
    :math:`s` the students' probabilities, the new label is

    .. math:: t'_c = \rho \, t_c + (1 - \rho) \, q_c, \qquad
              \rho = \min\Bigl(1, \frac{p(x)}{t_{c^*}}\Bigr), \qquad
              q_c \propto s_c \, \pi_{r(c)} \quad (c \neq c^*).

    The teacher's most likely class keeps its probability if that is justified. The
    excess goes to other classes that the teacher's ranking and the students find
    likely. A share `strength` of this change is made. Given labels do not change.

    Parameters
    ----------
    n_folds : int, default=3
        Folds of the training rows; one student per fold is trained on all other
        folds.
    n_passes : int, default=2
        Number of passes: the students of the second pass are trained on the labels
        that the first one corrected.
    strength : float, default=0.7
        Share of the correction that is made, in (0, 1]. If all students make the same
        mistake, a full correction turns noise, which averages out, into bias, which
        does not: in trials with mistakes near the class boundaries 1 cost up to 2.2
        points and 0.7 up to 1.0, while elsewhere 0.7 kept nine tenths of the gain.
    base : Objective or None, default=None
        The objective whose lesson is changed. None: the plain targets.

    Notes
    -----
    This objective is not from a paper. Confident learning [1]_ finds label errors by
    cross-validated predictions and drops such rows; here a clean sample determines
    how far to trust them, and rows are corrected instead of dropped.

    It changes only targets, so that any student can be trained. Each round trains
    ``n_passes * n_folds`` additional students on ``1 - 1 / n_folds`` of the rows, five
    times the training with the defaults. The teacher is asked only about the checked
    rows.

    Nothing is changed if the teacher is right on all checked rows, or if it was fitted
    on the given rows, as :class:`~skadistill.ActiveDistiller` fits it. In the latter
    case its answers on other rows contain the truth of the given ones, and students
    that learn from them look better on the checked rows than they are elsewhere. The
    soft labels of such a teacher mostly express its uncertainty.

    When not to use it: with hard labels ``Debiased(base=SLaM())`` gained more. If the
    teacher errs as a simpler model of the same features would, students repeat its
    mistakes and there is little to find. A fitted teacher that is passed together with
    the rows it was fitted on looks independent and is not; pass it unfitted.

    References
    ----------
    .. [1] Northcutt, Jiang, Chuang. "Confident Learning: Estimating Uncertainty in
       Dataset Labels." Journal of Artificial Intelligence Research 70, 2021.

    Examples
    --------
    The teacher is wrong on the last row, and students of other rows contradict it:

    >>> import numpy as np
    >>> from skadistill.objectives import Corrected, Evidence, TeacherChecks
    >>> truth = np.array([0, 1, 0, 1, 0, 1])
    >>> teacher = np.eye(2)[[0, 1, 0, 0, 0, 0]] * 0.8 + 0.1
    >>> given = np.arange(6) < 4
    >>> evidence = Evidence(
    ...     np.where(given[:, None], np.eye(2)[truth], teacher),
    ...     given,
    ...     TeacherChecks(np.arange(4), teacher[:4]),
    ...     out_of_fold=lambda targets, n_folds, seed: np.eye(2)[truth] * 0.9 + 0.05,
    ... )
    >>> Corrected().lesson(evidence).targets[4:].round(2)
    array([[0.9 , 0.1 ],
           [0.47, 0.53]])
    """

    uses_teacher_checks: bool = True
    uses_out_of_fold: bool = True

    _parameter_constraints: dict = {
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "n_passes": [Interval(Integral, 1, None, closed="left")],
        "strength": [Interval(Real, 0, 1, closed="right")],
        "base": [Objective, None],
    }

    def __init__(
        self,
        n_folds: int = 3,
        n_passes: int = 2,
        strength: float = 0.7,
        *,
        base: Objective | None = None,
    ) -> None:
        self.n_folds = n_folds
        self.n_passes = n_passes
        self.strength = strength
        self.base = base

    def transform(self, lesson: Any, evidence: Any) -> Any:
        """Correct the labels of the rows that the teacher labeled.

        See :meth:`skadistill.objectives.Objective.transform`.
        """
        if evidence.given.all() or not evidence.teacher_checks.independent:
            return lesson
        if evidence.checked_right.all():
            return lesson
        targets = corrected = lesson.targets
        weights = _weights_of(evidence)
        for seed in range(evidence.random_state, evidence.random_state + self.n_passes):
            opinion = evidence.out_of_fold(corrected, self.n_folds, seed)
            corrected = _correct(targets, evidence, opinion, weights)
        # In this order given labels stay as they are to the last bit.
        return lesson.replace(targets=targets + self.strength * (corrected - targets))


def probability_right(evidence, *, n_folds=3, n_passes=2):
    """Estimate for each training row that the teacher's most likely class is right."""
    targets, checks = evidence.targets, evidence.teacher_checks
    learns = checks is not None and checks.independent and len(checks.rows) > 0
    learns = learns and not evidence.checked_right.all()
    weights = _weights_of(evidence) if learns else None
    corrected = targets
    for seed in range(evidence.random_state, evidence.random_state + n_passes):
        opinion = evidence.out_of_fold(corrected, n_folds, seed)
        if not learns:
            break
        corrected = _correct(targets, evidence, opinion, weights)
    if learns:
        return _probability_right(evidence, opinion), opinion
    return opinion[np.arange(len(targets)), targets.argmax(axis=1)], opinion


def _correct(targets, evidence, opinion, weights):
    """Move probability from doubtful choices of the teacher to other classes."""
    proba, rows = evidence.targets, np.arange(len(evidence.targets))
    trust = _probability_right(evidence, opinion)
    kept = np.minimum(trust / proba.max(axis=1), 1.0)
    kept = np.where(evidence.given, 1.0, kept)[:, None]
    others = (opinion + MIN_PROBA) * weights
    others[rows, proba.argmax(axis=1)] = 0.0
    others /= others.sum(axis=1, keepdims=True)
    return kept * targets + (1 - kept) * others


def _probability_right(evidence, opinion):
    """Estimate the probability that the teacher's first choice is right, per row."""
    checks, right = evidence.teacher_checks, evidence.checked_right
    if not right.any():
        return np.full(len(opinion), 1 / (len(right) + 2))
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(_signs(checks.proba, opinion[checks.rows]), right)
    return model.predict_proba(_signs(evidence.targets, opinion))[:, 1]


def _signs(proba, opinion):
    """Return the features that separate right answers from wrong ones."""
    first = proba.argmax(axis=1)
    seconded = opinion[np.arange(len(first)), first]
    return np.column_stack(
        [
            np.log(seconded + MIN_PROBA),
            opinion.argmax(axis=1) == first,
            margin(opinion),
            margin(proba),
            np.log(proba.max(axis=1)),
        ]
    )


def _weights_of(evidence):
    """Return the weights of the classes, by the teacher checks."""
    checks = evidence.teacher_checks
    return rank_weights(checks.proba, evidence.checked_truth, evidence.targets)


def rank_weights(proba, truth, targets):
    """Weigh the classes of each row of targets by how often the truth has their rank.

    The ranks of the truth are counted in checked answers.

    Classes that are equally likely, such as all others of a hard label, share the
    counts of their ranks. The first rank has weight 0.
    """
    rows = np.arange(len(truth))
    low, high = (ranks[rows, truth] for ranks in _rank_spans(proba))
    counts = 1 / np.arange(1, proba.shape[1] + 1)
    # A difference array: each truth adds 1 in total, spread evenly from low to high.
    steps = np.zeros(len(counts) + 1)
    np.add.at(steps, low, 1 / (high - low + 1))
    np.subtract.at(steps, high + 1, 1 / (high - low + 1))
    counts += steps[:-1].cumsum()
    counts[0] = 0.0
    total = np.concatenate([[0.0], counts.cumsum()])
    low, high = _rank_spans(targets)
    return (total[high + 1] - total[low]) / (high - low + 1)


def _rank_spans(proba):
    """Return the first and last rank, from 0, among classes of equal probability."""
    return (
        rankdata(-proba, method=end, axis=1).astype(int) - 1 for end in ("min", "max")
    )
