"""The robust game: which rows to ask about when the teacher may be wrong anywhere.

Row i of the pool is worth its gain g_i if the teacher labels it correctly. An
adversary chooses the rows on which the teacher is wrong. What the sampler can
guarantee, whatever the adversary does, is the value of the game.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from skadistill.query._game.capped import solve_capped, solve_capped_with_losses
from skadistill.query._game.level import (
    NEGLIGIBLE,
    as_gains,
    check_mistakes,
    check_queries,
    iter_blocks,
    solve_level,
)

__all__ = ["GameSolution", "robust_distribution", "worst_case_value"]


@dataclass(frozen=True, eq=False)
class GameSolution:
    """Hold a sampler's optimal strategy."""

    p: np.ndarray
    value: float
    n_support: int

    @cached_property
    def support(self):
        """Positions of the rows with positive probability, ascending."""
        return np.flatnonzero(self.p)


def robust_distribution(
    gains: Any,
    n_mistakes: float,
    n_queries: int = 1,
    *,
    losses: Any = None,
) -> GameSolution:
    """Solve the game against a teacher that is wrong on `n_mistakes` rows.

    The sampler draws rows from p; the adversary makes the teacher wrong on at
    most m rows; a wrong label is worth nothing, or ``-losses[i]``::

        V = max_p min_{|M| <= m} sum_{i not in M} p_i g_i = max_k (k - m) / H_k,

    with H_k the sum of 1/g over the k largest gains. The optimum has p_i
    proportional to 1/g_i on the support {g_i > V} and 0 elsewhere. When b rows are
    drawn without replacement no p_i may exceed 1/b; if that cap binds, the capped
    game is solved.

    Parameters
    ----------
    gains : array-like of shape (n_samples,)
        What a correct label of each row is worth; finite, not negative.
    n_mistakes : float
        m in [0, n_samples), real. 0 puts all mass on the largest gain (ties share
        it); m toward the number of positive gains spreads p over all of them in
        proportion to 1/g.
    n_queries : int, default=1
        b in [1, n_samples], the rows to draw: every p_i is at most 1/b, so that
        ``b * p`` are inclusion probabilities.
    losses : array-like of shape (n_samples,) or None, default=None
        What a wrong label of each row costs, not negative. None: it costs nothing.

    Returns
    -------
    solution : GameSolution
        The distribution ``p``, its ``support`` and the ``value`` it guarantees.

    Raises
    ------
    ValueError
        If a gain or loss is negative or not finite, or m or b is out of range.

    Notes
    -----
    The plain game takes a few passes over the gains. With losses, or if the cap
    binds, the gains are sorted, in O(n log n) time and O(n) memory. Rows of equal
    gain (and loss) get equal probability. Mass that does not raise the guarantee,
    for example because m exceeds the number of rows with a gain, is spread over
    the rows that are below the cap.

    References
    ----------
    .. [1] Baykal, Trinh, Iliopoulos, Menghani, Vee. "Robust Active Distillation."
       ICLR 2023, arXiv:2210.01213.

    Examples
    --------
    >>> from skadistill.query.game import robust_distribution
    >>> game = robust_distribution([1.0, 0.5, 0.25], n_mistakes=1)
    >>> game.p.round(3), round(game.value, 3), game.support
    (array([0.333, 0.667, 0.   ]), 0.333, array([0, 1]))
    >>> robust_distribution([1.0, 0.5, 0.25], n_mistakes=0, n_queries=2).p
    array([0.5, 0.5, 0. ])
    """
    gains, low, high, exponent = as_gains(gains)
    n_samples = gains.shape[0]
    n_mistakes = check_mistakes(n_mistakes, n_samples)
    n_queries = check_queries(n_queries, n_samples)
    if losses is not None:
        losses = _check_losses(losses, n_samples)
        return _solve_with_losses(gains, exponent, n_mistakes, n_queries, losses)
    if high == 0:
        # No row is worth anything: every play guarantees 0, the even one is fair.
        even = np.full(n_samples, 1 / n_samples, dtype=gains.dtype)
        return GameSolution(even, 0.0, n_samples)
    solution = _solve_plain(gains, low, high, n_mistakes, n_queries)
    return replace(solution, value=float(np.ldexp(solution.value, exponent)))


def _check_losses(losses, n_samples):
    """Return what wrong labels cost as float64, one value per row."""
    losses = np.asarray(losses, dtype=np.float64)
    if losses.shape != (n_samples,) or not (np.isfinite(losses) & (losses >= 0)).all():
        raise ValueError(
            f"losses must be finite, not negative and of shape ({n_samples},), got "
            f"shape {losses.shape} with minimum {losses.min() if losses.size else None}"
            "; pass what a wrong label costs for each row."
        )
    return losses


def _solve_plain(gains, low, high, n_mistakes, n_queries):
    """Solve the game in which a wrong label costs nothing, by the water level.

    Against p the adversary corrupts the m rows with the largest p_i g_i. Equal
    stakes p_i g_i = theta on a set of k rows leave it (k - m) theta, and p sums to
    1 if theta = 1 / H_k: the value is max_k (k - m) / H_k, which is the water level
    of mass m (see `level.py`). A row with g_i <= V is not worth its mass: mass
    moved to it from the others is worth at most g_i there and at least V here.
    """
    level = solve_level(gains, low, high, n_mistakes)
    scale = 1.0 / level.inverse_sum
    if not _fits_cap(gains, level.bound, scale, n_queries):
        p, value = solve_capped(gains, high, n_mistakes, n_queries)
        return GameSolution(p, value, int(np.count_nonzero(p)))
    p = _inverse_above(gains, level.bound, scale)
    if n_queries > 1:
        np.minimum(p, gains.dtype.type(1.0 / n_queries), out=p)
    return GameSolution(p, level.value, level.n_support)


