"""Drawing a fixed number of distinct rows with exact inclusion probabilities."""

import numpy as np

__all__ = ["fixed_size_sample"]

_N_CHUNKS = 1 << 16
_CERTAIN = 1 - 1e-6
_SLAB = 1 << 20


def fixed_size_sample(inclusion, random_state=None):
    """Draw distinct rows so that row i is drawn with probability inclusion[i].

    Systematic sampling over a random permutation (Madow 1949): lay the inclusion
    probabilities end to end in random order and take every row that a comb with
    teeth one apart and a random start falls on. The size is fixed and the
    marginals are exact, which ``Generator.choice(replace=False, p=...)`` does not
    give. The permutation shuffles chunks of at most ``n_rows / 65536`` rows, and
    the rows inside a chunk only where a tooth falls on it, so a draw from 1e8 rows
    costs one pass and little memory.

    Parameters
    ----------
    inclusion : array-like of shape (n_rows,)
        Inclusion probabilities in [0, 1] whose sum is a whole number.
    random_state : None, int, numpy.random.Generator, default=None
        Source of randomness, passed through :func:`numpy.random.default_rng`.

    Returns
    -------
    rows : ndarray of int64 of shape (n_drawn,)
        Positions drawn, distinct, ascending; as many as the sum of `inclusion`.

    Raises
    ------
    ValueError
        If an entry lies outside [0, 1] or the sum is not a whole number within
        one part in ten thousand.

    References
    ----------
    .. [1] Madow, W. G. "On the theory of systematic sampling, II." Annals of
       Mathematical Statistics 20 (1949).

    Examples
    --------
    >>> from skadistill.query import fixed_size_sample
    >>> fixed_size_sample([1.0, 0.0, 0.5, 0.5], random_state=0).shape
    (2,)
    """
    inclusion = np.asarray(inclusion)
    if inclusion.ndim != 1:
        raise ValueError(
            f"inclusion must be one-dimensional, got shape {inclusion.shape}; pass one "
            "probability for each row."
        )
    rng = np.random.default_rng(random_state)
    if inclusion.shape[0] == 0:
        return np.empty(0, dtype=np.int64)
    low, high = float(inclusion.min()), float(inclusion.max())
    if not (low >= 0 and high <= 1 + 1e-6):
        raise ValueError(
            f"inclusion must lie in [0, 1], got values from {low} to {high}; solve the "
            "capped game where a row would be drawn more than once."
        )
    total = float(inclusion.sum(dtype=np.float64))
    n_drawn = round(total)
    if abs(total - n_drawn) > 1e-4 * max(1.0, total):
        raise ValueError(
            f"inclusion must sum to a whole number of rows, got {total}; scale it to "
            "the number of rows to draw."
        )
    certain = np.empty(0, dtype=np.int64)
    if high >= _CERTAIN:
        certain = np.flatnonzero(inclusion >= _CERTAIN)
        inclusion = inclusion.copy()
        inclusion[certain] = 0
    n_random = n_drawn - certain.shape[0]
    if n_random <= 0:
        return certain
    return np.sort(np.concatenate([certain, _systematic(inclusion, n_random, rng)]))


def _systematic(inclusion, n_drawn, rng):
    """Draw `n_drawn` rows, none of them certain, by one comb over shuffled chunks."""
    n = inclusion.shape[0]
    chunk = -(-n // _N_CHUNKS)
    starts = np.arange(0, n, chunk)
    sums = (
        inclusion.astype(np.float64)
        if chunk == 1
        else np.add.reduceat(inclusion, starts, dtype=np.float64)
    )
    order = rng.permutation(starts.shape[0])
    ends = np.cumsum(sums[order])
    teeth = (rng.random() + np.arange(n_drawn)) * (ends[-1] / n_drawn)
    # Rounding may lift the last tooth onto the end, past the last row.
    np.minimum(teeth, np.nextafter(ends[-1], 0.0), out=teeth)
    hit = np.searchsorted(ends, teeth, side="right")
    if chunk == 1:
        return order[hit]
    within = teeth - (ends[hit] - sums[order[hit]])
    return _rows_in_chunks(inclusion, order[hit] * chunk, within, chunk, rng)


def _rows_in_chunks(inclusion, starts, within, chunk, rng):
    """Find the row under each tooth inside its chunk, rows shuffled."""
    rows = np.empty(starts.shape[0], dtype=np.int64)
    unique, which = np.unique(starts, return_inverse=True)
    slab = max(1, _SLAB // chunk)
    for first in range(0, unique.shape[0], slab):
        part = unique[first : first + slab]
        index = rng.permuted(part[:, None] + np.arange(chunk), axis=1)
        inside = index < inclusion.shape[0]
        weights = np.where(
            inside, inclusion[np.minimum(index, inclusion.shape[0] - 1)], 0.0
        ).astype(np.float64)
        ends = np.cumsum(weights, axis=1)
        for tooth in np.flatnonzero((which >= first) & (which < first + part.shape[0])):
            i = which[tooth] - first
            at = min(within[tooth], np.nextafter(ends[i, -1], 0.0))
            rows[tooth] = index[i, np.searchsorted(ends[i], at, side="right")]
    return rows
