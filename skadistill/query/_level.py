"""The water level, the one number that solves every game.

It is the root v of

    sum_i max(0, 1 - v / g_i) = mass.

The sum is convex, piecewise linear and strictly decreasing in v, so a first
level from a subsample, one pass that collects the few gains near it, and a
closed form on those give the exact root without sorting the gains.
"""

from dataclasses import dataclass

import numpy as np

from skadistill.query._blocks import BLOCK_ROWS, RowBlocks, stretches
from skadistill.query._gains import as_gains, check_mistakes, count_positive

__all__ = ["inverse_above", "solve_level", "water_level"]

# BLOCK_ROWS float64 are 256 KiB: a block's buffers stay in L2.
_SAMPLE = 1 << 14
_COLLECT_SHARE = 8  # collect at most n / 8 gains near the level
_TRAVEL = 1 << 16  # of gains that are not here, at most so many come


def water_level(gains, mass):
    """Find the level v at which ``sum_i max(0, 1 - v / g_i)`` equals `mass`.

    The level is the value of the game against `mass` wrong labels and, with the
    number of queries as the mass, the multiplier of the regret game. It is exact
    to rounding: a subsample brackets it, one pass in blocks collects the gains
    inside the bracket, and the root is closed form on those. Where the subsample
    misleads, Newton steps from the left take over.

    Parameters
    ----------
    gains : array-like of shape (n_samples,)
        Finite, not negative. float32 and float64 are read in place, in blocks.
    mass : float
        In [0, n_samples). At 0 the level is the largest gain; at or above the number
        of positive gains it is 0.

    Returns
    -------
    level : float
        The root v, at least 0.

    Raises
    ------
    ValueError
        If a gain is negative, infinite or NaN, or the mass is out of range.

    References
    ----------
    .. [1] Baykal, Trinh, Iliopoulos, Menghani, Vee. "Robust Active Distillation."
       ICLR 2023, arXiv:2210.01213. The level form is derived in this package.

    Examples
    --------
    >>> from skadistill.query import water_level
    >>> round(water_level([1.0, 0.5, 0.25], mass=1.0), 12)
    0.333333333333
    """
    gains, low, high = as_gains(gains)
    mass = check_mistakes(mass, gains.shape[0])
    return solve_level(RowBlocks([gains]), low, high, mass)[0]