def _fits_cap(gains, bound, scale, n_queries):
    """Tell if all p_i = scale / g_i on {g > bound} are at most 1/b."""
    if n_queries == 1:
        return True
    # The row of the smallest gain is drawn most. No gain is smaller than the next
    # number above the bound: if even that one fits, no pass over the gains is needed.
    infinite = gains.dtype.type(np.inf)
    bound = gains.dtype.type(bound)
    least = np.nextafter(bound, infinite)
    if _is_at_most(_inverse_above(np.array([least]), bound, scale), n_queries):
        return True
    least = min(np.where(g > bound, g, infinite).min() for g in iter_blocks(gains))
    return _is_at_most(_inverse_above(np.array([least]), bound, scale), n_queries)


def _is_at_most(p, n_queries):
    """Tell if no p exceeds 1/b by more than the rounding of its dtype."""
    return float(p.max()) <= 1.0 / n_queries * (1 + 8 * float(np.finfo(p.dtype).eps))


def _inverse_above(gains, bound, scale):
    """Return scale / g for each g > bound, else 0, in the dtype of the gains.

    The bound is at least 0 and exact in that dtype; no result exceeds 1.
    """
    out = np.empty_like(gains, order="C")
    exact = gains.dtype.type
    # No p exceeds 1, so no g in the support is below the scale: with this floor
    # nothing overflows. The smallest float32 lose digits: lift them, exactly.
    lift = exact(2.0**64 if scale < 2.0**-60 and gains.dtype == np.float32 else 1.0)
    floor = exact(max(float(bound), scale) * float(lift))
    scale = exact(scale * float(lift))
    with np.errstate(over="ignore"):
        for block, part in zip(iter_blocks(gains), iter_blocks(out), strict=True):
            if lift != 1:
                np.maximum(np.multiply(block, lift, out=part), floor, out=part)
            else:
                np.maximum(block, floor, out=part)
            np.divide(scale, part, out=part)
            part *= block > bound
    return out


def _solve_with_losses(gains, exponent, n_mistakes, n_queries, losses):
    """Solve the game in which a wrong label of row i costs losses[i].

    The gains are given in the unit ``2**exponent``, the losses are not.
    """
    gains64 = gains.astype(np.float64)
    # Play in a unit in which the largest of both is about 1. A power of two changes
    # no digit; gains and losses that are too small to be inverted count as nothing.
    largest = ((gains64.max(), exponent), (losses.max(), 0))
    unit = max((int(np.frexp(x)[1]) + e for x, e in largest if x), default=0)
    gains64 = np.ldexp(gains64, exponent - unit)
    losses = np.ldexp(losses, -unit)
    for stakes in (gains64, losses):
        stakes[stakes < NEGLIGIBLE] = 0.0
    p, value = _solve_free_with_losses(gains64, n_mistakes, losses)
    p = p.astype(gains.dtype, copy=False)
    if _is_at_most(p, n_queries):
        np.minimum(p, gains.dtype.type(1.0 / n_queries), out=p)
    else:
        p, value = solve_capped_with_losses(gains64, n_mistakes, n_queries, losses)
        p = p.astype(gains.dtype, copy=False)
    return GameSolution(p, float(np.ldexp(value, unit)), int(np.count_nonzero(p)))


def _solve_free_with_losses(gains, n_mistakes, losses):
    """Solve the game with losses and without a cap.

    With w = g + l a wrong label of row i takes away p_i w_i. Equal stakes
    p_i w_i = theta on the k rows of the largest gains leave (G_k - m) theta, where
    G_k sums g/w, and p sums to 1 if theta = 1 / H_k, where H_k sums 1/w:
    V = max_k (G_k - m) / H_k.
    """
    order = np.argsort(-gains, kind="stable")
    weights = (gains + losses)[order]
    p = np.zeros(gains.shape[0], dtype=np.float64)
    usable = weights > 0
    order, weights = order[usable], weights[usable]
    value, n_best = -np.inf, 0
    if order.shape[0]:
        values = (np.cumsum(gains[order] / weights) - n_mistakes) / np.cumsum(
            1.0 / weights
        )
        best = int(np.argmax(values))
        value = float(values[best])
        # Rows that tie with the last one gain or lose nothing: they share.
        n_best = int(np.searchsorted(-gains[order], -gains[order[best]], side="right"))
    least = float(losses.min())
    if value <= -least:
        # The adversary can make every row that is drawn wrong, at the cost of its
        # loss: the rows of the smallest loss are the best there is.
        p[losses == least] = 1.0
        value = -least
    else:
        p[order[:n_best]] = 1.0 / weights[:n_best]
    p /= p.sum()
    return p, value


def worst_case_value(p, gains, n_mistakes, *, losses=None):
    """Return the expected worth of one draw after the worst m labels went wrong.

    A fractional part of `n_mistakes` corrupts one row partly.
    """
    p = np.asarray(p, dtype=np.float64)
    gains = np.asarray(gains, dtype=np.float64)
    at_stake = p * gains
    total = at_stake.sum()
    if losses is not None:
        at_stake = p * (gains + np.asarray(losses, dtype=np.float64))
    # The adversary takes the rows of the largest stakes, and a part of the next.
    ranked = np.sort(at_stake)[::-1]
    whole = int(n_mistakes)
    lost = ranked[:whole].sum()
    if whole < ranked.shape[0]:
        lost += (n_mistakes - whole) * ranked[whole]
    return float(total - lost)
