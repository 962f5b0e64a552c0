"""The water level, the one number that solves every game, and the checks of gains.

With gains g_i and a mass m, the level is the root v of

    f(v) = sum_i max(0, 1 - v / g_i) = m.

Let k be the number of gains above v and H_k the sum of their inverses. Then
f(v) = k - v H_k, so the root is v = (k - m) / H_k. Finding it means finding k.
A sort would do. Instead, a subsample brackets the level, one pass over the gains
collects the few inside the bracket, and only those are sorted.
"""

from typing import NamedTuple

import numpy as np

__all__ = [
    "BLOCK_ROWS",
    "NEGLIGIBLE",
    "Level",
    "as_gains",
    "check_mistakes",
    "check_queries",
    "iter_blocks",
    "solve_level",
    "water_level",
]

# Arrays are read in blocks of this size: 32,768 float64 are 256 KiB, so the buffers
# of a block stay in the L2 cache. Sums are taken per block and then added. Changing
# the size changes the last bits of the sums, and with them which rows a seed draws.
BLOCK_ROWS = 1 << 15
_SAMPLE = 1 << 14
_COLLECT_SHARE = 8  # collect at most n / 8 gains near the level
NEGLIGIBLE = 1e-290  # smaller float64 gains count as 0: their inverses may overflow


class Level(NamedTuple):
    """Hold the water level and the support above it."""

    value: float
    bound: float
    n_support: int
    inverse_sum: float


def water_level(gains, mass):
    """Find the level v at which ``sum_i max(0, 1 - v / g_i)`` equals `mass`.

    It is the value of the game against `mass` wrong labels, and with the number of
    queries as the mass the largest regret of the regret game.
    """
    gains, low, high, exponent = as_gains(gains)
    mass = check_mistakes(mass, gains.shape[0])
    return float(np.ldexp(solve_level(gains, low, high, mass).value, exponent))


def as_gains(gains):
    """Check gains and return them, with their range, in a unit that is safe."""
    gains = np.asarray(gains)
    if gains.ndim != 1 or gains.shape[0] == 0:
        raise ValueError(
            f"gains must be one-dimensional and not empty, got shape {gains.shape}; "
            "pass one gain for each row of the pool."
        )
    if gains.dtype not in (np.float32, np.float64):
        gains = gains.astype(np.float64)
    # min and max propagate NaN, so two cheap passes see every fault.
    low, high = float(gains.min()), float(gains.max())
    if not (low >= 0 and np.isfinite(high)):
        row = np.flatnonzero(~(np.isfinite(gains) & (gains >= 0)))[0]
        raise ValueError(
            f"gains must be finite and not negative, got {gains[row]} for row {row}; "
            "use a score such as 1 - margin, which lies in [0, 1]."
        )
    exponent = 0
    if high and not 2.0**-500 <= high <= 2.0**500:
        # The games do not depend on the unit of the gains. A power of two changes
        # no digit, and inverses and sums of inverses stay finite and normal.
        exponent = int(np.frexp(high)[1])
        gains = np.ldexp(gains, -exponent)
        low, high = float(gains.min()), float(gains.max())
    if low < NEGLIGIBLE and gains.dtype == np.float64:
        negligible = (gains < NEGLIGIBLE) & (gains > 0)
        if negligible.any():
            gains = np.where(negligible, 0.0, gains)
            low = 0.0
    return gains, low, high, exponent


def check_mistakes(n_mistakes, n_samples):
    """Return the number of wrong labels as a float, if it is in [0, n_samples)."""
    n_mistakes = float(n_mistakes)
    if not 0 <= n_mistakes < n_samples:
        raise ValueError(
            f"n_mistakes must be in [0, n_samples), got {n_mistakes} for {n_samples} "
            "rows; pass the number of rows that the teacher may get wrong."
        )
    return n_mistakes


def check_queries(n_queries, n_samples):
    """Return the number of rows to draw as an int, if it is in [1, n_samples]."""
    if not (1 <= n_queries <= n_samples and n_queries == int(n_queries)):
        raise ValueError(
            f"n_queries must be a whole number in [1, n_samples], got {n_queries} for "
            f"{n_samples} rows; pass at most the number of rows."
        )
    return int(n_queries)


def iter_blocks(values):
    """Yield views of `BLOCK_ROWS` rows, the last one perhaps shorter."""
    for start in range(0, values.shape[0], BLOCK_ROWS):
        yield values[start : start + BLOCK_ROWS]