def solve_level(gains, low, high, mass):
    """Find the water level and the support it leaves.

    Parameters
    ----------
    gains : RowBlocks
        Checked gains.
    low, high : float
        The least and the largest of them.
    mass : float
        In [0, n_samples).

    Returns
    -------
    level : float
        The root.
    bound : float
        Exact in the dtype of the gains: the support is {g > bound}. A gain that
        equals the level up to rounding may fall on either side, but bound, count
        and sum always agree, or the distribution would not sum to 1.
    count : int
        Number of rows in the support.
    inverse_sum : float
        The sum of 1/g over it.
    """
    if mass == 0:
        n_top = sum(gains.map(_count_equal, high))
        below = _just_below(gains.dtype, high)
        return high, below, n_top, n_top / high if high else np.inf
    n_positive = gains.n_samples if low > 0 else sum(gains.map(count_positive))
    if mass >= n_positive:
        tally = _tally(gains, 0.0, 0.0, 0)
        return 0.0, 0.0, tally.count, tally.inverse_sum
    left, right = (_round_down(gains.dtype, v) for v in _bracket(gains, high, mass))
    limit = max(4 * _SAMPLE, gains.n_samples // _COLLECT_SHARE)
    tally = _tally(gains, left, right, limit)
    is_below = tally.count - right * tally.inverse_sum <= mass
    if is_below and tally.n_between <= limit:
        solution = _solve_inside(gains, left, right, tally, mass)
        if solution is not None:
            return solution
    # The subsample misled, or too many gains are alike.
    return _newton(gains, left if is_below else right, mass)


def _bracket(gains, high, mass):
    """Guess an interval that holds the level, from an even subsample.

    The terms of the sum lie in [0, 1], so the sampling error of the sum is known
    and moving the mass by four standard errors, and four of the largest terms,
    either way almost always brackets the level.
    """
    n = gains.n_samples
    if n <= 4 * _SAMPLE:
        return 0.0, high
    stride = n // _SAMPLE
    starts = [(-first % stride, stride) for first in gains.bounds[:-1].tolist()]
    sample = np.concatenate(gains.map_each(_every, starts)).astype(np.float64)
    sample_mass = mass * sample.shape[0] / n
    sample = np.sort(sample[sample > 0])
    if sample.shape[0] <= sample_mass:
        return 0.0, 0.0
    level = _best_level(0, 0.0, sample, sample_mass)[0]
    terms = np.maximum(0.0, 1.0 - level / sample)
    slack = 4.0 * (np.sqrt(terms.var() * sample.shape[0]) + 1.0 - level / high)
    left, right = 0.0, high
    if sample_mass + slack < sample.shape[0]:
        left = _best_level(0, 0.0, sample, sample_mass + slack)[0]
    if sample_mass > slack:
        right = _best_level(0, 0.0, sample, sample_mass - slack)[0]
    return left, right


def _every(block, start, stride):
    return block[start::stride].copy()


def _solve_inside(gains, left, right, tally, mass):
    """Find the level where it lies in (left, right], else return None.

    However it is found, the support is the gains above the level rounded down, and
    their inverses are added in the pool's order: the play does not depend on where
    the gains live.
    """
    if tally.near is None:
        level, fallback = _newton(gains, left, mass)[:2]
    else:
        near = np.concatenate([np.empty(0), *tally.near])
        near.sort()
        level, best = _best_level(tally.count, tally.inverse_sum, near, mass)
        fallback = _just_below(gains.dtype, near[-best]) if best else right
        del near
    if level < left:
        return None
    for bound in (min(_round_down(gains.dtype, level), right), fallback):
        if tally.near is None:
            count, inverse_sum = _tally_inside(gains, bound, right)
        else:
            count, sums = _tally_near(tally.near, bound)
            inverse_sum = float(sums.sum())
        count, inverse_sum = tally.count + count, tally.inverse_sum + inverse_sum
        if count > mass:
            break
    return (count - mass) / inverse_sum, bound, count, inverse_sum


def _newton(gains, bound, mass):
    """Find the level by Newton steps from the left of it.

    They never overshoot because the sum is convex, and are exact once the support
    stops changing.
    """
    solution = None
    while True:
        tally = _tally(gains, bound, bound, 0)
        count, inverse_sum = tally.count, tally.inverse_sum
        if solution is None and bound > 0 and count - bound * inverse_sum < mass:
            bound = 0.0
            continue
        if solution is not None and count <= mass:  # rounding lost the last rows
            return solution
        level = (count - mass) / inverse_sum
        solution = level, bound, count, inverse_sum
        following = _round_down(gains.dtype, level)
        if following <= bound:
            return solution
        bound = following


def _best_level(count, inverse_sum, near, mass):
    """Maximize (k - mass) / H_k where the k-th gain is one of `near`.

    `near` is ascending; `count` and `inverse_sum` belong to the gains above all
    of it. Returns the level and how many of `near` its support takes.
    """
    sums = np.empty(near.shape[0] + 1)
    sums[0] = inverse_sum
    np.reciprocal(near[::-1], out=sums[1:])
    np.cumsum(sums, out=sums)
    levels = np.arange(count, count + sums.shape[0], dtype=np.float64)
    levels -= mass
    positive = levels > 0
    np.divide(levels, sums, out=levels, where=positive)
    levels[~positive] = -np.inf
    best = int(np.argmax(levels))
    return float(levels[best]), best


@dataclass(frozen=True, eq=False)
class _Tally:
    """What `_tally` saw of the gains: those above a bound, and those near it.

    Parameters
    ----------
    count, inverse_sum : int, float
        Number of gains above the upper bound, and the sum of 1/g over them.
    n_between : int
        Number of gains between the bounds.
    near : list of ndarray or None
        These gains, in the pool's order; None where they are too many to collect.
    """

    count: int
    inverse_sum: float
    n_between: int
    near: list | None


def _tally(gains, low, high, limit):
    """Sum what lies above `high` and collect what lies in (low, high].

    Both bounds must be exact in the dtype of the gains. At most `limit` gains are
    collected; of gains that live elsewhere, at most `_TRAVEL`.
    """
    if not gains.is_here:
        limit = min(limit, _TRAVEL // len(gains.blocks))
    results = gains.map(_tally_block, low, high, limit)
    n_between = sum(result[2] for result in results)
    near = [result[3] for result in results]
    return _Tally(
        sum(result[0] for result in results),
        float(np.concatenate([result[1] for result in results]).sum()),
        n_between,
        None if None in near else [piece for pieces in near for piece in pieces],
    )


def _tally_block(gains, low, high, limit):
    """Do what `_tally` does for one block.

    Returns the count, the sums of 1/g over stretches of `BLOCK_ROWS` rows, how many
    gains lie in between, and these as a list of arrays, or None once more than
    `limit` of them were met.
    """
    n_above, n_between = 0, 0
    inverse_sums = np.zeros(-(-gains.shape[0] // BLOCK_ROWS))
    between: list[np.ndarray] | None = []
    size = min(BLOCK_ROWS, gains.shape[0])
    single = np.empty(size, dtype=gains.dtype)
    double = np.empty(size, dtype=np.float64)
    above = np.empty(size, dtype=bool)
    bound = gains.dtype.type(high)
    floor = gains.dtype.type(low)
    for number, block in enumerate(stretches(gains)):
        n = block.shape[0]
        mask, buffer = above[:n], double[:n]
        np.greater(block, bound, out=mask)
        count = int(np.count_nonzero(mask))
        part, rest = 0.0, 0.0
        if 3 * count >= 2 * n and high > 0:
            # 1 / max(g, high) needs no gather; the rest counts 1 / high each.
            np.maximum(block, bound, out=single[:n])
            np.copyto(buffer, single[:n])
            rest = (n - count) / high
            part = np.reciprocal(buffer, out=buffer).sum() - rest
        if count and part <= 1e-3 * rest:  # or the difference cancels digits
            chosen = buffer[:count]
            chosen[:] = block[np.flatnonzero(mask)]  # faster than block[mask]
            part = np.reciprocal(chosen, out=chosen).sum()
        inverse_sums[number] = part
        n_above += count
        if low < high and count < n:
            np.greater(block, floor, out=mask)
            n_between += int(np.count_nonzero(mask)) - count
        if n_between > limit:
            between = None
        elif between is not None and low < high:
            # A piece of every stretch, also an empty one: sums are added alike.
            mask &= block <= bound
            between.append(block[np.flatnonzero(mask)])
    return n_above, inverse_sums, n_between, between


def _tally_inside(gains, low, high):
    """Count the gains in (low, high] and sum 1/g over them."""
    results = gains.map(_tally_inside_block, low, high)
    return (
        sum(count for count, _ in results),
        float(np.concatenate([sums for _, sums in results]).sum()),
    )


def _tally_inside_block(gains, low, high):
    low, high = gains.dtype.type(low), gains.dtype.type(high)
    pieces = [g[(g > low) & (g <= high)] for g in stretches(gains)]
    return _tally_near(pieces, low)


def _tally_near(pieces, bound):
    """Count the gains above a bound, and sum 1/g over them piece by piece."""
    count, sums = 0, np.zeros(len(pieces))
    for number, piece in enumerate(pieces):
        inside = piece[piece > bound].astype(np.float64)
        sums[number] = np.reciprocal(inside).sum()
        count += inside.shape[0]
    return count, sums


def _count_equal(block, value):
    return int(np.count_nonzero(block == block.dtype.type(value)))


def _round_down(dtype, value):
    """Round to the dtype, never up: no gain lies between the result and value."""
    rounded = dtype.type(value)
    if float(rounded) > value:
        rounded = np.nextafter(rounded, dtype.type(-np.inf))
    return float(rounded)


def _just_below(dtype, value):
    return float(np.nextafter(dtype.type(value), dtype.type(-np.inf)))


def inverse_above(gains, bound, scale):
    """Return scale / g where g > bound, else 0.

    Parameters
    ----------
    gains : ndarray of shape (n_samples,)
        Checked gains.
    bound : float
        At least 0; exact in the dtype of the gains.
    scale : float
        Such that no result exceeds 1.

    Returns
    -------
    scaled : ndarray of shape (n_samples,)
        In the dtype of the gains.
    """
    out = np.empty_like(gains, order="C")
    exact = gains.dtype.type
    # No p exceeds 1, so no g in the support is below the scale: with this floor
    # nothing overflows. The smallest float32 lose digits: lift them, exactly.
    lift = exact(2.0**64 if scale < 2.0**-60 and gains.dtype == np.float32 else 1.0)
    floor = exact(max(bound, scale) * float(lift))
    scale = exact(scale * float(lift))
    with np.errstate(over="ignore"):
        for block, part in zip(stretches(gains), stretches(out), strict=True):
            if lift != 1:
                np.maximum(np.multiply(block, lift, out=part), floor, out=part)
            else:
                np.maximum(block, floor, out=part)
            np.divide(scale, part, out=part)
            part *= block > bound
    return out
