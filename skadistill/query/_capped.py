"""The game when no row may be drawn twice."""

import numpy as np

from skadistill.query._gains import (
    as_gains,
    check_losses,
    check_mistakes,
    check_queries,
)
from skadistill.query._game import GameSolution, fits_cap, robust_distribution

__all__ = ["capped_distribution", "solve_capped"]

_DUST = 1e-14  # mass that rounding leaves over, not worth a row


def capped_distribution(gains, n_mistakes, n_queries, *, losses=None):
    """Solve the game when no row may be drawn twice: every p_i is at most 1/b.

    For a fixed threshold theta the best play fills rows in descending gain up to
    min(1/b, theta/g_i) until the mass is 1; what it guarantees,
    sum_i min(g_i p_i, theta) - m theta, is concave in theta, so a golden-section
    search finds the optimum.

    Parameters
    ----------
    gains : array-like of shape (n_samples,)
        What a right label of each row is worth; finite, not negative.
    n_mistakes : float
        m in [0, n_samples).
    n_queries : int
        b in [1, n_samples], the rows to draw; the cap is 1/b.
    losses : array-like of shape (n_samples,) or None, default=None
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
    gains, _, high = as_gains(gains)
    n = gains.shape[0]
    n_mistakes = check_mistakes(n_mistakes, n)
    n_queries = check_queries(n_queries, n)
    free = robust_distribution(gains, n_mistakes, losses=losses)
    cap = 1.0 / n_queries
    if fits_cap(float(free.p.max()), cap, gains.dtype):
        p = np.minimum(free.p, gains.dtype.type(cap), out=free.p)
        return GameSolution(p, free.value, free.n_support)
    if losses is not None:
        return _capped_costly(gains, n_mistakes, cap, check_losses(losses, gains))
    return solve_capped(gains, high, n_mistakes, n_queries)


def solve_capped(gains, high, n_mistakes, n_queries):
    """Solve the game where the cap is known to bind and wrong labels cost nothing.

    Parameters
    ----------
    gains : ndarray of shape (n_samples,)
        Checked gains.
    high : float
        The largest of them, not 0.
    n_mistakes : float
        m in [0, n_samples).
    n_queries : int
        b in [1, n_samples].

    Returns
    -------
    solution : GameSolution
        As from `capped_distribution`.
    """
    n, cap = gains.shape[0], 1.0 / n_queries
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
    """Maximize a concave function on [low, high]."""
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
