"""Weigh the teacher's rows so that its mistakes cancel in expectation."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy.spatial import cKDTree
from sklearn.utils import gen_batches

from skadistill._compat import Interval, StrOptions
from skadistill.objectives._base import Evidence, Objective, margin

__all__ = ["Debiased", "debiasing_weights"]

# Smaller probabilities count as this one: no loss exceeds 16 nats.
MIN_PROBA = float(np.finfo(np.float32).eps)
# Added to losses before they are divided, so that 0 / 0 is 1.
MIN_LOSS = 1e-6
BLOCK_ROWS = 16384


class Debiased(Objective):
    r"""Weigh the teacher's rows so that its mistakes cancel in expectation.

    A wrong label distorts the student's loss; how much can be seen on rows whose
    true label is known, and is much the same on other rows at which teacher and
    student are as sure of themselves. The loss of each row that the teacher
    labeled is multiplied by [1]_

    .. math:: w_f(x) = \frac{1}{1 + p(x) \, (D_f(x) - 1)}, \qquad
              D_f(x) = \frac{\ell(f, \text{wrong label})}{\ell(f, \text{truth})},

    with :math:`p(x)` the probability that the teacher is wrong: then
    :math:`E[w_f \, \ell(f, \text{teacher's label}) \mid x] = \ell(f, \text{truth})`.
    Both are averages over the validation rows nearest to :math:`x` in the plane of
    the teacher's margin and the student's margin. Rows with a given label keep
    weight 1.

    Parameters
    ----------
    estimator : {"sum", "ratio"}, default="sum"
        "ratio" averages :math:`D_f` as it is written, over the neighbors on which
        the teacher is wrong. "sum" divides the neighbors' summed losses on the
        truth by those on the teacher's label, which estimates the same weight and
        has no ratio of single losses in it, whose tails are heavy.
    n_neighbors : {"sqrt"} or int, default="sqrt"
        Neighbors per row; "sqrt" is the square root of the number of validation
        rows, rounded.
    withheld : float, default=0.0
        Share of the validation rows whose truth is withheld from the student: it
        learns the teacher's answer there, like on any row of the pool, and the
        weights are estimated on these rows alone. 0 withholds nothing: the student
        learns the truth of the rows on which the weights are estimated.
    over : Objective or None, default=None
        The objective whose lesson is changed. None: the bare targets.

    Notes
    -----
    The losses are cross-entropies with one label: the truth, and the class that
    the teacher holds likeliest. A teacher whose first choice is always right has
    weights of exactly 1, however unsure it is. The weights lie in
    :math:`(0, (n + 2) / (r + 1)]`, with :math:`r` right ones among :math:`n`
    neighbors: a posterior mean of the bound :math:`1 / (1 - p)`, which :math:`D_f
    \geq 0` implies.

    The identity asks for validation rows that the student has not been shown. With
    ``withheld=0`` it has been, so that :math:`D_f` is overestimated and rows like
    those on which the teacher errs are weighed lower than they should be.
    Withholding mends that and costs given labels, often more than it gains.

    Weights move emphasis between rows and change no target. Networks refresh them
    before each epoch but the first; other students are fitted twice. Put it
    outermost, ``Debiased(base=SLaM())``, so that it can withhold rows from what
    lies below.

    When not to use it: with few validation rows (tens) the weights are noise, and
    where mistakes show in neither margin they are all alike.

    References
    ----------
    .. [1] Iliopoulos, Kontonis, Baykal, Menghani, Trinh, Vee. "Weighted
       Distillation with Unlabeled Examples." NeurIPS 2022, arXiv:2210.06711.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.objectives import Debiased, Evidence, TeacherChecks
    >>> targets = np.array([[1.0, 0.0], [0.0, 1.0], [0.7, 0.3]])
    >>> wrong_once = TeacherChecks(np.array([0, 1]), np.array([[0.4, 0.6], [0.1, 0.9]]))
    >>> evidence = Evidence(targets, np.array([True, True, False]), wrong_once)
    >>> lesson = Debiased(n_neighbors=2).lesson(evidence)
    >>> student_proba = np.array([[0.8, 0.2], [0.2, 0.8], [0.6, 0.4]])
    >>> lesson.reweight(student_proba).round(3)
    array([1.   , 1.   , 0.244])
    """

    uses_teacher_checks = True

    _parameter_constraints: dict = {
        "estimator": [StrOptions({"sum", "ratio"})],
        "n_neighbors": [
            StrOptions({"sqrt"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "withheld": [Interval(Real, 0, 1, closed="both")],
        "base": [Objective, None],
    }

    def __init__(self, estimator="sum", n_neighbors="sqrt", withheld=0.0, *, base=None):
        self.estimator = estimator
        self.n_neighbors = n_neighbors
        self.withheld = withheld
        self.base = base

    def lesson(self, evidence):
        """Say what the student is asked to match.

        See :meth:`skadistill.objectives.Objective.lesson`.

        Raises
        ------
        ObjectiveError
            If there are rows that the teacher labeled, and no validation.
        """
        self._refuse_without(evidence)
        if not evidence.given.all():
            evidence = _withhold(evidence, self.withheld)
        return super().lesson(evidence)

    def transform(self, lesson, evidence):
        """Let the weights follow the student.

        See :meth:`skadistill.objectives.Objective.transform`.
        """
        if evidence.given.all():
            return lesson
        validation, truth = evidence.validation, evidence.validation_truth
        seen = evidence.given[validation.rows]
        # Where truth is withheld, the other validation rows are no fair sample.
        used = seen if seen.all() else ~seen
        n_neighbors = self.n_neighbors
        if n_neighbors == "sqrt":
            n_neighbors = round(np.sqrt(used.sum()))
        return lesson.replace(
            reweight=_Reweight(
                estimator=self.estimator,
                n_neighbors=n_neighbors,
                pool=~evidence.given,
                pool_margin=margin(evidence.targets[~evidence.given]),
                rows=validation.rows[used],
                answers=validation.proba[used],
                truth=truth[used],
            )
        )


def debiasing_weights(loss_true, loss_teacher, wrong, neighbors, estimator="sum"):
    """Estimate the weights that make the teacher's loss unbiased.

    Parameters
    ----------
    loss_true, loss_teacher : ndarray of shape (n_validation,)
        The student's losses on the truth and on the teacher's label.
    wrong : ndarray of bool of shape (n_validation,)
        Where these labels differ.
    neighbors : ndarray of int of shape (n_samples, n_neighbors)
        Positions among the validation rows.
    estimator : {"sum", "ratio"}, default="sum"
        See :class:`Debiased`.

    Returns
    -------
    weights : ndarray of shape (n_samples,)
        Positive, at most ``(n_neighbors + 2) / (n_right + 1)``.

    Examples
    --------
    >>> import numpy as np
    >>> wrong, neighbors = np.array([False, True]), np.array([[0, 1], [0, 0]])
    >>> loss_true, loss_teacher = np.array([0.5, 0.5]), np.array([0.5, 2.0])
    >>> debiasing_weights(loss_true, loss_teacher, wrong, neighbors).round(6)
    array([0.4, 1. ])
    """
    loss_true, loss_teacher = loss_true + MIN_LOSS, loss_teacher + MIN_LOSS
    n_wrong = wrong[neighbors].sum(axis=1)
    n_neighbors = neighbors.shape[1]
    if estimator == "sum":
        weights = loss_true[neighbors].sum(axis=1) / loss_teacher[neighbors].sum(axis=1)
    else:
        excess = np.where(wrong, loss_teacher / loss_true - 1, 0.0)
        # p (D - 1): the mean over the wrong neighbors, times their share.
        weights = 1 / (1 + excess[neighbors].mean(axis=1))
    return np.minimum(weights, (n_neighbors + 2) / (n_neighbors - n_wrong + 1))


@dataclass(frozen=True, eq=False)
class _Reweight:
    """Turn the student's probabilities into weights; a `Lesson.reweight`."""

    estimator: str
    n_neighbors: int
    pool: np.ndarray
    pool_margin: np.ndarray
    rows: np.ndarray
    answers: np.ndarray
    truth: np.ndarray

    def __call__(self, proba):
        proba = np.asarray(proba, dtype=np.float64)
        on_validation, position = proba[self.rows], np.arange(len(self.rows))
        first = self.answers.argmax(axis=1)
        loss_true = _log_loss(on_validation[position, self.truth])
        loss_teacher = _log_loss(on_validation[position, first])
        known = np.column_stack([margin(self.answers), margin(on_validation)])
        asked = np.column_stack([self.pool_margin, margin(proba[self.pool])])
        tree, wrong = cKDTree(known), first != self.truth
        # A list of ranks, where a number of 1 would drop the axis.
        ranks = np.arange(1, min(self.n_neighbors, len(known)) + 1)
        found = np.empty(len(asked))
        for block in gen_batches(len(asked), BLOCK_ROWS):
            neighbors = tree.query(asked[block], k=ranks)[1]
            found[block] = debiasing_weights(
                loss_true, loss_teacher, wrong, neighbors, self.estimator
            )
        weights = np.ones(len(proba))
        weights[self.pool] = found
        return weights