def solve_level(gains, low, high, mass):
    """Find the water level and the support above it."""
    if mass == 0:
        # f is 0 from the largest gain on: the rows that attain it are the support.
        n_top = int(np.count_nonzero(gains == gains.dtype.type(high)))
        below = _just_below(gains.dtype, high)
        return Level(high, below, n_top, n_top / high if high else np.inf)
    n_positive = gains.shape[0] if low > 0 else int(np.count_nonzero(gains))
    if mass >= n_positive:
        # f(0) is the number of positive gains, the most that f attains.
        tally = _tally(gains, 0.0, 0.0, 0)
        return Level(0.0, 0.0, tally.n_above, tally.inverse_sum)
    left, right = (_round_down(gains.dtype, v) for v in _bracket(gains, high, mass))
    limit = max(4 * _SAMPLE, gains.shape[0] // _COLLECT_SHARE)
    tally = _tally(gains, left, right, limit)
    # f decreases: f(right) <= mass says that the level is at most `right`.
    is_below = tally.n_above - right * tally.inverse_sum <= mass
    if is_below and tally.near is not None:
        solution = _solve_inside(gains.dtype, left, right, tally, mass)
        if solution is not None:
            return solution
    # The subsample misled, or too many gains are alike.
    return _newton(gains, left if is_below else right, mass)


def _bracket(gains, high, mass):
    """Guess an interval that contains the level, from an even subsample."""
    n = gains.shape[0]
    if n <= 4 * _SAMPLE:
        return 0.0, high
    sample = gains[:: n // _SAMPLE].astype(np.float64)
    sample_mass = mass * sample.shape[0] / n
    sample = np.sort(sample[sample > 0])
    if sample.shape[0] <= sample_mass:
        return 0.0, 0.0
    level = _best_level(0, 0.0, sample, sample_mass)[0]
    # The terms of f lie in [0, 1], so the sampling error of their sum is known.
    # Moving the mass by four standard errors, and by four of the largest terms for
    # a sample that happens to miss them, almost always brackets the level.
    terms = np.maximum(0.0, 1.0 - level / sample)
    slack = 4.0 * (np.sqrt(terms.var() * sample.shape[0]) + 1.0 - level / high)
    left, right = 0.0, high
    if sample_mass + slack < sample.shape[0]:
        left = _best_level(0, 0.0, sample, sample_mass + slack)[0]
    if sample_mass > slack:
        right = _best_level(0, 0.0, sample, sample_mass - slack)[0]
    return left, right


def _solve_inside(dtype, left, right, tally, mass):
    """Find the level if it lies in (left, right], else return None."""
    near = np.concatenate([np.empty(0), *tally.near])
    near.sort()
    level, best = _best_level(tally.n_above, tally.inverse_sum, near, mass)
    fallback = _just_below(dtype, near[-best]) if best else right
    del near
    if level < left:
        return None
    # The support is the gains above the level rounded down. If rounding leaves too
    # few of them, it is the gains from the last row that the maximum took. Their
    # inverses are added in the order of the rows, so that the play does not depend
    # on how the level was found.
    for bound in (min(_round_down(dtype, level), right), fallback):
        sums = np.zeros(len(tally.near))
        count = tally.n_above
        for number, piece in enumerate(tally.near):
            inside = piece[piece > bound].astype(np.float64)
            sums[number] = np.reciprocal(inside).sum()
            count += inside.shape[0]
        if count > mass:
            break
    inverse_sum = tally.inverse_sum + float(sums.sum())
    return Level((count - mass) / inverse_sum, bound, count, inverse_sum)


def _newton(gains, bound, mass):
    """Find the level by Newton steps from the left of it."""
    solution = None
    while True:
        tally = _tally(gains, bound, bound, 0)
        count, inverse_sum = tally.n_above, tally.inverse_sum
        if solution is None and bound > 0 and count - bound * inverse_sum < mass:
            bound = 0.0  # the start was on the right of the level
            continue
        if solution is not None and count <= mass:  # rounding lost the last rows
            return solution
        # The step from `bound` is the root of the tangent there. A tangent of a
        # convex function lies below it, so no step passes the level; f is
        # piecewise linear, so the step is exact once the support stops changing.
        level = (count - mass) / inverse_sum
        solution = Level(level, bound, count, inverse_sum)
        following = _round_down(gains.dtype, level)
        if following <= bound:
            return solution
        bound = following


def _best_level(count, inverse_sum, near, mass):
    """Maximize (k - mass) / H_k over the k at which the k-th gain is one of `near`.

    `near` is ascending; `count` and `inverse_sum` belong to the gains above all
    of it. Returns the level and how many of `near` its support takes.
    """
    # Every line k - v H_k is a tangent of f and lies below it, so its root
    # (k - mass) / H_k is at most the level; the support's own line attains it.
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


class _Tally(NamedTuple):
    """Hold what one pass saw: gains above a bound, and gains near it."""

    n_above: int  # gains above the upper bound
    inverse_sum: float  # the sum of 1/g over them
    near: list | None  # the gains between the bounds; None: more than the limit


def _tally(gains, low, high, limit):
    """Sum 1/g over the gains above `high` and collect those in (low, high].

    Both bounds must be exact in the dtype of the gains. At most `limit` gains are
    collected, as one array per block of rows.
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
    for number, block in enumerate(iter_blocks(gains)):
        n = block.shape[0]
        mask, buffer = above[:n], double[:n]
        np.greater(block, bound, out=mask)
        count = int(np.count_nonzero(mask))
        part, rest = 0.0, 0.0
        if 3 * count >= 2 * n and high > 0:
            # sum 1 / max(g, high) needs no gather; each gain that is not above the
            # bound counts 1 / high in it, which is taken off again.
            np.maximum(block, bound, out=single[:n])
            np.copyto(buffer, single[:n])
            rest = (n - count) / high
            part = np.reciprocal(buffer, out=buffer).sum() - rest
        if count and part <= 1e-3 * rest:  # the difference has lost digits
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
            # One piece per block, also an empty one: sums are added alike.
            mask &= block <= bound
            between.append(block[np.flatnonzero(mask)])
    return _Tally(n_above, float(inverse_sums.sum()), between)


def _round_down(dtype, value):
    """Round to the dtype, never up: no gain lies between the result and value."""
    rounded = dtype.type(value)
    if float(rounded) > value:
        rounded = np.nextafter(rounded, dtype.type(-np.inf))
    return float(rounded)


def _just_below(dtype, value):
    return float(np.nextafter(dtype.type(value), dtype.type(-np.inf)))
