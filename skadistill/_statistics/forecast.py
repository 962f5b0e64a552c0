"""What more labels would bring: a learning curve with its uncertainty."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import xlog1py, xlogy
from scipy.stats import beta, norm, qmc

__all__ = ["Forecast", "forecast_of"]

#: Curves that are weighed, a power of 2.
_N_CURVES = 1 << 12
#: Exponents of the power law that are held for possible.
_EXPONENTS = (0.1, 1.5)
# Standard deviation of a student's score from training to training, which no number of
# rows to score it on makes smaller.
_TRAINING_NOISE = 0.008


@dataclass(frozen=True, repr=False, eq=False)
class Forecast:
    r"""What more labels would bring, and what they would cost.

    The student's error rate falls as a power law with an
    offset, :math:`e(n) = a + (e_0 - a) (n / n_0)^{-c}`, with n the labeled rows. Many
    such curves are weighed by how well they agree with the rounds so far, each with
    its uncertainty; the band holds the middle 80 % of their weight.

    Attributes
    ----------
    n_labeled : ndarray of shape (n_points,)
        Rows that the students of the rounds were trained on.
    scores : ndarray of shape (n_points,)
        Their scores.
    n_effective : ndarray of shape (n_points,)
        Size of a simple random sample as informative as the rows behind each score.
    n_now : int
        Rows that the last student was trained on.
    score_name : str
        Key of ``history_`` that is forecast: "student_score" if there are validation
        rows, else "pool_agreement".
    cost_per_row : float or None
        Mean price of a label; None if the teacher names none.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill._statistics.forecast import Forecast
    >>> forecast = Forecast(
    ...     np.array([100, 200, 400]),
    ...     np.array([0.80, 0.86, 0.90]),
    ...     np.array([500.0, 500.0, 500.0]),
    ...     n_now=400,
    ... )
    >>> score, low, high = forecast.after(400)
    >>> low < score < high
    True
    """

    n_labeled: np.ndarray
    scores: np.ndarray
    n_effective: np.ndarray
    n_now: int
    score_name: str = "pool_agreement"
    cost_per_row: float | None = None
    n_more: tuple[Any, ...] = field(default=(100, 500, 1000))

    def after(self, n_more: int, level: float = 0.8) -> tuple[Any, ...]:
        """Forecast the score of a student that learns from more labels.

        Parameters
        ----------
        n_more : int
            Labels beyond those that the last student was trained on; 0: that student.
        level : float, default=0.8
            Probability of the band.

        Returns
        -------
        score, low, high : float
            Median and ends of the band.

        Raises
        ------
        ValueError
            If `n_more` is negative or `level` is not between 0 and 1.
        """
        if not n_more >= 0:  # NaN neither
            raise ValueError(f"n_more is {n_more!r}; pass a number of at least 0.")
        return self.at(self.n_now + n_more, level)

    def at(self, n_labeled: int, level: float = 0.8) -> tuple[Any, ...]:
        """Return the score of a student that learns from so many labels.

        Parameters
        ----------
        n_labeled : int
            Labeled rows, also fewer than now.
        level : float, default=0.8
            Probability of the band.

        Returns
        -------
        score, low, high : float
            Median and ends of the band.
        """
        if not 0 < level < 1:
            raise ValueError(f"level is {level!r}; pass a number between 0 and 1.")
        errors = self._errors(n_labeled) + self._curves["noise"]
        order = np.argsort(errors)
        below = np.cumsum(self._curves["weights"][order])
        tails = np.array([0.5, (1 + level) / 2, (1 - level) / 2])
        at = np.searchsorted(below, tails * below[-1])
        found = 1 - errors[order][np.minimum(at, len(errors) - 1)]
        return tuple(np.clip(found, 0.0, 1.0).tolist())

    def gain(self, n_more: int) -> float:
        """Forecast how much the score rises with more labels, on average.

        Parameters
        ----------
        n_more : int
            Labels beyond those that the last student was trained on.

        Returns
        -------
        gain : float
            At least 0, for a curve never falls.
        """
        if not n_more >= 0:
            raise ValueError(f"n_more is {n_more!r}; pass a number of at least 0.")
        fall = self._errors(self.n_now) - self._errors(self.n_now + n_more)
        return float(np.average(fall, weights=self._curves["weights"]))

    @property
    def frame(self) -> Any:
        """The forecast for some numbers of labels, as a dict of columns."""
        rows = [(n, *self.after(n)) for n in (0, *self.n_more)]
        names = ("n_more", "score", "low", "high")
        columns = {name: [row[k] for row in rows] for k, name in enumerate(names)}
        if self.cost_per_row is not None:
            columns["cost"] = [n * self.cost_per_row for n in columns["n_more"]]
        return columns

    def __repr__(self) -> str:
        lines = [f"forecast of {self.score_name} (median, 80 % band)"]
        columns = self.frame
        for k, n in enumerate(columns["n_more"]):
            score, low, high = (columns[name][k] for name in ("score", "low", "high"))
            cost = f" for {columns['cost'][k]:g}" if n and "cost" in columns else ""
            what = f"{n} more labels{cost}" if n else "now"
            lines.append(f"{what}: {score:.3f} ({low:.3f} to {high:.3f})")
        return "\n".join(lines)

    def _errors(self, n):
        """Return the error of each curve at a number of labels."""
        curves = self._curves
        ratio = max(n, 1) / max(self.n_labeled[0], 1)
        floor = curves["floor"]
        return floor + (curves["first"] - floor) * ratio ** -curves["exponent"]

    @cached_property
    def _curves(self):
        """Draw curves evenly and weigh them by the rounds after the first."""
        u = qmc.Sobol(4, scramble=True, seed=0).random(_N_CURVES)
        u = np.clip(u, 1e-9, 1 - 1e-9)
        hits, misses = self._counts
        first = beta.ppf(u[:, 0], misses[0] + 0.5, hits[0] + 0.5)
        low, high = _EXPONENTS
        curves = {
            "first": first,
            "floor": u[:, 1] * first,
            "exponent": low + (high - low) * u[:, 2],
            "noise": norm.ppf(u[:, 3]) * _TRAINING_NOISE,
            "weights": np.ones(_N_CURVES),
        }
        self.__dict__["_curves"] = curves  # what `_errors` reads
        logs = np.zeros(_N_CURVES)
        for n, hit, miss in zip(self.n_labeled[1:], hits[1:], misses[1:], strict=True):
            errors = np.clip(self._errors(n), 1e-9, 1 - 1e-9)
            logs += xlogy(miss, errors) + xlog1py(hit, -errors)
        curves["weights"] = np.exp(logs - logs.max())
        return curves

    @property
    def _counts(self):
        """Return hits and misses of each round, as if its rows had been drawn."""
        share = np.clip(self.scores, 0.0, 1.0)
        spread = np.maximum(share * (1 - share), 1e-3)
        n = 1 / (1 / self.n_effective + _TRAINING_NOISE**2 / spread)
        return share * n, (1 - share) * n


def forecast_of(history):
    """Forecast from the records of a fit."""
    name, count = "student_score", "n_val"
    if any(record.get(name) is None for record in history if record["n_labeled"]):
        name, count = "pool_agreement", "n_effective"
    scored = [record for record in history if record.get(name) is not None]
    if len(scored) < 2:
        return None
    n_paid = sum(record["n_paid"] for record in history)
    cost = sum(record["cost"] for record in history)
    return Forecast(
        n_labeled=np.array([record["n_labeled"] for record in scored]),
        scores=np.array([record[name] for record in scored]),
        n_effective=np.array([record[count] for record in scored], dtype=float),
        n_now=history[-1]["n_labeled"],
        score_name=name,
        cost_per_row=cost / n_paid if n_paid and cost else None,
    )