def _log_loss(proba):
    return -np.log(np.maximum(proba, MIN_PROBA))


@dataclass(frozen=True, eq=False)
class _WithholdingEvidence(Evidence):
    """Show some validation rows as if the teacher had labeled them."""

    truth: np.ndarray | None = None

    def _check_validation(self, validation, n_samples):
        """Accept what was checked before some truth was withheld."""

    @property
    def validation_truth(self):
        """Positions of the true classes of the validation rows."""
        return self.truth


def _withhold(evidence, share):
    """Withhold the truth of a share of the validation rows from the student."""
    validation, truth = evidence.validation, evidence.validation_truth
    n_withheld = round(share * len(truth))
    if n_withheld == 0:
        return evidence
    # Evenly over the margins from a random start: every row is as likely to be
    # withheld, and the order of the rows plays no part.
    order = np.lexsort((truth, margin(validation.proba)))
    steps = np.arange(n_withheld) + np.random.default_rng(evidence.seed).random()
    chosen = order[(steps * len(truth) / n_withheld).astype(int)]
    rows = validation.rows[chosen]
    targets, given = evidence.targets.copy(), evidence.given.copy()
    targets[rows], given[rows] = validation.proba[chosen], False
    fields = {name: getattr(evidence, name) for name in evidence.__dataclass_fields__}
    fields |= {"targets": targets, "given": given, "truth": truth}
    return _WithholdingEvidence(**fields)
