"""Plays as inclusion probabilities, wherever the gains live."""

from dataclasses import dataclass

import numpy as np

from skadistill.query._blocks import BLOCK_ROWS, RowBlocks, stretches
from skadistill.query._capped import capped_distribution, solve_capped
from skadistill.query._gains import (
    as_gains,
    check_gains,
    check_mistakes,
    check_queries,
    count_positive,
)
from skadistill.query._game import fits_cap
from skadistill.query._level import inverse_above, solve_level

__all__ = ["regret_distribution", "regret_inclusion", "robust_inclusion"]


def robust_inclusion(gains, n_mistakes, n_queries, *, loss=0.0):
    """Turn the game's play into inclusion probabilities.

    Parameters
    ----------
    gains : RowBlocks
        Checked gains.
    n_mistakes : float
        m in [0, n_samples).
    n_queries : int
        b in [1, n_samples].
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
    n_samples = gains.n_samples
    n_mistakes = check_mistakes(n_mistakes, n_samples)
    low, high = check_gains(gains)
    if high == 0 and not loss:
        even = gains.dtype.type(1 / n_samples) * gains.dtype.type(n_queries)
        return gains.transform(_Even(even)), 0.0, n_samples
    if not loss:
        level, bound, count, inverse_sum = solve_level(gains, low, high, n_mistakes)
        play = _RobustPlay(bound, 1.0 / inverse_sum, n_queries)
        if play.fits_cap(gains):
            return gains.transform(play), level, count
        values, _, high = as_gains(gains.gather())
        game = solve_capped(
            values, high, n_mistakes, check_queries(n_queries, n_samples)
        )
    else:
        values = gains.gather()
        losses = np.full_like(values, loss)
        game = capped_distribution(values, n_mistakes, n_queries, losses=losses)
    p = np.multiply(game.p, game.p.dtype.type(n_queries), out=game.p)
    return RowBlocks([p]), game.value, game.n_support


def regret_distribution(gains, n_queries):
    """Solve the regret game, which needs no estimate of the teacher's errors.

    Choose inclusion probabilities q with sum b that minimize the largest gain
    left behind, max_i g_i (1 - q_i). The optimum is q_i = max(0, 1 - v / g_i)
    with v the water level for mass b.

    Parameters
    ----------
    gains : array-like of shape (n_samples,)
        What a right label of each row is worth; finite, not negative.
    n_queries : int
        b in [1, n_samples].

    Returns
    -------
    inclusion : ndarray of shape (n_samples,)
        Inclusion probabilities in [0, 1] that sum to b; dtype of the gains. Where
        b exceeds the number of positive gains the rest is spread evenly over the
        rows without gain.

    Examples
    --------
    >>> from skadistill.query import regret_distribution
    >>> regret_distribution([1.0, 0.5, 0.25], n_queries=1).round(3)
    array([0.667, 0.333, 0.   ])
    """
    gains, _, _ = as_gains(gains)
    return regret_inclusion(RowBlocks([gains]), n_queries).gather()


def regret_inclusion(gains, n_queries):
    """Solve the regret game as `regret_distribution` does, where the gains live.

    Parameters
    ----------
    gains : RowBlocks
        Checked gains.
    n_queries : int
        b in [1, n_samples].

    Returns
    -------
    inclusion : RowBlocks
        Inclusion probabilities that sum to b.
    """
    n_samples = gains.n_samples
    n_queries = check_queries(n_queries, n_samples)
    low, high = check_gains(gains)
    if n_queries == n_samples:
        return gains.transform(_Even(gains.dtype.type(1)))
    n_positive = n_samples if low > 0 else sum(gains.map(count_positive))
    if n_queries >= n_positive:
        rest = (n_queries - n_positive) / (n_samples - n_positive)
        return gains.transform(_GainsFirst(rest))
    level = solve_level(gains, low, high, float(n_queries))[0]
    return gains.transform(_RegretPlay(level))


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
        inclusion = inverse_above(gains, self.bound, self.scale)
        np.minimum(inclusion, gains.dtype.type(1.0 / self.n_queries), out=inclusion)
        return np.multiply(inclusion, gains.dtype.type(self.n_queries), out=inclusion)

    def fits_cap(self, gains):
        """Tell whether no row is to be drawn with more than certainty."""
        cap = 1.0 / self.n_queries
        # The row of the least gain is drawn most; often a guess at it is enough.
        least = np.nextafter(gains.dtype.type(self.bound), gains.dtype.type(np.inf))
        if fits_cap(self._largest(least), cap, gains.dtype):
            return True
        least = gains.dtype.type(min(gains.map(_least_above, self.bound)))
        return fits_cap(self._largest(least), cap, gains.dtype)

    def _largest(self, least):
        return float(inverse_above(np.array([least]), self.bound, self.scale)[0])


def _least_above(gains, bound):
    """Return the smallest gain above a bound, infinity where there is none."""
    bound, infinite = gains.dtype.type(bound), gains.dtype.type(np.inf)
    least = (np.where(g > bound, g, infinite).min() for g in stretches(gains))
    return float(min(least))


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
        buffer = np.empty(min(BLOCK_ROWS, gains.shape[0]), dtype=np.float64)
        for block, part in zip(stretches(gains), stretches(inclusion), strict=True):
            # In float64: single precision loses a q much smaller than 1.
            terms = buffer[: block.shape[0]]
            np.copyto(terms, block)
            np.maximum(terms, self.level, out=terms)
            np.divide(self.level, terms, out=terms)
            np.subtract(1.0, terms, out=part)
        return inclusion
