"""Intervals, one for each question about a share that some rows show.

`exact_lower` and `exact_upper`: what can be promised, whatever the share is.
`posterior_interval`: where the share lies, if all shares were equally likely before.
`paired_interval`: how much two shares of the same rows differ.
`estimate_share`: the share of a pool, from rows drawn with unequal probabilities.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import beta

__all__ = [
    "ShareEstimate",
    "estimate_share",
    "exact_lower",
    "exact_upper",
    "paired_interval",
    "post_stratified",
    "posterior_interval",
]


def exact_lower(n_hits, n_samples, confidence=0.95):
    """Return the exact lower bound of a share, from rows drawn at random."""
    if n_hits <= 0 or n_samples <= 0:
        return 0.0
    return float(beta.ppf(1 - confidence, n_hits, n_samples - n_hits + 1))


def exact_upper(n_hits, n_samples, confidence=0.95):
    """Return the exact upper bound of a share, see `exact_lower`."""
    return 1.0 - exact_lower(n_samples - n_hits, n_samples, confidence)


def posterior_interval(n_hits, n_samples, level=0.95):
    """Return quantiles of a share's Beta posterior, with a uniform prior."""
    low, high = beta(n_hits + 1, n_samples - n_hits + 1).interval(level)
    return float(low), float(high)


def paired_interval(gap, n_different, n_samples):
    """Return the 95 % interval of a paired difference of shares.

    `gap` is how many more rows one of the two counts, `n_different` the number of rows
    on which they differ (Agresti and Min, 2005).
    """
    # Half a row is added to each of the four cells of the table.
    n_samples, n_different = n_samples + 2, n_different + 1
    gap = gap / n_samples
    error = 1.96 * np.sqrt((n_different / n_samples - gap**2) / n_samples)
    return gap - error, gap + error


@dataclass(frozen=True)
class ShareEstimate:
    """Hold the share of the rows of a pool in which something holds, as estimated.

    Parameters
    ----------
    share : float
        The estimate.
    n_effective : float
        Rows of a simple random sample that would show it as well; infinite: every row
        was looked at.
    alpha, beta : float
        Parameters of the beta distribution of the share, from which intervals are
        taken.
    of_pool : float, default=1.0
        Share of the rows for which these stand; the others are known.
    known : float, default=0.0
        Share of all rows that are known and in which it holds.
    """

    share: float
    n_effective: float
    alpha: float = 0.0
    beta: float = 0.0
    of_pool: float = 1.0
    known: float = 0.0

    def interval(self, level: float = 0.95) -> tuple[Any, ...]:
        """Return the two-sided interval of the share.

        Parameters
        ----------
        level : float, default=0.95
            Coverage.

        Returns
        -------
        low, high : float
            It covers the share about as often as it says, on average over shares.
        """
        if np.isinf(self.n_effective):
            return self.share, self.share
        tail = (1 - level) / 2
        low, high = beta.ppf([tail, 1 - tail], self.alpha, self.beta).tolist()
        shown = (self.share - self.known) / self.of_pool
        low, high = 0.0 if shown <= 0 else low, 1.0 if shown >= 1 else high
        return self.known + self.of_pool * low, self.known + self.of_pool * high

    def with_known(self, n_samples: int, n_known: int, n_known_hits: int) -> Any:
        """Add rows of which it is known, so that the estimate is for all.

        Parameters
        ----------
        n_samples : int
            Rows for which this estimate stands.
        n_known, n_known_hits : int
            Rows that are known, and those of them in which it holds.

        Returns
        -------
        estimate : ShareEstimate
            For all of these rows together.
        """
        if not n_known:
            return self
        n_all = n_samples + n_known
        of_pool, known = n_samples / n_all, n_known_hits / n_all
        whole, n_effective = known + of_pool * self.share, self.n_effective / of_pool
        if 0 < self.share < 1 and not np.isinf(n_effective):
            # The same variance, for the share of all rows.
            spread = of_pool**2 * self.share * (1 - self.share) / self.n_effective
            n_effective = whole * (1 - whole) / spread
        return replace(
            self, share=whole, n_effective=n_effective, of_pool=of_pool, known=known
        )


def estimate_share(hits, inclusion):
    """Estimate a share of the pool from rows drawn with known probabilities."""
    weights, open_ = 1.0 / inclusion, 1.0 - inclusion
    share = float(weights[hits].sum() / weights.sum())
    if not open_.any():
        return ShareEstimate(share, np.inf)
    largest = weights.argmax()
    hits = np.r_[hits, False, True].astype(np.float64)
    weights = np.r_[weights, weights[largest], weights[largest]]
    # Draws of a fixed size: only differences between the weighted residuals vary
    # (Hajek 1964), each counted by the probability that its row is left out.
    counted = np.r_[open_, open_[largest] / 2, open_[largest] / 2]
    counts = np.ones(len(hits))
    counts[-2:] = 0.5
    total = (counts * weights).sum()
    center = float((counts * weights * hits).sum() / total)
    residuals = weights * (hits - center)
    residuals = residuals - (counted * residuals).sum() / counted.sum()
    variance = (counted * residuals**2).sum() / total**2
    n_rows = float(center * (1 - center) / variance)
    return ShareEstimate(share, n_rows - 1, center * n_rows, (1 - center) * n_rows)


def post_stratified(hits, scores, pool_scores, n_strata=8):
    """Estimate a share of the pool from rows that were chosen by their scores.

    In each stratum of scores the rows stand for those of the pool (Holt and Smith,
    1979); half a hit and half a miss are added to it.
    """
    edges = np.quantile(scores, np.linspace(0, 1, n_strata + 1)[1:-1])
    strata = np.searchsorted(edges, scores)
    of_pool = np.searchsorted(edges, np.minimum(pool_scores, scores.max()))
    n = np.bincount(strata, minlength=n_strata)
    weights = np.bincount(of_pool, minlength=n_strata) / len(pool_scores)
    k = np.bincount(strata, weights=hits, minlength=n_strata)
    # Of equal scores some strata are empty; they have no row of the pool either.
    rates = (k + 0.5) / (n + 1)
    share = float(weights @ rates)
    variance = float((weights**2 * rates * (1 - rates) / (n + 1)).sum())
    n_rows = share * (1 - share) / variance
    return ShareEstimate(share, n_rows, share * n_rows, (1 - share) * n_rows)
