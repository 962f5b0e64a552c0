"""Drawing a fixed number of distinct rows with exact inclusion probabilities."""

from itertools import pairwise

import numpy as np

__all__ = ["fixed_size_sample"]

_N_CHUNKS = 1 << 14
_CERTAIN = 1e-6  # a probability this close to 1 counts as 1
# Rows looked at together, and shuffled from one seed: changing it changes the rows
# that a seed draws from large pools.
_SLAB = 1 << 15


def fixed_size_sample(inclusion, random_state=None):
    """Draw distinct rows so that row i is drawn with probability inclusion[i].

    Systematic sampling over a random permutation (Madow 1949): lay the inclusion
    probabilities, which sum to a whole number, end to end in random order and take
    every row that a comb with teeth one apart and a random start falls on. The
    permutation shuffles chunks of at most ``n_samples / 8192`` rows, and the rows
    inside a chunk only if a tooth falls on it, so a draw from 1e8 rows costs one pass
    and little memory. In pools of that size, two rows of one chunk are drawn together
    only if the chunk expects more than one draw.
    """
    rng = np.random.default_rng(random_state)
    inclusion = np.asarray(inclusion)
    if inclusion.ndim != 1:
        raise ValueError(
            f"inclusion must be one-dimensional, got shape {inclusion.shape}; pass one "
            "probability for each row."
        )
    n_samples = inclusion.shape[0]
    if n_samples == 0:
        return np.empty(0, dtype=np.int64)
    chunk = _choose_chunk(n_samples)
    low, high = float(inclusion.min()), float(inclusion.max())
    # Rounding may have lifted rows above 1; they count as 1.
    n_ones, _, sums = _sum_chunks(inclusion, chunk, 1.0 if high > 1 else np.inf)
    total = n_ones + float(sums.sum())
    n_drawn = _count_drawn(low, high, total)
    if n_drawn == 0:
        return np.empty(0, dtype=np.int64)
    # At most n_drawn rows can be this close to 1, whatever their number.
    margin = min(_CERTAIN, 0.25 / n_samples)
    # The gap between two teeth is the mass that is left over the rows that are left.
    # A row as long as the gap could be hit twice, so it is taken with certainty.
    # That makes the gap smaller, and perhaps more rows certain: repeat.
    certain, n_certain = np.inf, 0
    threshold = min(1 - margin, total / n_drawn)
    while high >= threshold and n_certain < n_drawn:
        certain = threshold
        n_certain, high, sums = _sum_chunks(inclusion, chunk, certain)
        if n_certain < n_drawn:
            threshold = float(sums.sum()) / (n_drawn - n_certain)
    rows = [np.empty(0, dtype=np.int64)]
    if n_certain:
        rows.append(np.flatnonzero(inclusion >= np.float64(certain)))
    if n_certain < n_drawn:
        n_random = n_drawn - n_certain
        rows.append(_systematic(inclusion, sums, chunk, n_random, certain, rng))
    return np.sort(np.concatenate(rows))


def _choose_chunk(n_samples):
    """Choose the rows of a chunk: a power of two, so that chunks divide slabs."""
    wanted = -(-n_samples // _N_CHUNKS)
    return min(1 << (wanted - 1).bit_length(), _SLAB)


def _count_drawn(low, high, total):
    """Round the sum of the probabilities, once they have been checked."""
    if not (low >= 0 and high <= 1 + 1e-6):
        raise ValueError(
            f"inclusion must lie in [0, 1], got values from {low} to {high}; pass "
            "n_queries to robust_distribution so that no row is drawn twice."
        )
    n_drawn = round(total)
    if abs(total - n_drawn) > 1e-4 * max(1.0, total):
        raise ValueError(
            f"inclusion must sum to a whole number of rows, got {total}; scale it to "
            "the number of rows to draw."
        )
    return n_drawn


def _sum_chunks(inclusion, chunk, certain):
    """Sum chunks of rows in float64 without a float64 copy of all rows.

    Rows with a probability of at least `certain` are counted and left out. Returns
    their number, the largest probability of the others, and the sums.
    """
    sums = np.zeros(-(-inclusion.shape[0] // chunk))
    n_certain, high = 0, 0.0
    for start in range(0, inclusion.shape[0], _SLAB):
        part = inclusion[start : start + _SLAB]
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
        return order[hit]
    within = teeth - (ends[hit] - sums[order[hit]])
    ascending = np.argsort(order[hit], kind="stable")
    chunks, within = order[hit][ascending], within[ascending]
    seed = int(rng.integers(2**63))
    return _rows_in_chunks(inclusion, chunks * chunk, within, chunk, certain, seed)


def _rows_in_chunks(inclusion, starts, within, chunk, certain, seed):
    """Find the row under each tooth inside its chunk, rows shuffled.

    `starts` are the first rows of the chunks, ascending, and `within` the places of
    the teeth inside them.
    """
    rows = np.empty(starts.shape[0], dtype=np.int64)
    unique, which = np.unique(starts, return_inverse=True)
    bounds = np.searchsorted(which, np.arange(unique.shape[0] + 1))
    slabs = unique // _SLAB
    cuts = _bounds_of_runs(slabs)
    # Chunks of several slabs are looked at together until they fill one slab.
    full = cuts[:-1] // max(1, _SLAB // chunk)
    for first, last in pairwise(cuts[_bounds_of_runs(full)]):
        index = unique[first:last, None] + np.arange(chunk)
        _shuffle(index, slabs[first:last], seed)
        weights = inclusion[np.minimum(index, inclusion.shape[0] - 1)]
        weights = weights.astype(np.float64)
        weights[(index >= inclusion.shape[0]) | (weights >= certain)] = 0.0
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
