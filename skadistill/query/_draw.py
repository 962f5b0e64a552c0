"""Drawing a fixed number of distinct rows with exact inclusion probabilities."""

from itertools import pairwise

import numpy as np

from skadistill.query._blocks import BLOCK_ROWS, RowBlocks

__all__ = ["draw_rows", "fixed_size_sample"]

_N_CHUNKS = 1 << 14
_CERTAIN = 1e-6  # a probability this close to 1 counts as 1
_SLAB = BLOCK_ROWS  # rows looked at together


def fixed_size_sample(inclusion, random_state=None):
    """Draw distinct rows so that row i is drawn with probability inclusion[i].

    Systematic sampling over a random permutation (Madow 1949): lay the inclusion
    probabilities end to end in random order and take every row that a comb with
    teeth one apart and a random start falls on. The size is fixed and the
    marginals are exact, which ``Generator.choice(replace=False, p=...)`` does not
    give. The permutation shuffles chunks of at most ``n_samples / 8192`` rows, and
    the rows inside a chunk only where a tooth falls on it, so a draw from 1e8 rows
    costs one pass and little memory. Where there are that many rows, two rows of
    one chunk are drawn together only if the chunk expects more than one draw.

    Parameters
    ----------
    inclusion : array-like of shape (n_samples,)
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
    return draw_rows(RowBlocks([inclusion]), np.random.default_rng(random_state))


def draw_rows(inclusion, random_state):
    """Draw as `fixed_size_sample` does from numbers that may live elsewhere.

    Parameters
    ----------
    inclusion : RowBlocks
        Inclusion probabilities.
    random_state : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    rows : ndarray of int64 of shape (n_drawn,)
        Positions, ascending. Which they are does not depend on the blocks.
    """
    n_samples = inclusion.n_samples
    if n_samples == 0:
        return np.empty(0, dtype=np.int64)
    chunk = _rows_of_a_chunk(n_samples)
    low, high = _extremes(inclusion)
    # Rounding may have lifted rows above 1; they count as 1.
    n_ones, _, sums = _sum_chunks(inclusion, chunk, 1.0 if high > 1 else np.inf)
    total = n_ones + float(sums.sum())
    n_drawn = _count_drawn(low, high, total)
    if n_drawn == 0:
        return np.empty(0, dtype=np.int64)
    # At most n_drawn rows can be this close to 1, whatever their number.
    margin = min(_CERTAIN, 0.25 / n_samples)
    # Rows from here on are drawn without a lot: a row as long as the gap between
    # two teeth could be hit twice.
    certain, n_certain = np.inf, 0
    threshold = min(1 - margin, total / n_drawn)
    while high >= threshold and n_certain < n_drawn:
        certain = threshold
        n_certain, high, sums = _sum_chunks(inclusion, chunk, certain)
        if n_certain < n_drawn:
            threshold = float(sums.sum()) / (n_drawn - n_certain)
    rows = [np.empty(0, dtype=np.int64)]
    if n_certain:
        found = inclusion.map(_rows_from, certain)
        rows += [r + b for r, b in zip(found, inclusion.bounds, strict=False)]
    if n_certain < n_drawn:
        n_random = n_drawn - n_certain
        rows += _systematic(inclusion, sums, chunk, n_random, certain, random_state)
    return np.sort(np.concatenate(rows))


def _rows_of_a_chunk(n_samples):
    """Choose a power of two, so that chunks divide the blocks wherever they are."""
    wanted = -(-n_samples // _N_CHUNKS)
    return min(1 << (wanted - 1).bit_length(), _SLAB)


def _count_drawn(low, high, total):
    """Round the sum of the probabilities, once they have been checked."""
    if not (low >= 0 and high <= 1 + 1e-6):
        raise ValueError(
            f"inclusion must lie in [0, 1], got values from {low} to {high}; solve the "
            "capped game where a row would be drawn more than once."
        )
    n_drawn = round(total)
    if abs(total - n_drawn) > 1e-4 * max(1.0, total):
        raise ValueError(
            f"inclusion must sum to a whole number of rows, got {total}; scale it to "
            "the number of rows to draw."
        )
    return n_drawn


def _extremes(inclusion):
    """Return the least and the largest; NaN where there is one."""
    both = np.array(inclusion.map(_min_and_max))
    return float(both[:, 0].min()), float(both[:, 1].max())


def _min_and_max(block):
    return float(block.min()), float(block.max())


def _rows_from(block, certain):
    return np.flatnonzero(block >= np.float64(certain))


def _sum_chunks(inclusion, chunk, certain):
    """Count certain rows; return the largest of the others, and their sums."""
    results = inclusion.map(_chunk_sums, chunk, certain)
    return (
        sum(n_certain for n_certain, _, _ in results),
        max(high for _, high, _ in results),
        np.concatenate([sums for _, _, sums in results]),
    )


def _chunk_sums(block, chunk, certain):
    """Sum chunks of rows in float64 without a float64 copy of all rows."""
    sums = np.zeros(-(-block.shape[0] // chunk))
    n_certain, high = 0, 0.0
    for start in range(0, block.shape[0], _SLAB):
        part = block[start : start + _SLAB]
        if certain < np.inf:
            drop = part >= np.float64(certain)
            n_certain += int(np.count_nonzero(drop))
            part = np.where(drop, part.dtype.type(0), part)
            high = max(high, float(part.max()))
        part = part.astype(np.float64)
        first, n_whole = start // chunk, part.shape[0] // chunk
        if chunk == 1:
            sums[first : first + n_whole] = part
            continue
        whole = part[: n_whole * chunk].reshape(n_whole, chunk)
        whole.sum(axis=1, out=sums[first : first + n_whole])
        if n_whole * chunk < part.shape[0]:
            sums[-1] = part[n_whole * chunk :].sum()
    return n_certain, high, sums


def _systematic(inclusion, sums, chunk, n_drawn, certain, rng):
    """Draw `n_drawn` rows, none of them certain, by one comb over shuffled chunks."""
    order = rng.permutation(sums.shape[0])
    ends = np.cumsum(sums[order])
    teeth = (rng.random() + np.arange(n_drawn)) * (ends[-1] / n_drawn)
    # Rounding may lift the last tooth onto the end, past the last row.
    np.minimum(teeth, np.nextafter(ends[-1], 0.0), out=teeth)
    hit = np.searchsorted(ends, teeth, side="right")
    if chunk == 1:
        return [order[hit]]
    within = teeth - (ends[hit] - sums[order[hit]])
    ascending = np.argsort(order[hit], kind="stable")
    chunks, within = order[hit][ascending], within[ascending]
    seed = int(rng.integers(2**63))
    arguments = [
        (chunks[s] * chunk - first, within[s], chunk, certain, seed, int(first))
        if s.start < s.stop
        else None
        for s, first in zip(
            inclusion.split(chunks * chunk), inclusion.bounds, strict=False
        )
    ]
    found = inclusion.map_each(_rows_in_chunks, arguments)
    return [
        rows + first
        for rows, first in zip(found, inclusion.bounds, strict=False)
        if rows is not None
    ]


def _rows_in_chunks(block, starts, within, chunk, certain, seed, first_row):
    """Find the row under each tooth inside its chunk, rows shuffled.

    Every slab is shuffled from a seed of its own, so that it does not matter who
    holds which.
    """
    rows = np.empty(starts.shape[0], dtype=np.int64)
    unique, which = np.unique(starts, return_inverse=True)
    bounds = np.searchsorted(which, np.arange(unique.shape[0] + 1))
    slabs = unique // _SLAB
    cuts = _bounds_of_runs(slabs)
    # Slabs are looked at together until they fill one.
    full = cuts[:-1] // max(1, _SLAB // chunk)
    for first, last in pairwise(cuts[_bounds_of_runs(full)]):
        index = unique[first:last, None] + np.arange(chunk)
        _shuffle(index, slabs[first:last] + first_row // _SLAB, seed)
        weights = block[np.minimum(index, block.shape[0] - 1)].astype(np.float64)
        weights[(index >= block.shape[0]) | (weights >= certain)] = 0.0
        ends = np.cumsum(weights, axis=1)
        teeth = slice(bounds[first], bounds[last])
        i = which[teeth] - first
        # The chunk's sum was rounded in another order than these ends.
        at = np.clip(within[teeth], 0.0, np.nextafter(ends[i, -1], 0.0))
        rows[teeth] = index[i, _first_above(ends, i, at)]
    return rows


def _bounds_of_runs(values):
    """Return where runs of equal values begin, and the number of values."""
    return np.flatnonzero(np.diff(values, prepend=-1, append=-1))


def _shuffle(index, slabs, seed):
    """Shuffle each row of `index` in place, rows of one slab by one generator."""
    for first, last in pairwise(_bounds_of_runs(slabs)):
        rng = np.random.default_rng([seed, int(slabs[first])])
        rng.permuted(index[first:last], axis=1, out=index[first:last])


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
