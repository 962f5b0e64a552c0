"""Correct the teacher's labels by what students trained on other rows say."""

from numbers import Integral, Real

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill._compat import Interval
from skadistill.objectives._base import Objective, margin

__all__ = ["Corrected"]

# Smaller probabilities count as this one, so that logarithms stay finite and no
# class is impossible.
MIN_PROBA = 1e-3


class Corrected(Objective):
    r"""Move the teacher's labels to where the truth is likelier, row by row.

    Students trained on other rows are a second opinion on each row: where they
    contradict the teacher, it is more often wrong. How much more often is seen on
    the validation rows, whose truth is known. There a logistic regression learns
    the probability :math:`p(x)` that the teacher's likeliest class is right, from

    - the logarithm of the probability that the students give this class, whether it
      is their likeliest one too, and their margin;
    - the teacher's margin, and the logarithm of its largest probability.

    And it is counted at which rank :math:`r` of the teacher's list the truth is
    found when the first is wrong: :math:`\pi_r`, each count increased by
    :math:`1 / r`; classes that the teacher holds equally likely share theirs. With
    :math:`t` the teacher's probabilities, :math:`c^*` its likeliest class, and
    :math:`s` the students' probabilities, the new label is

    .. math:: t'_c = \rho \, t_c + (1 - \rho) \, q_c, \qquad
              \rho = \min\Bigl(1, \frac{p(x)}{t_{c^*}}\Bigr), \qquad
              q_c \propto s_c \, \pi_{r(c)} \quad (c \neq c^*).

    So the teacher keeps what it claims where it keeps its claims; what it claims
    beyond that goes to the classes that its own list and the students hold likely.
    Of this change a share, `strength`, is made. Given labels stay as they are.

    Parameters
    ----------
    n_folds : int, default=3
        Folds of the training rows: as many students are trained, each on all rows
        but those of one fold.
    n_passes : int, default=2
        How often this is done: the students of the second pass are trained on the
        labels that the first one corrected.
    strength : float, default=0.7
        Share of the correction that is made in the end, in (0, 1]. Students who are
        wrong together make of noise, which averages out, a mistake, which does not:
        in trials with mistakes near the borders between classes all of it cost up to
        2.2 points and 0.7 of it up to 1.0, where elsewhere 0.7 kept nine tenths of
        the gain.
    over : Objective or None, default=None
        The objective whose lesson is changed. None: the bare targets.

    Notes
    -----
    Not from a paper: cross-validated predictions find label errors in confident
    learning [1]_, which drops such rows; here a clean sample says how far to
    believe them, and rows are corrected rather than dropped.

    It changes targets only, so that any student can follow. A round trains
    ``n_passes * n_folds`` students more, on ``1 - 1 / n_folds`` of the rows: five
    times the training with the defaults. The teacher is asked about the validation
    rows and about nothing else.

    A teacher that is right on all validation rows is left alone. So is one that was
    fitted on the given rows, as :class:`~skadistill.ActiveDistiller` fits it: the
    truth of these rows is then in its answers on others, and students that learn
    those seem to know what they do not know elsewhere. Such a teacher's mistakes
    cannot be told this way, and its soft labels mostly admit them.

    When not to use it: with hard labels ``Debiased(base=SLaM())`` gained more. Where
    the teacher errs as a simpler model of the same features would, so that students
    repeat its mistakes, there is little to find. A fitted teacher handed over
    together with the rows it was fitted on looks independent and is not; hand it
    over unfitted.

    References
    ----------
    .. [1] Northcutt, Jiang, Chuang. "Confident Learning: Estimating Uncertainty in
       Dataset Labels." Journal of Artificial Intelligence Research 70, 2021.

    Examples
    --------
    The teacher is sure of both classes and once wrong; another student knows better:

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

    uses_teacher_checks = True
    uses_out_of_fold = True

    _parameter_constraints: dict = {
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "n_passes": [Interval(Integral, 1, None, closed="left")],
        "strength": [Interval(Real, 0, 1, closed="right")],
        "base": [Objective, None],
    }

    def __init__(self, n_folds=3, n_passes=2, strength=0.7, *, base=None):
        self.n_folds = n_folds
        self.n_passes = n_passes
        self.strength = strength
        self.base = base

    def transform(self, lesson, evidence):
        """Correct the labels of the rows that the teacher labeled.

        See :meth:`skadistill.objectives.Objective.transform`.
        """
        if evidence.given.all() or not evidence.validation.independent:
            return lesson
        if evidence.validation_right.all():
            return lesson
        targets = corrected = lesson.targets
        elsewhere = _where_else(evidence)
        for seed in range(evidence.seed, evidence.seed + self.n_passes):
            opinion = evidence.out_of_fold(corrected, self.n_folds, seed)
            corrected = _correct(targets, evidence, opinion, elsewhere)
        # In this order given labels stay as they are to the last bit.
        return lesson.replace(targets=targets + self.strength * (corrected - targets))


def _correct(targets, evidence, opinion, elsewhere):
    """Move labels away from the teacher's choices as far as these are in doubt."""
    proba, rows = evidence.targets, np.arange(len(evidence.targets))
    trust = _probability_right(evidence, opinion)
    kept = np.minimum(trust / proba.max(axis=1), 1.0)
    kept = np.where(evidence.given, 1.0, kept)[:, None]
    others = (opinion + MIN_PROBA) * elsewhere
    others[rows, proba.argmax(axis=1)] = 0.0
    others /= others.sum(axis=1, keepdims=True)
    return kept * targets + (1 - kept) * others


def _probability_right(evidence, opinion):
    """Estimate for each row how likely the teacher's first choice is right."""
    validation, right = evidence.validation, evidence.validation_right
    if not right.any():
        return np.full(len(opinion), 1 / (len(right) + 2))
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(_signs(validation.proba, opinion[validation.rows]), right)
    return model.predict_proba(_signs(evidence.targets, opinion))[:, 1]


def _signs(proba, opinion):
    """Gather what tells right answers of the teacher from wrong ones."""
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


def _where_else(evidence):
    """Weigh the classes of each row by where the truth is if it is not the first.

    Classes that the teacher holds equally likely, as all others of a hard label,
    share their ranks.
    """
    proba, truth = evidence.validation.proba, evidence.validation_truth
    rows = np.arange(len(truth))
    low, high = (ranks[rows, truth] for ranks in _rank_spans(proba))
    counts = 1 / np.arange(1, proba.shape[1] + 1)
    # As a difference of sums: each truth adds 1 in all, evenly from low to high.
    steps = np.zeros(len(counts) + 1)
    np.add.at(steps, low, 1 / (high - low + 1))
    np.subtract.at(steps, high + 1, 1 / (high - low + 1))
    counts += steps[:-1].cumsum()
    counts[0] = 0.0
    total = np.concatenate([[0.0], counts.cumsum()])
    low, high = _rank_spans(evidence.targets)
    return (total[high + 1] - total[low]) / (high - low + 1)


def _rank_spans(proba):
    """Return the first and the last rank, from 0, of the classes as likely as each."""
    return (
        rankdata(-proba, method=end, axis=1).astype(int) - 1 for end in ("min", "max")
    )
