"""The games behind the robust sampler, as functions on arrays of gains.

Row i of the pool is worth its gain g_i when the teacher labels it rightly. An
adversary chooses where the teacher is wrong. What the sampler can guarantee
whatever the adversary does is the value of the game, and one number, the
*water level*, solves every variant: the root v of

    sum_i max(0, 1 - v / g_i) = mass.

The sum is convex, piecewise linear and strictly decreasing in v, so a first
level from a subsample, one pass that collects the few gains near it, and a
closed form on those give the exact root without sorting the gains.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skadistill.query._blocks import BLOCK_ROWS, RowBlocks

__all__ = [
    "GameSolution",
    "capped_distribution",
    "check_gains",
    "regret_distribution",
    "regret_inclusion",
    "robust_distribution",
    "robust_inclusion",
    "water_level",
    "worst_case_value",
]

_BLOCK = BLOCK_ROWS  # 32,768 float64 are 256 KiB: a block's buffers stay in L2
_SAMPLE = 1 << 14
_COLLECT_SHARE = 8  # collect at most n / 8 gains near the level
_TRAVEL = 1 << 16  # of gains that are not here, at most so many come
_DUST = 1e-14  # mass that rounding leaves over, not worth a row
_NEGLIGIBLE = 1e-290  # float64 gains below count as 0: their inverses may overflow


@dataclass(frozen=True, eq=False)
class GameSolution:
    """Hold a sampler's optimal play.

    Parameters
    ----------
    p : ndarray of shape (n_rows,)
        Probability of each row, summing to 1; same dtype as the gains.
    value : float
        What p guarantees in expectation for one draw, in units of the gains.
    n_support : int
        Number of rows with positive probability.
    """

    p: np.ndarray
    value: float
    n_support: int

    @cached_property
    def support(self):
        """Positions of the rows with positive probability, ascending."""
        return np.flatnonzero(self.p)


def _as_gains(gains):
    """Check gains: one-dimensional, finite, not negative; no copy of floats."""
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
        faults = zip(gains.map(_first_fault), gains.bounds, strict=False)
        row, bad = next((first + f[0], f[1]) for f, first in faults if f)
        raise ValueError(
            f"gains must be finite and not negative, got {bad} for row {row}; "
            "use a score such as 1 - margin, which lies in [0, 1]."
        )
    return low, high


def _min_and_max(block):
    return float(block.min()), float(block.max())


def _first_fault(block):
    """Return the first position that holds no gain, and what it holds."""
    bad = np.flatnonzero(~(np.isfinite(block) & (block >= 0)))
    return (int(bad[0]), block[bad[0]]) if bad.size else None


def _check_mistakes(n_mistakes, n_rows):
    n_mistakes = float(n_mistakes)
    if not 0 <= n_mistakes < n_rows:
        raise ValueError(
            f"n_mistakes must lie in [0, n_rows), got {n_mistakes} for {n_rows} rows; "
            "it is the number of rows on which the teacher may be wrong."
        )
    return n_mistakes


def _check_queries(n_queries, n_rows):
    if not (1 <= n_queries <= n_rows and n_queries == int(n_queries)):
        raise ValueError(
            f"n_queries must be a whole number in [1, n_rows], got {n_queries} for "
            f"{n_rows} rows; ask for at most as many rows as there are."
        )
    return int(n_queries)


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

    Returns the count, the sums of 1/g over stretches of `_BLOCK` rows, how many
    gains lie in between, and these as a list of arrays, or None once more than
    `limit` of them were met.
    """
    n_above, n_between = 0, 0
    inverse_sums = np.zeros(-(-gains.shape[0] // _BLOCK))
    between: list[np.ndarray] | None = []
    size = min(_BLOCK, gains.shape[0])
    single = np.empty(size, dtype=gains.dtype)
    double = np.empty(size, dtype=np.float64)
    above = np.empty(size, dtype=bool)
    bound = gains.dtype.type(high)
    floor = gains.dtype.type(low)
    for number, start in enumerate(range(0, gains.shape[0], _BLOCK)):
        block = gains[start : start + _BLOCK]
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
    stretches = [gains[s : s + _BLOCK] for s in range(0, gains.shape[0], _BLOCK)]
    return _tally_near([g[(g > low) & (g <= high)] for g in stretches], low)


def _tally_near(pieces, bound):
    """Count the gains above a bound, and sum 1/g over them piece by piece."""
    count, sums = 0, np.zeros(len(pieces))
    for number, piece in enumerate(pieces):
        inside = piece[piece > bound].astype(np.float64)
        sums[number] = np.reciprocal(inside).sum()
        count += inside.shape[0]
    return count, sums


def _best_level(count, inverse_sum, near, mass):
    """Maximise (k - mass) / H_k where the k-th gain is one of `near`.

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


def _bracket(gains, high, mass):
    """Guess an interval that holds the level, from an even subsample.

    The terms of the sum lie in [0, 1], so the sampling error of the sum is known
    and moving the mass by four standard errors, and four of the largest terms,
    either way almost always brackets the level.
    """
    n = gains.n_rows
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


def _round_down(dtype, value):
    """Round to the dtype, never up: no gain lies between the result and value."""
    rounded = dtype.type(value)
    if float(rounded) > value:
        rounded = np.nextafter(rounded, dtype.type(-np.inf))
    return float(rounded)


def _just_below(dtype, value):
    return float(np.nextafter(dtype.type(value), dtype.type(-np.inf)))


def _solve_level(gains, low, high, mass):
    """Find the water level and the support it leaves.

    Returns the level, a bound exact in the dtype of the gains such that the
    support is {g > bound}, and the count and the sum of 1/g of that support. A
    gain that equals the level up to rounding may fall on either side, but bound,
    count and sum always agree, or the distribution would not sum to 1.
    """
    if mass == 0:
        n_top = sum(gains.map(_count_equal, high))
        below = _just_below(gains.dtype, high)
        return high, below, n_top, n_top / high if high else np.inf
    n_positive = gains.n_rows if low > 0 else sum(gains.map(_count_positive))
    if mass >= n_positive:
        tally = _tally(gains, 0.0, 0.0, 0)
        return 0.0, 0.0, tally.count, tally.inverse_sum
    left, right = (_round_down(gains.dtype, v) for v in _bracket(gains, high, mass))
    limit = max(4 * _SAMPLE, gains.n_rows // _COLLECT_SHARE)
    tally = _tally(gains, left, right, limit)
    is_below = tally.count - right * tally.inverse_sum <= mass
    if is_below and tally.n_between <= limit:
        solution = _solve_inside(gains, left, right, tally, mass)
        if solution is not None:
            return solution
    # The subsample misled, or too many gains are alike.
    return _newton(gains, left if is_below else right, mass)


def _count_equal(block, value):
    return int(np.count_nonzero(block == block.dtype.type(value)))


def _count_positive(block):
    return int(np.count_nonzero(block))


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


def _fill(gains, bound, scale):
    """Return scale / g where g > bound, else 0, in the dtype of the gains."""
    out = np.empty_like(gains, order="C")
    exact = gains.dtype.type
    # No p exceeds 1, so no g in the support is below the scale: with this floor
    # nothing overflows. The smallest float32 lose digits: lift them, exactly.
    lift = exact(2.0**64 if scale < 2.0**-60 and gains.dtype == np.float32 else 1.0)
    floor = exact(max(bound, scale) * float(lift))
    scale = exact(scale * float(lift))
    with np.errstate(over="ignore"):
        for start in range(0, gains.shape[0], _BLOCK):
            block, part = gains[start : start + _BLOCK], out[start : start + _BLOCK]
            if lift != 1:
                np.maximum(np.multiply(block, lift, out=part), floor, out=part)
            else:
                np.maximum(block, floor, out=part)
            np.divide(scale, part, out=part)
            part *= block > bound
    return out


def water_level(gains, mass):
    """Find the level v at which ``sum_i max(0, 1 - v / g_i)`` equals `mass`.

    The level is the value of the game against `mass` wrong labels and, with the
    number of queries as the mass, the multiplier of the regret game. It is exact
    to rounding: a subsample brackets it, one pass in blocks collects the gains
    inside the bracket, and the root is closed form on those. Where the subsample
    misleads, Newton steps from the left take over.

    Parameters
    ----------
    gains : array-like of shape (n_rows,)
        Finite, not negative. float32 and float64 are read in place, in blocks.
    mass : float
        In [0, n_rows). At 0 the level is the largest gain; at or above the number
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
    gains, low, high = _as_gains(gains)
    mass = _check_mistakes(mass, gains.shape[0])
    return _solve_level(RowBlocks([gains]), low, high, mass)[0]


def robust_distribution(gains, n_mistakes, *, losses=None):
    """Solve the game against a teacher that is wrong on `n_mistakes` rows.

    The sampler draws one row from p; the adversary makes the teacher wrong on at
    most m rows; a wrong label is worth nothing, or ``-losses[i]``::

        V = max_p min_{|M| <= m} sum_{i not in M} p_i g_i = max_k (k - m) / H_k,

    with H_k the sum of 1/g over the k largest gains. The optimum has p_i
    proportional to 1/g_i on the support {g_i > V} and 0 elsewhere.

    Parameters
    ----------
    gains : array-like of shape (n_rows,)
        What a right label of each row is worth; finite, not negative.
    n_mistakes : float
        m in [0, n_rows), real. 0 puts all mass on the largest gain (ties share
        it); m towards the number of positive gains spreads p over all of them in
        proportion to 1/g.
    losses : array-like of shape (n_rows,) or None, default=None
        What a wrong label of each row costs, not negative. None: it costs
        nothing. With losses the gains are sorted, so this form takes
        O(n log n) time and O(n) memory.

    Returns
    -------
    solution : GameSolution
        The distribution ``p``, its ``support`` and the ``value`` it guarantees.

    Raises
    ------
    ValueError
        If a gain or loss is negative or not finite, or m is out of range.

    References
    ----------
    .. [1] Baykal, Trinh, Iliopoulos, Menghani, Vee. "Robust Active Distillation."
       ICLR 2023, arXiv:2210.01213.

    Examples
    --------
    >>> from skadistill.query import robust_distribution
    >>> game = robust_distribution([1.0, 0.5, 0.25], n_mistakes=1)
    >>> game.p.round(3), round(game.value, 3), game.support
    (array([0.333, 0.667, 0.   ]), 0.333, array([0, 1]))
    """
    gains, low, high = _as_gains(gains)
    n_mistakes = _check_mistakes(n_mistakes, gains.shape[0])
    if losses is not None:
        return _costly_distribution(gains, n_mistakes, losses)
    if high == 0:
        # No row is worth anything: every play guarantees 0, the even one is fair.
        n = gains.shape[0]
        return GameSolution(np.full(n, 1 / n, dtype=gains.dtype), 0.0, n)
    level, bound, count, inverse_sum = _solve_level(
        RowBlocks([gains]), low, high, n_mistakes
    )
    return GameSolution(_fill(gains, bound, 1.0 / inverse_sum), level, count)


def robust_inclusion(gains, n_mistakes, n_queries, *, loss=0.0):
    """Turn the game's play into inclusion probabilities.

    Parameters
    ----------
    gains : RowBlocks
        Checked gains.
    n_mistakes : float
        m in [0, n_rows).
    n_queries : int
        b in [1, n_rows].
    loss : float, default=0.0
        What a wrong label of any row costs.

    Returns
    -------
    inclusion : RowBlocks
        Probabilities summing to b, where the gains are. Where the cap 1/b binds, or
        a wrong label costs something, the game is solved by sorting: then all gains
        come here first.
    value : float
        What the play guarantees in expectation for one draw.
    n_support : int
        Number of rows with positive probability.
    """
    n_mistakes = _check_mistakes(n_mistakes, gains.n_rows)
    low, high = check_gains(gains)
    if high == 0 and not loss:
        even = gains.dtype.type(1 / gains.n_rows) * gains.dtype.type(n_queries)
        return gains.transform(_Even(even)), 0.0, gains.n_rows
    if not loss:
        level, bound, count, inverse_sum = _solve_level(gains, low, high, n_mistakes)
        play = _RobustPlay(bound, 1.0 / inverse_sum, n_queries)
        if play.fits_cap(gains):
            return gains.transform(play), level, count
    values = gains.gather()
    losses = np.full_like(values, loss) if loss else None
    game = capped_distribution(values, n_mistakes, n_queries, losses=losses)
    p = np.multiply(game.p, game.p.dtype.type(n_queries), out=game.p)
    return RowBlocks([p]), game.value, game.n_support


@dataclass(frozen=True)
class _Even:
    """Give every row the same probability; travels to workers."""

    value: np.floating

    def __call__(self, gains):
        return np.full_like(gains, self.value, order="C")


@dataclass(frozen=True)
class _RobustPlay:
    """Turn gains into inclusion probabilities of the uncapped game; travels too."""

    bound: float
    scale: float
    n_queries: int

    def __call__(self, gains):
        inclusion = _fill(gains, self.bound, self.scale)
        np.minimum(inclusion, gains.dtype.type(1.0 / self.n_queries), out=inclusion)
        return np.multiply(inclusion, gains.dtype.type(self.n_queries), out=inclusion)

    def fits_cap(self, gains):
        """Tell whether no row is to be drawn with more than certainty."""
        cap = 1.0 / self.n_queries
        # The row of the least gain is drawn most; often a guess at it is enough.
        least = np.nextafter(gains.dtype.type(self.bound), gains.dtype.type(np.inf))
        if _fits_cap(self._largest(least), cap, gains.dtype):
            return True
        least = gains.dtype.type(min(gains.map(_least_above, self.bound)))
        return _fits_cap(self._largest(least), cap, gains.dtype)

    def _largest(self, least):
        return float(_fill(np.array([least]), self.bound, self.scale)[0])


def _least_above(gains, bound):
    """Return the smallest gain above a bound, infinity where there is none."""
    bound, infinite = gains.dtype.type(bound), gains.dtype.type(np.inf)
    stretches = (gains[s : s + _BLOCK] for s in range(0, gains.shape[0], _BLOCK))
    return float(min(np.where(g > bound, g, infinite).min() for g in stretches))


def _fits_cap(largest, cap, dtype):
    """Tell whether p_i <= 1/b holds up to the rounding of the gains' dtype."""
    return largest <= cap * (1 + 8 * float(np.finfo(dtype).eps))


def _costly_distribution(gains, n_mistakes, losses):
    """Solve the game in which a wrong label of row i is worth -losses[i].

    With w = g + l and rows sorted by gain, V = max_k (G_k - m) / H_k where G_k
    sums g/w and H_k sums 1/w; it never pays to go below the least loss.
    """
    losses = _check_losses(losses, gains)
    gains64 = gains.astype(np.float64)
    order = np.argsort(-gains64, kind="stable")
    weights = (gains64 + losses)[order]
    p = np.zeros(gains.shape[0], dtype=np.float64)
    usable = weights > 0
    order, weights = order[usable], weights[usable]
    best_value, n_best = -np.inf, 0
    if order.shape[0]:
        values = (np.cumsum(gains64[order] / weights) - n_mistakes) / np.cumsum(
            1.0 / weights
        )
        best = int(np.argmax(values))
        best_value = float(values[best])
        # Rows that tie with the last one gain or lose nothing: they share.
        n_best = int(
            np.searchsorted(-gains64[order], -gains64[order[best]], side="right")
        )
    least = float(losses.min())
    if best_value <= -least:
        # The worst case is the least loss, wherever that is what is at stake.
        p[losses == least] = 1.0
        best_value = -least
    else:
        p[order[:n_best]] = 1.0 / weights[:n_best]
    p /= p.sum()
    return GameSolution(p.astype(gains.dtype), best_value, int(np.count_nonzero(p)))


def _check_losses(losses, gains):
    losses = np.asarray(losses, dtype=np.float64)
    if losses.shape != gains.shape or not (np.isfinite(losses) & (losses >= 0)).all():
        raise ValueError(
            f"losses must be finite, not negative and of shape {gains.shape}, got "
            f"shape {losses.shape} with minimum {losses.min() if losses.size else None}"
            "; pass what a wrong label costs for each row."
        )
    return losses


def capped_distribution(gains, n_mistakes, n_queries, *, losses=None):
    """Solve the game when no row may be drawn twice: every p_i is at most 1/b.

    For a fixed threshold theta the best play fills rows in descending gain up to
    min(1/b, theta/g_i) until the mass is 1; what it guarantees,
    sum_i min(g_i p_i, theta) - m theta, is concave in theta, so a golden-section
    search finds the optimum.

    Parameters
    ----------
    gains : array-like of shape (n_rows,)
        What a right label of each row is worth; finite, not negative.
    n_mistakes : float
        m in [0, n_rows).
    n_queries : int
        b in [1, n_rows], the rows to draw; the cap is 1/b.
    losses : array-like of shape (n_rows,) or None, default=None
        What a wrong label of each row costs, not negative. None: it costs
        nothing.

    Returns
    -------
    solution : GameSolution
        As from `robust_distribution`, with max p at most 1/b.

    Raises
    ------
    ValueError
        If a gain or loss is negative or not finite, or m or b is out of range.

    Notes
    -----
    Where the cap does not bind the answer is that of `robust_distribution`, with
    no sort; where it binds the gains are sorted. Rows of equal gain (and loss)
    get equal probability. Mass that the guarantee has no use for, as when m
    exceeds the number of rows with a gain, is spread over the room that is left.

    Examples
    --------
    >>> from skadistill.query import capped_distribution
    >>> capped_distribution([1.0, 0.5, 0.25, 0.25], 0, n_queries=2).p
    array([0.5, 0.5, 0. , 0. ])
    """
    gains, _, high = _as_gains(gains)
    n = gains.shape[0]
    n_mistakes = _check_mistakes(n_mistakes, n)
    n_queries = _check_queries(n_queries, n)
    free = robust_distribution(gains, n_mistakes, losses=losses)
    cap = 1.0 / n_queries
    if _fits_cap(float(free.p.max()), cap, gains.dtype):
        p = np.minimum(free.p, gains.dtype.type(cap), out=free.p)
        return GameSolution(p, free.value, free.n_support)
    if losses is not None:
        return _capped_costly(gains, n_mistakes, cap, _check_losses(losses, gains))
    order = np.argsort(-gains.astype(np.float64), kind="stable")
    ranked = gains[order].astype(np.float64)
    n_positive = int(np.count_nonzero(ranked))
    positive = ranked[:n_positive]
    gain_sums = np.concatenate([[0.0], np.cumsum(positive)])
    inverse_sums = np.concatenate([[0.0], np.cumsum(1.0 / positive)])

    def plan(theta):
        """Count rows held at theta/g, rows held at the cap, and what is left."""
        # Rows with g > theta b are held at theta / g; they come first.
        held = int(np.searchsorted(-positive, -theta * n_queries, side="left"))
        if theta * inverse_sums[held] >= 1:
            full = int(np.searchsorted(inverse_sums[: held + 1], 1.0 / theta, "right"))
            full -= 1
            return full, 0, max(1.0 - theta * inverse_sums[full], 0.0)
        left = 1.0 - theta * inverse_sums[held]
        capped = min(int(left * n_queries), n_positive - held)
        return held, capped, left - capped * cap

    def guarantee(theta):
        held, capped, left = plan(theta)
        value = held * theta + (gain_sums[held + capped] - gain_sums[held]) * cap
        if held + capped < n_positive and left > 0:
            value += min(left * positive[held + capped], theta)
        return value - n_mistakes * theta

    # With theta above g_max / b no row is held any more.
    theta = _golden_section(guarantee, 0.0, high * cap)
    held, capped, left = plan(theta)
    ranked_p = np.zeros(n)
    ranked_p[:held] = theta / positive[:held]
    ranked_p[held : held + capped] = cap
    if left > _DUST and held + capped < n_positive:
        extra = min(left, cap, theta / positive[held + capped])
        ranked_p[held + capped] = extra
        left -= extra
    room = np.maximum(cap - ranked_p, 0.0)
    if left > _DUST and room.any():
        # Mass the guarantee has no use for goes where there is room.
        ranked_p += room * (left / room.sum())
    p = np.empty(n)
    p[order] = np.minimum(_share_ties(ranked_p, ranked), cap)
    value = float(max(guarantee(theta), 0.0))
    p = p.astype(gains.dtype, copy=False)
    return GameSolution(p, value, int(np.count_nonzero(p)))


def _share_ties(values, *keys):
    """Average values over runs of equal keys.

    Averaging over permutations of equal rows never lowers a guarantee, which is
    concave in p, and keeps the play free of the order of the rows.
    """
    changes = np.zeros(values.shape[0], dtype=bool)
    changes[0] = True
    for key in keys:
        changes[1:] |= key[1:] != key[:-1]
    starts = np.flatnonzero(changes)
    counts = np.diff(starts, append=values.shape[0])
    return np.repeat(np.add.reduceat(values, starts) / counts, counts)


def _capped_costly(gains, n_mistakes, cap, losses):
    """Solve the capped game in which a wrong label of row i costs losses[i].

    For a fixed theta row i is worth g_i a unit of mass up to theta / w_i, with
    w = g + l, and -l_i beyond: fill by descending gain, then what is left by
    ascending loss. The best guarantee is concave in theta.
    """
    gains64 = gains.astype(np.float64)
    order = np.lexsort((losses, -gains64))
    ranked, ranked_losses = gains64[order], losses[order]
    weights = ranked + ranked_losses
    by_loss = np.lexsort((-ranked, ranked_losses))

    def play(theta):
        with np.errstate(divide="ignore", invalid="ignore"):
            held = np.where(weights * cap > theta, theta / weights, cap)
        p = _fill_up(held, 1.0)
        left = 1.0 - p.sum()
        if left > _DUST:
            p[by_loss] += _fill_up((cap - p)[by_loss], left)
        return p

    def guarantee(theta):
        p = play(theta)
        lost = np.maximum(weights * p - theta, 0.0).sum()
        return float(ranked @ p - lost - n_mistakes * theta)

    theta = _golden_section(guarantee, 0.0, float(weights.max()) * cap)
    p = np.empty(gains.shape[0])
    p[order] = np.minimum(_share_ties(play(theta), ranked, ranked_losses), cap)
    p = p.astype(gains.dtype, copy=False)
    return GameSolution(p, guarantee(theta), int(np.count_nonzero(p)))


def _fill_up(room, mass):
    """Fill rooms in order until the mass is used up."""
    before = np.cumsum(room)
    before -= room
    return np.minimum(room, np.maximum(mass - before, 0.0))


def _golden_section(function, low, high, n_steps=80):
    """Maximise a concave function on [low, high]."""
    ratio = (np.sqrt(5.0) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    value_a, value_b = function(a), function(b)
    for _ in range(n_steps):
        if value_a >= value_b:
            high, b, value_b = b, a, value_a
            a = high - ratio * (high - low)
            value_a = function(a)
        else:
            low, a, value_a = a, b, value_b
            b = low + ratio * (high - low)
            value_b = function(b)
    return a if value_a >= value_b else b


def regret_distribution(gains, n_queries):
    """Solve the regret game, which needs no estimate of the teacher's errors.

    Choose inclusion probabilities q with sum b that minimise the largest gain
    left behind, max_i g_i (1 - q_i). The optimum is q_i = max(0, 1 - v / g_i)
    with v the water level for mass b.

    Parameters
    ----------
    gains : array-like of shape (n_rows,)
        What a right label of each row is worth; finite, not negative.
    n_queries : int
        b in [1, n_rows].

    Returns
    -------
    inclusion : ndarray of shape (n_rows,)
        Inclusion probabilities in [0, 1] that sum to b; dtype of the gains. Where
        b exceeds the number of positive gains the rest is spread evenly over the
        rows without gain.

    Examples
    --------
    >>> from skadistill.query import regret_distribution
    >>> regret_distribution([1.0, 0.5, 0.25], n_queries=1).round(3)
    array([0.667, 0.333, 0.   ])
    """
    gains, _, _ = _as_gains(gains)
    return regret_inclusion(RowBlocks([gains]), n_queries).gather()


def regret_inclusion(gains, n_queries):
    """Solve the regret game as `regret_distribution` does, where the gains live.

    Parameters
    ----------
    gains : RowBlocks
        Checked gains.
    n_queries : int
        b in [1, n_rows].

    Returns
    -------
    inclusion : RowBlocks
        Inclusion probabilities that sum to b.
    """
    n_rows = gains.n_rows
    n_queries = _check_queries(n_queries, n_rows)
    low, high = check_gains(gains)
    if n_queries == n_rows:
        return gains.transform(_Even(gains.dtype.type(1)))
    n_positive = n_rows if low > 0 else sum(gains.map(_count_positive))
    if n_queries >= n_positive:
        rest = (n_queries - n_positive) / (n_rows - n_positive)
        return gains.transform(_GainsFirst(rest))
    level = _solve_level(gains, low, high, float(n_queries))[0]
    return gains.transform(_RegretPlay(level))


@dataclass(frozen=True)
class _GainsFirst:
    """Ask for every row with a gain and evenly for the others."""

    rest: float

    def __call__(self, gains):
        return np.where(gains > 0, 1.0, self.rest).astype(gains.dtype)


@dataclass(frozen=True)
class _RegretPlay:
    """Turn gains into inclusion probabilities 1 - v / g."""

    level: float

    def __call__(self, gains):
        inclusion = np.empty_like(gains, order="C")
        buffer = np.empty(min(_BLOCK, gains.shape[0]), dtype=np.float64)
        for start in range(0, gains.shape[0], _BLOCK):
            block = gains[start : start + _BLOCK]
            # In float64: single precision loses a q much smaller than 1.
            terms = buffer[: block.shape[0]]
            np.copyto(terms, block)
            np.maximum(terms, self.level, out=terms)
            np.divide(self.level, terms, out=terms)
            np.subtract(1.0, terms, out=inclusion[start : start + _BLOCK])
        return inclusion


def worst_case_value(p, gains, n_mistakes, *, losses=None):
    """Compute what a distribution guarantees against the worst wrong rows.

    Parameters
    ----------
    p : array-like of shape (n_rows,)
        Probability of drawing each row.
    gains : array-like of shape (n_rows,)
        What a right label of each row is worth.
    n_mistakes : float
        m in [0, n_rows]; a fractional part corrupts one row partly.
    losses : array-like of shape (n_rows,) or None, default=None
        What a wrong label of each row costs; None: nothing.

    Returns
    -------
    value : float
        Minimum over all sets of m rows of the expected worth of one draw.

    Examples
    --------
    >>> from skadistill.query import worst_case_value
    >>> worst_case_value([0.5, 0.5], [1.0, 0.5], n_mistakes=1)
    0.25
    """
    p = np.asarray(p, dtype=np.float64)
    gains = np.asarray(gains, dtype=np.float64)
    at_stake = p * gains
    total = at_stake.sum()
    if losses is not None:
        at_stake = p * (gains + np.asarray(losses, dtype=np.float64))
    ranked = np.sort(at_stake)[::-1]
    whole = int(n_mistakes)
    lost = ranked[:whole].sum()
    if whole < ranked.shape[0]:
        lost += (n_mistakes - whole) * ranked[whole]
    return float(total - lost)
