"""What the games are played with: checked gains, losses and counts."""

import numpy as np

from skadistill.query._blocks import RowBlocks, first_row

__all__ = [
    "as_gains",
    "check_gains",
    "check_losses",
    "check_mistakes",
    "check_queries",
    "count_positive",
]

_NEGLIGIBLE = 1e-290  # float64 gains below count as 0: their inverses may overflow


def as_gains(gains):
    """Return gains as a checked array, and their range.

    Parameters
    ----------
    gains : array-like of shape (n_samples,)
        Gains; float32 and float64 are not copied.

    Returns
    -------
    gains : ndarray of float32 or float64 of shape (n_samples,)
        The same; those whose inverse could overflow are 0.
    low, high : float
        The least and the largest gain.

    Raises
    ------
    ValueError
        If they have another shape, or one is negative, infinite or NaN.
    """
    gains = np.asarray(gains)
    if gains.ndim != 1 or gains.shape[0] == 0:
        raise ValueError(
            f"gains must be one-dimensional and not empty, got shape {gains.shape}; "
            "pass one gain for each row of the pool."
        )
    if gains.dtype not in (np.float32, np.float64):
        gains = gains.astype(np.float64)
    low, high = check_gains(RowBlocks([gains]))
    if low < _NEGLIGIBLE and gains.dtype == np.float64:
        negligible = (gains < _NEGLIGIBLE) & (gains > 0)
        if negligible.any():
            gains = np.where(negligible, 0.0, gains)
            low, high = 0.0, float(gains.max())
    return gains, low, high


def check_gains(gains):
    """Check that gains in blocks are finite and not negative.

    Parameters
    ----------
    gains : RowBlocks
        Gains.

    Returns
    -------
    low, high : float
        The least and the largest gain.

    Raises
    ------
    ValueError
        If a gain is negative, infinite or NaN.
    """
    # min and max propagate NaN, so two cheap passes see every fault.
    ranges = np.array(gains.map(_min_and_max))
    low, high = float(ranges[:, 0].min()), float(ranges[:, 1].max())
    if not (low >= 0 and np.isfinite(high)):
        row, bad = first_row(gains, _is_no_gain)
        raise ValueError(
            f"gains must be finite and not negative, got {bad} for row {row}; "
            "use a score such as 1 - margin, which lies in [0, 1]."
        )
    return low, high


def _min_and_max(block):
    return float(block.min()), float(block.max())


def _is_no_gain(block):
    return ~(np.isfinite(block) & (block >= 0))


def check_losses(losses, gains):
    """Return what wrong labels cost as float64, one a row.

    Parameters
    ----------
    losses : array-like of shape (n_samples,)
        What a wrong label of each row costs.
    gains : ndarray of shape (n_samples,)
        Gains.

    Returns
    -------
    losses : ndarray of float64 of shape (n_samples,)
        The same.

    Raises
    ------
    ValueError
        If they have another shape than the gains, or one is negative or not finite.
    """
    losses = np.asarray(losses, dtype=np.float64)
    if losses.shape != gains.shape or not (np.isfinite(losses) & (losses >= 0)).all():
        raise ValueError(
            f"losses must be finite, not negative and of shape {gains.shape}, got "
            f"shape {losses.shape} with minimum {losses.min() if losses.size else None}"
            "; pass what a wrong label costs for each row."
        )
    return losses


def check_mistakes(n_mistakes, n_samples):
    """Return the number of wrong labels as a float in [0, n_samples).

    Parameters
    ----------
    n_mistakes : float
        Number of rows on which the teacher may be wrong.
    n_samples : int
        Rows of the pool.

    Returns
    -------
    n_mistakes : float
        The same.

    Raises
    ------
    ValueError
        If it is out of range.
    """
    n_mistakes = float(n_mistakes)
    if not 0 <= n_mistakes < n_samples:
        raise ValueError(
            f"n_mistakes must lie in [0, n_samples), got {n_mistakes} for {n_samples} "
            "rows; it is the number of rows on which the teacher may be wrong."
        )
    return n_mistakes


def check_queries(n_queries, n_samples):
    """Return the number of rows to ask for as an int in [1, n_samples].

    Parameters
    ----------
    n_queries : int
        Rows to ask for.
    n_samples : int
        Rows of the pool.

    Returns
    -------
    n_queries : int
        The same.

    Raises
    ------
    ValueError
        If it is out of range or no whole number.
    """
    if not (1 <= n_queries <= n_samples and n_queries == int(n_queries)):
        raise ValueError(
            f"n_queries must be a whole number in [1, n_samples], got {n_queries} for "
            f"{n_samples} rows; ask for at most as many rows as there are."
        )
    return int(n_queries)


def count_positive(block):
    """Count the rows of a block that are worth something.

    Parameters
    ----------
    block : ndarray of shape (n_samples,)
        Checked gains.

    Returns
    -------
    n_positive : int
        Their number.
    """
    return int(np.count_nonzero(block))
