"""The strategies known by name: robust (default), margin, entropy, random, ..."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import numpy as np

from skadistill.query._base import QueryStrategy, ScoreStrategy, summarize_gains
from skadistill.query._draw import draw_rows
from skadistill.query._inclusion import regret_inclusion, robust_inclusion

__all__ = [
    "EntropySampler",
    "LeastConfidentSampler",
    "MarginSampler",
    "RandomSampler",
    "RobustSampler",
    "entropy_gain",
    "least_confident_gain",
    "margin_gain",
]


def margin_gain(proba):
    """Compute 1 minus the gap between the two largest probabilities of each row.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Rows of probabilities, at least two classes.

    Returns
    -------
    gain : ndarray of shape (n_samples,)
        In [0, 1]; 1 where the two first classes tie.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import margin_gain
    >>> margin_gain(np.array([[0.75, 0.25], [0.5, 0.5]]))
    array([0.5, 1. ])
    """
    if proba.shape[1] == 2:
        return 1.0 - np.abs(proba[:, 0] - proba[:, 1])
    if proba.shape[1] > 16:
        top = np.partition(proba, -2, axis=1)[:, -2:]
        return 1.0 - (top[:, 1] - top[:, 0])
    # Class by class: several times faster than partitioning short rows.
    first = proba[:, 0].copy()
    second = np.full_like(first, -np.inf)
    for column in proba.T[1:]:
        np.maximum(second, np.minimum(first, column), out=second)
        np.maximum(first, column, out=first)
    return 1.0 - (first - second)


def entropy_gain(proba):
    """Compute the Shannon entropy of each row, in nats.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Rows of probabilities.

    Returns
    -------
    gain : ndarray of shape (n_samples,)
        In [0, log(n_classes)].

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import entropy_gain
    >>> entropy_gain(np.array([[1.0, 0.0], [0.5, 0.5]])).round(3)
    array([0.   , 0.693])
    """
    safe = np.maximum(proba, np.finfo(proba.dtype).tiny)
    return np.maximum(-(proba * np.log(safe)).sum(axis=1), 0.0)


def least_confident_gain(proba):
    """Compute 1 minus the largest probability of each row.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Rows of probabilities.

    Returns
    -------
    gain : ndarray of shape (n_samples,)
        In [0, 1 - 1 / n_classes].

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import least_confident_gain
    >>> least_confident_gain(np.array([[0.75, 0.25]]))
    array([0.25])
    """
    return 1.0 - proba.max(axis=1)


_GAINS = {
    "margin": margin_gain,
    "entropy": entropy_gain,
    "least_confident": least_confident_gain,
}


class RobustSampler(QueryStrategy):
    """Draw rows that are informative and likely to be labeled rightly.

    The sampler and an adversary play a game: the adversary makes the teacher wrong
    on m rows of the pool, the sampler chooses with which probability to ask for
    each row so that the expected gain from right labels is largest in the worst
    case. The optimum draws rows with p_i proportional to 1/g_i among the rows
    whose gain exceeds the water level, so rows the student finds hardest, on which
    the teacher too is most often wrong, are asked about but not only those.

    Parameters
    ----------
    n_mistakes : "auto", float or None, default="auto"
        m, the number of rows still in the pool on which the teacher may be wrong.
        "auto": its estimated error rate times the rows in the pool, and the regret
        game where the rate is unknown. A number is used as it is in every round.
        None: always the regret game, which needs no m.
    gain : {"margin", "entropy", "least_confident"} or callable, default="margin"
        What a right label is worth, from the student's probabilities; a callable
        takes (n_block, n_classes) and returns (n_block,), not negative.
    wrong_label_cost : float, default=0.0
        What a wrong label costs, not negative, in units of the largest gain; 0 is
        the game of the paper, in which a wrong label is worth nothing. The regret
        game knows no such cost.

    See Also
    --------
    skadistill.query.robust_distribution : The game on its own.
    MarginSampler : The greedy choice this one protects against.

    Notes
    -----
    Without replacement: inclusion probabilities are n_queries * p, drawn exactly
    by systematic sampling; where that would exceed 1 the capped game is solved.
    The sampler assumes nothing about where the teacher is wrong. Where the teacher
    is never wrong, `MarginSampler` asks for more informative rows.

    References
    ----------
    .. [1] Baykal, Trinh, Iliopoulos, Menghani, Vee. "Robust Active Distillation."
       ICLR 2023, arXiv:2210.01213. The form of the game, its exact solution by the
       water level, the capped, costly and regret variants and the estimate of m
       are this package's (see the errata page).

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import QueryPool, RobustSampler
    >>> proba = np.random.default_rng(0).dirichlet([1, 1, 1], size=50)
    >>> pool = QueryPool(50, np.arange(3), lambda: iter([proba]), teacher_error=0.2)
    >>> rows = RobustSampler().query(pool, 5, np.random.default_rng(1))
    >>> rows.shape, sorted(pool.report)
    ((5,), ['gain_max', 'gain_mean', 'n_mistakes', 'n_support', 'water_level'])
    """

    def __init__(self, n_mistakes="auto", *, gain="margin", wrong_label_cost=0.0):
        self.n_mistakes = n_mistakes
        self.gain = gain
        self.wrong_label_cost = wrong_label_cost

    @property
    def needs_teacher_error(self):
        """Whether m comes from the teacher's error rate."""
        return self.n_mistakes == "auto"

    def query(self, pool, n_queries, random_state):
        gains = pool.row_blocks(_NotNegative(self._gain_function()))
        n_mistakes = self._count_mistakes(pool)
        if not self.wrong_label_cost >= 0:
            raise ValueError(
                f"wrong_label_cost must not be negative, got {self.wrong_label_cost}; "
                "pass what a wrong label costs in units of the largest gain."
            )
        pool.report |= summarize_gains(gains) | {"n_mistakes": n_mistakes}
        if n_queries >= pool.n_samples:
            return np.arange(pool.n_samples)
        inclusion = self._inclusion(gains, n_mistakes, n_queries, pool.report)
        return draw_rows(inclusion, random_state)

    def _gain_function(self):
        if callable(self.gain):
            return self.gain
        if self.gain not in _GAINS:
            raise ValueError(
                f"gain must be one of {sorted(_GAINS)} or a callable, got "
                f"{self.gain!r}; choose how informative rows are measured."
            )
        return _GAINS[self.gain]

    def _count_mistakes(self, pool):
        if self.n_mistakes is None:
            return None
        if isinstance(self.n_mistakes, Real):
            if self.n_mistakes < 0:
                raise ValueError(
                    f"n_mistakes must not be negative, got {self.n_mistakes}; pass the "
                    'number of rows the teacher may get wrong, "auto" or None.'
                )
            return min(float(self.n_mistakes), np.nextafter(pool.n_samples, 0))
        if self.n_mistakes != "auto":
            raise ValueError(
                f'n_mistakes must be "auto", a number or None, got '
                f"{self.n_mistakes!r}; pass the number of rows the teacher may get "
                "wrong."
            )
        if pool.teacher_error is None:
            return None
        return min(pool.teacher_error * pool.n_samples, np.nextafter(pool.n_samples, 0))

    def _inclusion(self, gains, n_mistakes, n_queries, report):
        """Turn the game's play into inclusion probabilities summing to n_queries."""
        if n_mistakes is None:
            return regret_inclusion(gains, n_queries)
        loss = 0.0
        if self.wrong_label_cost > 0:
            loss = self.wrong_label_cost * report["gain_max"]
        inclusion, report["water_level"], report["n_support"] = robust_inclusion(
            gains, n_mistakes, n_queries, loss=loss
        )
        return inclusion


