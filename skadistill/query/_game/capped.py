"""The robust game if no row may be drawn twice and the cap p_i <= 1/b binds.

Against p the adversary's best answer takes away the m largest stakes. By duality
that is the minimum over theta of m theta + sum_i max(w_i p_i - theta, 0), where
w_i is the gain plus the loss of row i. So the sampler maximizes, over p and theta
together,

    sum_i g_i p_i - sum_i max(w_i p_i - theta, 0) - m theta.

This is concave in both, so the best value for a fixed theta is concave in theta: a
golden-section search finds the optimum. For a fixed theta the best p is greedy.
"""

import numpy as np

__all__ = ["solve_capped", "solve_capped_with_losses"]

_DUST = 1e-14  # mass that rounding leaves over, not worth a row


def solve_capped(gains, high, n_mistakes, n_queries):
    """Solve the game in which wrong labels cost nothing."""
    n, cap = gains.shape[0], 1.0 / n_queries
    order = np.argsort(-gains.astype(np.float64), kind="stable")
    ranked = gains[order].astype(np.float64)
    n_positive = int(np.count_nonzero(ranked))
    positive = ranked[:n_positive]
    gain_sums = np.concatenate([[0.0], np.cumsum(positive)])
    inverse_sums = np.concatenate([[0.0], np.cumsum(1.0 / positive)])

    # Without losses w = g: a row is worth g_i per unit of mass up to theta / g_i and
    # nothing beyond. Fill the rows by descending gain up to min(1/b, theta / g_i)
    # until the mass is 1. The rows with g_i > theta b stop at theta / g_i and come
    # first, the others stop at the cap: with sums of gains and of inverses, a fill
    # is two binary searches.
    def fill(theta):
        """Count rows held at theta/g, rows held at the cap, and the remaining mass."""
        held = int(np.searchsorted(-positive, -theta * n_queries, side="left"))
        if theta * inverse_sums[held] >= 1:
            full = int(np.searchsorted(inverse_sums[: held + 1], 1.0 / theta, "right"))
            full -= 1
            return full, 0, max(1.0 - theta * inverse_sums[full], 0.0)
        left = 1.0 - theta * inverse_sums[held]
        capped = min(int(left * n_queries), n_positive - held)
        return held, capped, left - capped * cap

    def guarantee(theta):
        held, capped, left = fill(theta)
        value = held * theta + (gain_sums[held + capped] - gain_sums[held]) * cap
        if held + capped < n_positive and left > 0:
            value += min(left * positive[held + capped], theta)
        return value - n_mistakes * theta

    # With theta above g_max / b no row is held below the cap any more.
    theta = _golden_section(guarantee, 0.0, high * cap)
    held, capped, left = fill(theta)
    ranked_p = np.zeros(n)
    ranked_p[:held] = theta / positive[:held]
    ranked_p[held : held + capped] = cap
    if left > _DUST and held + capped < n_positive:
        extra = min(left, cap, theta / positive[held + capped])
        ranked_p[held + capped] = extra
        left -= extra
    unfilled = np.maximum(cap - ranked_p, 0.0)
    if left > _DUST and unfilled.any():
        # Mass the guarantee has no use for is spread below the cap.
        ranked_p += unfilled * (left / unfilled.sum())
    p = np.empty(n)
    p[order] = np.minimum(_share_ties(ranked_p, ranked), cap)
    return p.astype(gains.dtype, copy=False), float(max(guarantee(theta), 0.0))


def solve_capped_with_losses(gains, n_mistakes, n_queries, losses):
    """Solve the game in which a wrong label of row i costs losses[i]."""
    cap = 1.0 / n_queries
    order = np.lexsort((losses, -gains))
    ranked, ranked_losses = gains[order], losses[order]
    weights = ranked + ranked_losses
    by_loss = np.lexsort((-ranked, ranked_losses))

    def play(theta):
        # A row is worth g_i per unit of mass up to theta / w_i. Beyond that the
        # adversary takes it, and each unit is worth g_i - w_i = -l_i: fill by
        # descending gain first, then what is left by ascending loss.
        with np.errstate(divide="ignore", invalid="ignore"):
            held = np.where(weights * cap > theta, theta / weights, cap)
        p = _fill_in_order(held, 1.0)
        left = 1.0 - p.sum()
        if left > _DUST:
            p[by_loss] += _fill_in_order((cap - p)[by_loss], left)
        return p

    def guarantee(theta):
        p = play(theta)
        lost = np.maximum(weights * p - theta, 0.0).sum()
        return float(ranked @ p - lost - n_mistakes * theta)

    theta = _golden_section(guarantee, 0.0, float(weights.max()) * cap)
    p = np.empty(gains.shape[0])
    p[order] = np.minimum(_share_ties(play(theta), ranked, ranked_losses), cap)
    return p, guarantee(theta)


def _share_ties(values, *keys):
    """Average values over runs of equal keys."""
    # Averaging over permutations of equal rows never lowers a guarantee, which is
    # concave in p, and keeps the play free of the order of the rows.
    changes = np.zeros(values.shape[0], dtype=bool)
    changes[0] = True
    for key in keys:
        changes[1:] |= key[1:] != key[:-1]
    starts = np.flatnonzero(changes)
    counts = np.diff(starts, append=values.shape[0])
    return np.repeat(np.add.reduceat(values, starts) / counts, counts)


def _fill_in_order(limits, mass):
    """Fill each entry up to its limit, in order, until the mass is used up."""
    before = np.cumsum(limits)
    before -= limits
    return np.minimum(limits, np.maximum(mass - before, 0.0))


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
