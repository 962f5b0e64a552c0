"""Debiased: row weights that make the teacher's loss unbiased."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from sklearn.utils import gen_batches

from skadistill._utils.compat import Interval, StrOptions
from skadistill.objectives._base import Evidence, Objective, margin

__all__ = ["Debiased", "debiasing_weights"]

# Smaller probabilities count as this one: no loss exceeds 16 nats.
MIN_PROBA = float(np.finfo(np.float32).eps)
# Added to losses before they are divided, so that 0 / 0 is 1.
MIN_LOSS = 1e-6
BLOCK_ROWS = 16384


class Debiased(Objective):
    r"""Weigh the teacher's rows so that its mistakes cancel in expectation.

    A wrong label distorts the student's loss. How much can be measured on rows whose
    true label is known, and is similar on other rows if teacher and student are equally
    confident. The loss of each row that the teacher labeled is multiplied by [1]_

    .. math:: w_f(x) = \frac{1}{1 + p(x) \, (D_f(x) - 1)}, \qquad
              D_f(x) = \frac{\ell(f, \text{wrong label})}{\ell(f, \text{truth})},

    with :math:`p(x)` the probability that the teacher is wrong: then
    :math:`E[w_f \, \ell(f, \text{teacher's label}) \mid x] = \ell(f, \text{truth})`.
    Both are averages over the checked rows nearest to :math:`x` in the plane of the
    teacher's margin and the student's margin. Rows with a given label have weight 1.

    Parameters
    ----------
    estimator : {"sum", "ratio"}, default="sum"
        "ratio" averages :math:`D_f` over the neighbors that the teacher gets wrong.
        "sum" divides the neighbors' summed losses on the truth by those on the
        teacher's label. This estimates the same weight without ratios of single
        losses, which have heavy tails.
    n_neighbors : {"sqrt"} or int, default="sqrt"
        Neighbors per row; "sqrt" is the rounded square root of the number of checked
        rows.
    withheld : float, default=0.0
        Share of the checked rows whose truth is withheld from the student: it learns
        the teacher's answer on them, as on rows of the pool, and the weights are
        estimated on these rows only. With 0 the student learns the truth of the rows
        that the weights are estimated from.
    base : Objective or None, default=None
        The objective whose lesson is changed. None: the plain targets.

    Notes
    -----
    The losses are cross-entropies with one label: the truth, or the teacher's most
    likely class. A teacher whose first choice is always right has weights of exactly
    1, however unsure it is. The weights lie in
    :math:`(0, (n + 2) / (r + 1)]`, with :math:`r` right ones among :math:`n`
    neighbors: a posterior mean of the bound :math:`1 / (1 - p)`, which follows from
    :math:`D_f \geq 0`.

    The identity requires checked rows that the student was not trained on. With
    ``withheld=0`` it was, so that :math:`D_f` is overestimated and rows similar to
    those that the teacher gets wrong get too small weights. Withholding corrects this
    and costs given labels, often more than it gains.

    Weights shift emphasis between rows and change no target. Neural networks update
    them before each epoch but the first; other students are fitted twice. Use it as
    the outermost objective, ``Debiased(base=SLaM())``, so that it can withhold rows
    from its base.

    When not to use it: with only tens of checked rows the weights are noise, and if
    mistakes show in neither margin they are all similar.

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

    uses_teacher_checks: bool = True

    _parameter_constraints: dict = {
        "estimator": [StrOptions({"sum", "ratio"})],
        "n_neighbors": [
            StrOptions({"sqrt"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "withheld": [Interval(Real, 0, 1, closed="both")],
        "base": [Objective, None],
    }

    def __init__(
        self,
        estimator: str = "sum",
        n_neighbors: Any = "sqrt",
        withheld: float = 0.0,
        *,
        base: Objective | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_neighbors = n_neighbors
        self.withheld = withheld
        self.base = base

    def lesson(self, evidence: Any) -> Any:
        """Return what the student is trained to match.

        See :meth:`skadistill.objectives.Objective.lesson`.

        Raises
        ------
        ObjectiveError
            If the teacher labeled rows and was checked on none.
        """
        self._check_evidence(evidence)
        if not evidence.given.all():
            evidence = _withhold(evidence, self.withheld)
        return super().lesson(evidence)

    def transform(self, lesson: Any, evidence: Any) -> Any:
        """Add weights that depend on the student's predictions.

        See :meth:`skadistill.objectives.Objective.transform`.
        """
        if evidence.given.all():
            return lesson
        checks, truth = evidence.teacher_checks, evidence.checked_truth
        seen = evidence.given[checks.rows]
        # If truth is withheld, the student was trained on the other checked rows.
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
                rows=checks.rows[used],
                answers=checks.proba[used],
                truth=truth[used],
            )
        )


def debiasing_weights(loss_true, loss_teacher, wrong, neighbors, estimator="sum"):
    """Estimate the weights that make the teacher's loss unbiased."""
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
    """Turn the student's probabilities into weights, as `Lesson.reweight`."""

    estimator: str
    n_neighbors: int
    pool: np.ndarray
    pool_margin: np.ndarray
    rows: np.ndarray
    answers: np.ndarray
    truth: np.ndarray

    def __call__(self, proba):
        proba = np.asarray(proba, dtype=np.float64)
        on_checks, position = proba[self.rows], np.arange(len(self.rows))
        first = self.answers.argmax(axis=1)
        loss_true = _log_loss(on_checks[position, self.truth])
        loss_teacher = _log_loss(on_checks[position, first])
        known = np.column_stack([margin(self.answers), margin(on_checks)])
        asked = np.column_stack([self.pool_margin, margin(proba[self.pool])])
        tree, wrong = cKDTree(known), first != self.truth
        # A list of ranks: with k=1 as a number, `query` would drop the axis.
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
    """Present some checked rows as if the teacher had labeled them."""

    truth: np.ndarray | None = None

    def _validate_checks(self, checks, n_samples):
        """Skip the validation, which was done before some truth was withheld."""

    @property
    def checked_truth(self):
        """Positions of the true classes of the checked rows."""
        return self.truth


def _withhold(evidence, share):
    """Withhold the truth of a share of the checked rows from the student."""
    checks, truth = evidence.teacher_checks, evidence.checked_truth
    n_withheld = round(share * len(truth))
    if n_withheld == 0:
        return evidence
    # Systematic sampling over sorted margins from a random start: every row is equally
    # likely to be withheld, and the order of the rows does not matter.
    order = np.lexsort((truth, margin(checks.proba)))
    steps = (
        np.arange(n_withheld) + np.random.default_rng(evidence.random_state).random()
    )
    chosen = order[(steps * len(truth) / n_withheld).astype(int)]
    rows = checks.rows[chosen]
    targets, given = evidence.targets.copy(), evidence.given.copy()
    targets[rows], given[rows] = checks.proba[chosen], False
    fields = {name: getattr(evidence, name) for name in evidence.__dataclass_fields__}
    fields |= {"targets": targets, "given": given, "truth": truth}
    return _WithholdingEvidence(**fields)
