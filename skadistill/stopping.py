"""When to stop asking before the budget is spent."""

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import betaln, logsumexp
from scipy.stats import beta
from sklearn.base import BaseEstimator

from skadistill._statistics.forecast import forecast_of
from skadistill._statistics.intervals import exact_lower
from skadistill._utils.compat import Interval, validate_parameters
from skadistill.exceptions import BudgetWarning

__all__ = ["GainPerCost", "StablePredictions", "TargetAccuracy", "TargetAgreement"]


class StablePredictions(BaseEstimator):
    """Stop once more labels no longer change the student's predictions.

    After each round the student's classes on the rows still in the pool are
    compared with those of the round before. When at least `min_agreement` of them
    stayed the same for `patience` rounds in a row, the loop stops before it pays
    for another batch.

    Parameters
    ----------
    patience : int, default=2
        Rounds in a row, at least 1.
    min_agreement : float, default=0.99
        Share of the pool's rows in [0, 1] whose class must not have changed.

    Examples
    --------
    >>> from skadistill.stopping import StablePredictions
    >>> rule = StablePredictions(patience=2, min_agreement=0.9)
    >>> rule.should_stop([0.8, 0.95]), rule.should_stop([0.8, 0.95, 0.92])
    (False, True)
    """

    reason: str = "stable_predictions"

    _parameter_constraints: dict = {
        "patience": [Interval(Integral, 1, None, closed="left")],
        "min_agreement": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, patience: int = 2, min_agreement: float = 0.99) -> None:
        self.patience = patience
        self.min_agreement = min_agreement

    def should_stop(self, agreements: list[Any]) -> bool:
        """Tell whether to stop, given the agreement of each round so far.

        Parameters
        ----------
        agreements : list of float
            Share of unchanged classes after each round, oldest first.

        Returns
        -------
        stop : bool
            True once the last `patience` of them all reach `min_agreement`.
        """
        validate_parameters(self)
        recent = agreements[-self.patience :]
        return len(recent) == self.patience and min(recent) >= self.min_agreement


def _warn_of_no_score(criterion, history, needs):
    """Warn, once in a fit, of a rule that cannot end it: the budget will be spent."""
    # Before the third round. Rows that a ledger knew were not drawn for any student.
    if len(history) == 3 and all(record["n_paid"] for record in history[1:]):
        warnings.warn(
            f"{type(criterion).__name__} cannot end this fit before the budget is "
            f"spent, because there is no estimate of accuracy; {needs}.",
            BudgetWarning,
            stacklevel=3,
        )


