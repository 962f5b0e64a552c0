"""Drawing a fixed number of distinct rows with exact inclusion probabilities."""

import numpy as np

__all__ = ["fixed_size_sample"]

_N_CHUNKS = 1 << 14
_CERTAIN = 1e-6  # a probability this close to 1 counts as 1
_SLAB = 1 << 15  # rows looked at together


def fixed_size_sample(inclusion, random_state=None):
    """Draw distinct rows so that row i is drawn with probability inclusion[i].

    Systematic sampling over a random permutation (Madow 1949): lay the inclusion
    probabilities end to end in random order and take every row that a comb with
    teeth one apart and a random start falls on. The size is fixed and the
    marginals are exact, which ``Generator.choice(replace=False, p=...)`` does not
    give. The permutation shuffles chunks of at most ``n_rows / 16384`` rows, and
    the rows inside a chunk only where a tooth falls on it, so a draw from 1e8 rows
    costs one pass and little memory. Where there are that many rows, two rows of
    one chunk are drawn together only if the chunk expects more than one draw.

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
    if high > 1:
        inclusion = np.minimum(inclusion, inclusion.dtype.type(1))
    total = float(inclusion.sum(dtype=np.float64))
    n_drawn = round(total)
    if abs(total - n_drawn) > 1e-4 * max(1.0, total):
        raise ValueError(
            f"inclusion must sum to a whole number of rows, got {total}; scale it to "
            "the number of rows to draw."
        )
    if n_drawn == 0:
        return np.empty(0, dtype=np.int64)
    # At most n_drawn rows can be this close to 1, whatever their number.
    margin = min(_CERTAIN, 0.25 / inclusion.shape[0])
    certain = np.empty(0, dtype=np.int64)
    threshold = min(1 - margin, total / n_drawn)
    while high >= threshold and certain.shape[0] < n_drawn:
        # A row as long as the gap between two teeth could be hit twice: draw it.
        more = np.flatnonzero(inclusion >= np.float64(threshold))
        if certain.shape[0] == 0:
            inclusion = inclusion.copy()
        certain = np.concatenate([certain, more])
        inclusion[more] = 0
        high = float(inclusion.max())
        n_random = n_drawn - certain.shape[0]
        if n_random > 0:
            threshold = float(inclusion.sum(dtype=np.float64)) / n_random
    n_random = n_drawn - certain.shape[0]
    drawn = _systematic(inclusion, n_random, rng) if n_random > 0 else certain[:0]
    return np.sort(np.concatenate([certain, drawn]))


def _chunk_sums(inclusion, chunk):
    """Sum chunks of rows in float64 without a float64 copy of all rows."""
    if chunk == 1:
        return inclusion.astype(np.float64)
    n_whole = inclusion.shape[0] // chunk
    whole = inclusion[: n_whole * chunk].reshape(n_whole, chunk)
    sums = np.empty(-(-inclusion.shape[0] // chunk))
    slab = max(1, _SLAB // chunk)
    for first in range(0, n_whole, slab):
        part = whole[first : first + slab].astype(np.float64)
        sums[first : first + part.shape[0]] = part.sum(axis=1)
    if sums.shape[0] > n_whole:
        sums[n_whole] = inclusion[n_whole * chunk :].sum(dtype=np.float64)
    return sums


def _systematic(inclusion, n_drawn, rng):
    """Draw `n_drawn` rows, none of them certain, by one comb over shuffled chunks."""
    n = inclusion.shape[0]
    chunk = -(-n // _N_CHUNKS)
    sums = _chunk_sums(inclusion, chunk)
    order = rng.permutation(sums.shape[0])
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
    by_chunk = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[by_chunk], np.arange(unique.shape[0] + 1))
    slab = max(1, _SLAB // chunk)
    for first in range(0, unique.shape[0], slab):
        part = unique[first : first + slab]
        index = rng.permuted(part[:, None] + np.arange(chunk), axis=1)
        inside = index < inclusion.shape[0]
        weights = np.where(
            inside, inclusion[np.minimum(index, inclusion.shape[0] - 1)], 0.0
        ).astype(np.float64)
        ends = np.cumsum(weights, axis=1)
        teeth = by_chunk[bounds[first] : bounds[first + part.shape[0]]]
        i = which[teeth] - first
        # The chunk's sum was rounded in another order than these ends.
        at = np.clip(within[teeth], 0.0, np.nextafter(ends[i, -1], 0.0))
        rows[teeth] = index[i, _first_above(ends, i, at)]
    return rows


def _first_above(ends, i, at):
    """Find the first position j with ends[i, j] > at, for many rows i at once."""
    low = np.zeros(i.shape[0], dtype=np.int64)
    high = np.full(i.shape[0], ends.shape[1] - 1)
    for _ in range((ends.shape[1] - 1).bit_length()):
        middle = (low + high) // 2
        above = ends[i, middle] > at
        high = np.where(above, middle, high)
        low = np.where(above, low, np.minimum(middle + 1, high))
    return low
