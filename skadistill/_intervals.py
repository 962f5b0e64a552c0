"""Bounds of a share that some rows show: exact ones, and those of weighted rows."""

import numpy as np
from scipy.stats import beta

__all__ = ["exact_lower", "exact_upper", "share_interval", "share_lower"]


def exact_lower(n_hits, n_samples, confidence=0.95):
    """Return the exact lower bound of a share, from rows drawn at random.

    Parameters
    ----------
    n_hits : int
        Rows that have the property; a float if rows are weighted.
    n_samples : int
        Rows drawn; the same.
    confidence : float, default=0.95
        The bound is above the true share in at most 1 minus so many draws.

    Returns
    -------
    low : float
        The one-sided bound of Clopper and Pearson (Biometrika 26, 1934); 0 without
        rows.

    Examples
    --------
    >>> from skadistill._intervals import exact_lower
    >>> round(exact_lower(59, 59), 4)
    0.9505
    """
    if n_hits <= 0 or n_samples <= 0:
        return 0.0
    return float(beta.ppf(1 - confidence, n_hits, n_samples - n_hits + 1))


def exact_upper(n_hits, n_samples, confidence=0.95):
    """Return the exact upper bound of a share, see `exact_lower`.

    Parameters
    ----------
    n_hits, n_samples, confidence : as in `exact_lower`
        Rows with the property, rows drawn, and the confidence.

    Returns
    -------
    high : float
        The bound; 1 without rows.

    Examples
    --------
    >>> from skadistill._intervals import exact_upper
    >>> round(exact_upper(0, 59), 4)
    0.0495
    """
    return 1.0 - exact_lower(n_samples - n_hits, n_samples, confidence)


def share_interval(share, n_effective, level=0.95):
    """Return the two-sided interval of a share that weighted rows show.

    Parameters
    ----------
    share : float
        The estimate.
    n_effective : float
        Rows of a simple random sample with the same variance; infinite: the share
        is known.
    level : float, default=0.95
        Coverage.

    Returns
    -------
    low, high : float
        Jeffreys' interval of ``share * n_effective`` rows among `n_effective`, which
        covers the level on average over shares; an exact one would cover more.

    Examples
    --------
    >>> from skadistill._intervals import share_interval
    >>> [round(bound, 3) for bound in share_interval(0.9, 100.0)]
    [0.83, 0.947]
    >>> share_interval(0.5, float("inf"))
    (0.5, 0.5)
    """
    if np.isinf(n_effective):
        return float(share), float(share)
    a, b = share * n_effective, (1 - share) * n_effective
    tail = (1 - level) / 2
    low = 0.0 if share <= 0 else float(beta.ppf(tail, a + 0.5, b + 0.5))
    high = 1.0 if share >= 1 else float(beta.ppf(1 - tail, a + 0.5, b + 0.5))
    return low, high


def share_lower(share, n_effective, confidence=0.95):
    """Return the one-sided lower bound of a share that weighted rows show.

    Parameters
    ----------
    share, n_effective : as in `share_interval`
        The estimate, and the rows it is worth.
    confidence : float, default=0.95
        Share of draws in which the bound is below the truth. The bound is that of
        Clopper and Pearson for so many rows, so that it errs on the low side.

    Returns
    -------
    low : float
        The bound.

    Examples
    --------
    >>> from skadistill._intervals import share_lower
    >>> round(share_lower(1.0, 59.0), 4)
    0.9505
    """
    if np.isinf(n_effective):
        return float(share)
    return exact_lower(share * n_effective, n_effective, confidence)