class _Target(BaseEstimator):
    """Stop once a student has reached a target, which subclasses measure."""

    reads_history: bool = True

    _parameter_constraints: dict = {
        "target": [Interval(Real, 0, 1, closed="neither")],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(self, target: Any = 0.95, *, confidence: Any = 0.95) -> None:
        self.target = target
        self.confidence = confidence


class TargetAgreement(_Target):
    r"""Stop once the student agrees with the teacher on a share of the pool.

    Each round's rows say how often the student of the round before agrees with the
    teacher on the whole pool (``pool_agreement`` in ``history_``). The fit ends when
    these rounds together show that the target is reached. The student that is returned
    has learned from one more round.

    Parameters
    ----------
    target : float, default=0.95
        Share of the pool, in (0, 1).
    confidence : float, default=0.95
        In (0, 1): a fit stops too early in at most 1 minus so many cases, with all of
        its rounds together.

    Notes
    -----
    It needs ``ActiveDistiller(uniform_share=)`` above 0 or a strategy that draws rows.

    The rounds are a sequential test of "no student so far has reached the target"
    [1]_. With :math:`h_r` hits and :math:`m_r` misses of round r, and p uniform between
    the target t and 1, it stops after round R when

    .. math:: \sum_{s=1}^{R} \frac{1}{s (s + 1)} \; \mathrm{E}_p \prod_{r=s}^{R}
              \Big(\frac{p}{t}\Big)^{h_r} \Big(\frac{1 - p}{1 - t}\Big)^{m_r}
              \ge \frac{1}{1 - \text{confidence}},

    s being the round from which on students may be good enough. So small rounds count
    together, however often one looks, and early bad students do no harm. It assumes
    that students do not get worse from round to round.

    With an even share of 25 rows in each round, students that all agree with the
    teacher reach a target of 0.95 after about five rounds; those that agree in 97 %
    need some 25. A smaller `confidence` stops sooner, and more often too early.

    See Also
    --------
    skadistill.deploy.certify_agreement : An exact bound for the final student.

    References
    ----------
    .. [1] A. Ramdas, P. Grunwald, V. Vovk, G. Shafer, "Game-theoretic statistics and
       safe anytime-valid inference", Statistical Science 38, 2023, arXiv:2210.01948.

    Examples
    --------
    >>> from skadistill.stopping import TargetAgreement
    >>> round_ = {"pool_agreement": 0.97, "n_effective": 60.0}
    >>> rule, last = TargetAgreement(0.9), {"pool_agreement": None}
    >>> rule.should_stop([round_, last]), rule.should_stop([*[round_] * 4, last])
    (False, True)
    """

    reason: str = "target_agreement"

    def should_stop(self, history: list[dict[str, Any]]) -> bool:
        """Tell whether to stop.

        Parameters
        ----------
        history : list of dict
            The rounds so far, as in ``history_``.

        Returns
        -------
        stop : bool
            Whether the estimates show that the target is reached.

        Warns
        -----
        BudgetWarning
            If there are none after two rounds that were paid for.
        """
        validate_parameters(self)
        judged = [r for r in history[:-1] if r["pool_agreement"] is not None]
        if not judged:
            _warn_of_no_score(
                self, history, "set uniform_share, or use a strategy that draws rows"
            )
        if not judged or judged[-1] is not history[-2]:
            return False
        share = np.array([r["pool_agreement"] for r in judged])
        n_rows = np.array([r["n_effective"] for r in judged])
        if np.isinf(n_rows[-1]):
            return bool(share[-1] >= self.target)
        evidence = _evidence(share * n_rows, (1 - share) * n_rows, self.target)
        return bool(evidence >= -np.log1p(-self.confidence))


def _evidence(hits, misses, target):
    """Return the logarithm of what speaks for a share above the target."""
    # From each round on to the last.
    hits, misses = np.cumsum(hits[::-1])[::-1], np.cumsum(misses[::-1])[::-1]
    gains = (
        betaln(hits + 1, misses + 1)
        + beta.logsf(target, hits + 1, misses + 1)
        - np.log1p(-target)
        - hits * np.log(target)
        - misses * np.log1p(-target)
    )
    start = np.arange(1, len(hits) + 1)
    return logsumexp(gains, b=1 / (start * (start + 1)))


class TargetAccuracy(_Target):
    """Stop once the student reaches an accuracy.

    Parameters
    ----------
    target : float, default=0.95
        Accuracy, in (0, 1).
    confidence : float, default=0.95
        In (0, 1): a fit stops too early in at most 1 minus so many cases, with all of
        its rounds together. Without validation rows the bound is the one of 95 % in
        ``history_``, for each round by itself.

    Notes
    -----
    It needs ``X_val`` and ``y_val`` in ``fit``, and then has an exact bound for the
    student that is returned; or teacher checks on random rows, as the strategy "rad"
    has them, and then uses ``pool_accuracy_low``, which cannot exceed 1 minus the
    teacher's error rate.

    Examples
    --------
    >>> from skadistill.stopping import TargetAccuracy
    >>> rule = TargetAccuracy(0.9)
    >>> rule.should_stop([{"student_score": 0.95, "n_val": 500}])
    True
    """

    reason: str = "target_accuracy"

    def should_stop(self, history: list[dict[str, Any]]) -> bool:
        """Tell whether to stop.

        Parameters
        ----------
        history : list of dict
            The rounds so far, as in ``history_``.

        Returns
        -------
        stop : bool
            Whether the newest bound reaches the target.

        Warns
        -----
        BudgetWarning
            If there is none after two rounds that were paid for.
        """
        validate_parameters(self)
        newest = history[-1]
        if newest["student_score"] is not None:
            # A look that is taken after every round succeeds sooner or later by chance:
            # the risk is shared as 1/2, 1/6, 1/12, ..., which sums to 1.
            n_looks = len(history)
            risk = (1 - self.confidence) / (n_looks * (n_looks + 1))
            score, n_rows = newest["student_score"], newest["n_val"]
            return exact_lower(score * n_rows, n_rows, 1 - risk) >= self.target
        if all(record["pool_accuracy_low"] is None for record in history):
            _warn_of_no_score(
                self,
                history,
                "pass X_val and y_val, or check the teacher on random rows",
            )
        if len(history) < 2 or history[-2]["pool_accuracy_low"] is None:
            return False
        return history[-2]["pool_accuracy_low"] >= self.target


class GainPerCost(BaseEstimator):
    """Stop once the next round is not worth its price.

    The learning curve of the rounds so far forecasts what the next round, of as many
    rows as the last one, would add to the student's score.

    Parameters
    ----------
    min_gain : float, default=0.01
        Percentage points of the score that a unit of the teacher's currency must
        bring, not negative. If the teacher names no price a row costs 1.

    Notes
    -----
    It needs two scored rounds: accuracy on ``X_val`` if given, else agreement with
    the teacher (see `TargetAgreement`). A forecast is uncertain: its mean counts.

    Examples
    --------
    >>> from skadistill.stopping import GainPerCost
    >>> flat = [
    ...     {"n_labeled": n, "student_score": 0.9, "n_val": 900, "n_asked": 100,
    ...      "n_paid": 100, "cost": 0.0}
    ...     for n in (100, 200, 300)
    ... ]
    >>> GainPerCost(0.05).should_stop(flat)
    True
    """

    reason: str = "gain_per_cost"
    reads_history: bool = True

    _parameter_constraints: dict = {
        "min_gain": [Interval(Real, 0, None, closed="left")]
    }

    def __init__(self, min_gain: float = 0.01) -> None:
        self.min_gain = min_gain

    def should_stop(self, history: list[dict[str, Any]]) -> bool:
        """Tell whether to stop.

        Parameters
        ----------
        history : list of dict
            The rounds so far, as in ``history_``.

        Returns
        -------
        stop : bool
            Whether the forecast gain per unit of money is below `min_gain`.

        Warns
        -----
        BudgetWarning
            If no round is scored after two that were paid for.
        """
        validate_parameters(self)
        forecast, n_next = forecast_of(history), history[-1]["n_asked"]
        if forecast is None:
            _warn_of_no_score(
                self, history, "pass X_val and y_val, or set uniform_share"
            )
        if forecast is None or not n_next:
            return False
        price = 1.0 if forecast.cost_per_row is None else forecast.cost_per_row
        return bool(100 * forecast.gain(n_next) / (n_next * price) < self.min_gain)
