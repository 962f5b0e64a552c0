"""The game behind the robust sampler, on arrays of gains.

Row i of the pool is worth its gain g_i when the teacher labels it rightly. An
adversary chooses where the teacher is wrong. What the sampler can guarantee
whatever the adversary does is the value of the game: the water level.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skadistill.query._blocks import RowBlocks
from skadistill.query._gains import as_gains, check_losses, check_mistakes
from skadistill.query._level import inverse_above, solve_level

__all__ = ["GameSolution", "fits_cap", "robust_distribution", "worst_case_value"]


@dataclass(frozen=True, eq=False)
class GameSolution:
    """Hold a sampler's optimal play.

    Parameters
    ----------
    p : ndarray of shape (n_samples,)
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


def robust_distribution(gains, n_mistakes, *, losses=None):
    """Solve the game against a teacher that is wrong on `n_mistakes` rows.

    The sampler draws one row from p; the adversary makes the teacher wrong on at
    most m rows; a wrong label is worth nothing, or ``-losses[i]``::

        V = max_p min_{|M| <= m} sum_{i not in M} p_i g_i = max_k (k - m) / H_k,

    with H_k the sum of 1/g over the k largest gains. The optimum has p_i
    proportional to 1/g_i on the support {g_i > V} and 0 elsewhere.

    Parameters
    ----------
    gains : array-like of shape (n_samples,)
        What a right label of each row is worth; finite, not negative.
    n_mistakes : float
        m in [0, n_samples), real. 0 puts all mass on the largest gain (ties share
        it); m toward the number of positive gains spreads p over all of them in
        proportion to 1/g.
    losses : array-like of shape (n_samples,) or None, default=None
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
    gains, low, high = as_gains(gains)
    n_mistakes = check_mistakes(n_mistakes, gains.shape[0])
    if losses is not None:
        return _costly_distribution(gains, n_mistakes, losses)
    if high == 0:
        # No row is worth anything: every play guarantees 0, the even one is fair.
        n = gains.shape[0]
        return GameSolution(np.full(n, 1 / n, dtype=gains.dtype), 0.0, n)
    level, bound, count, inverse_sum = solve_level(
        RowBlocks([gains]), low, high, n_mistakes
    )
    return GameSolution(inverse_above(gains, bound, 1.0 / inverse_sum), level, count)


def _costly_distribution(gains, n_mistakes, losses):
    """Solve the game in which a wrong label of row i is worth -losses[i].

    With w = g + l and rows sorted by gain, V = max_k (G_k - m) / H_k where G_k
    sums g/w and H_k sums 1/w; it never pays to go below the least loss.
    """
    losses = check_losses(losses, gains)
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


def fits_cap(largest, cap, dtype):
    """Tell whether p_i <= 1/b holds up to the rounding of the gains' dtype.

    Parameters
    ----------
    largest : float
        The largest probability.
    cap : float
        1/b.
    dtype : dtype
        Of the gains.

    Returns
    -------
    fits : bool
        Whether no row would be drawn with more than certainty.
    """
    return largest <= cap * (1 + 8 * float(np.finfo(dtype).eps))


def worst_case_value(p, gains, n_mistakes, *, losses=None):
    """Compute what a distribution guarantees against the worst wrong rows.

    Parameters
    ----------
    p : array-like of shape (n_samples,)
        Probability of drawing each row.
    gains : array-like of shape (n_samples,)
        What a right label of each row is worth.
    n_mistakes : float
        m in [0, n_samples]; a fractional part corrupts one row partly.
    losses : array-like of shape (n_samples,) or None, default=None
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