@dataclass(frozen=True)
class _NotNegative:
    """Keep rounding from making gains negative; travels to workers.

    A sum of float32 probabilities may exceed 1 by rounding.
    """

    gain: Callable

    def __call__(self, proba):
        return np.maximum(self.gain(proba), 0.0)


class MarginSampler(ScoreStrategy):
    """Ask for the rows with the smallest gap between the student's top two classes.

    The classic greedy choice. It assumes that the teacher is right wherever it is
    asked; on rows near a class border teachers often are not.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import MarginSampler, QueryPool
    >>> proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> pool = QueryPool(3, np.array([0, 1]), lambda: iter([proba]))
    >>> MarginSampler().query(pool, 1, np.random.default_rng(0))
    array([1])
    """

    _scores_are_gains = True

    def __init__(self):
        pass

    def _scores(self, pool):
        return self._row_scores(pool, margin_gain)


class EntropySampler(ScoreStrategy):
    """Ask for the rows on which the student's prediction has the largest entropy.

    Like `MarginSampler` it assumes a teacher that is right wherever it is asked.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import EntropySampler, QueryPool
    >>> proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> pool = QueryPool(3, np.array([0, 1]), lambda: iter([proba]))
    >>> EntropySampler().query(pool, 1, np.random.default_rng(0))
    array([1])
    """

    _scores_are_gains = True

    def __init__(self):
        pass

    def _scores(self, pool):
        return self._row_scores(pool, entropy_gain)


class LeastConfidentSampler(ScoreStrategy):
    """Ask for the rows whose most likely class the student gives least probability.

    Like `MarginSampler` it assumes a teacher that is right wherever it is asked.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import LeastConfidentSampler, QueryPool
    >>> proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> pool = QueryPool(3, np.array([0, 1]), lambda: iter([proba]))
    >>> LeastConfidentSampler().query(pool, 1, np.random.default_rng(0))
    array([1])
    """

    _scores_are_gains = True

    def __init__(self):
        pass

    def _scores(self, pool):
        return self._row_scores(pool, least_confident_gain)


class RandomSampler(QueryStrategy):
    """Ask for rows drawn evenly from the pool: the baseline to beat.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import QueryPool, RandomSampler
    >>> pool = QueryPool(5, np.array([0, 1]), lambda: iter([]))
    >>> RandomSampler().query(pool, 2, np.random.default_rng(0)).shape
    (2,)
    """

    def query(self, pool, n_queries, random_state):
        return np.sort(random_state.choice(pool.n_samples, n_queries, replace=False))
