"""The game of Robust Active Distillation: mistakes of the teacher anywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from skadistill._utils.compat import Interval, StrOptions, validate_parameters
from skadistill.query._base import QueryStrategy, summarize_gains
from skadistill.query._game.draw import fixed_size_sample
from skadistill.query._game.regret import regret_inclusion
from skadistill.query._game.robust import robust_distribution
from skadistill.query._measures import MEASURES, as_measure

__all__ = ["RADSampler"]


class RADSampler(QueryStrategy):
    """Draw rows that are informative and likely to be labeled correctly.

    The sampler has an adversary. The adversary makes the teacher wrong
    on m rows of the pool. The sampler chooses the probability of asking about each
    row, so that the expected gain from correct labels is largest in the worst case.
    The optimum draws rows with p_i proportional to 1/g_i among the rows whose gain
    exceeds the water level. The rows that the student is least certain about are asked
    about too, but they are drawn least often: on them the adversary gains most.

    Parameters
    ----------
    n_mistakes : "auto", float or None, default="auto"
        m, the number of rows still in the pool that the teacher may get wrong.
        "auto": its estimated error rate times the rows in the pool, or the regret
        game if the rate is unknown. A number is used as it is in every round.
        None: always the regret game, which needs no m.
    gain : {"margin", "entropy", "least_confident"} or callable, default="margin"
        What a correct label is worth, from the student's probabilities; a callable
        takes (n_block, n_classes) and returns (n_block,), not negative.
    wrong_label_cost : float, default=0.0
        What a wrong label costs, not negative, in units of the largest gain; 0 is
        the game of the paper, in which a wrong label is worth nothing. The regret
        game has no such cost.

    See Also
    --------
    skadistill.query.game.robust_distribution : The game on its own.
    UncertaintySampler : The greedy choice this one protects against.

    Notes
    -----
    Without replacement: inclusion probabilities are n_queries * p, drawn exactly
    by systematic sampling; if one would exceed 1, the capped game is solved.
    The sampler assumes nothing about which rows the teacher gets wrong. If the teacher
    is never wrong, `UncertaintySampler` asks about more informative rows.

    References
    ----------
    .. [1] Baykal, Trinh, Iliopoulos, Menghani, Vee. "Robust Active Distillation."
       ICLR 2023, arXiv:2210.01213. The form of the game, its exact solution by the
       water level, the capped, costly and regret variants and the estimate of m
       are this package's (see the errata page).

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import QueryPool, RADSampler
    >>> proba = np.random.default_rng(0).dirichlet([1, 1, 1], size=50)
    >>> pool = QueryPool.from_proba(proba, teacher_error=0.2)
    >>> rows = RADSampler().query(pool, 5, np.random.default_rng(1))
    >>> rows.shape, sorted(pool.report)
    ((5,), ['gain_max', 'gain_mean', 'n_mistakes', 'n_support', 'water_level'])
    """

    _parameter_constraints: dict = {
        "n_mistakes": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="left"),
            None,
        ],
        "gain": [StrOptions(set(MEASURES)), callable],
        "wrong_label_cost": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_mistakes: str | float | None = "auto",
        *,
        gain: str | Callable[..., Any] = "margin",
        wrong_label_cost: float = 0.0,
    ) -> None:
        self.n_mistakes = n_mistakes
        self.gain = gain
        self.wrong_label_cost = wrong_label_cost

    @property
    def needs_teacher_error(self) -> Any:
        """Whether m comes from the teacher's error rate."""
        return self.n_mistakes == "auto"

    def query(self, pool: Any, n_queries: Any, random_state: Any) -> Any:
        validate_parameters(self)
        gains = pool.map_proba(_NotNegative(as_measure(self.gain)))
        n_mistakes = self._count_mistakes(pool)
        pool.report |= summarize_gains(gains) | {"n_mistakes": n_mistakes}
        if n_queries >= pool.n_samples:
            return np.arange(pool.n_samples)
        inclusion = self._inclusion(gains, n_mistakes, n_queries, pool.report)
        pool.inclusion = inclusion
        return fixed_size_sample(inclusion, random_state)

    def _count_mistakes(self, pool):
        n_mistakes = self.n_mistakes
        if n_mistakes == "auto" and pool.teacher_error is not None:
            n_mistakes = pool.teacher_error * pool.n_samples
        if n_mistakes in ("auto", None):
            return None
        # Below n, for which the game has no answer: every label would be wrong.
        return min(float(n_mistakes), np.nextafter(pool.n_samples, 0))

    def _inclusion(self, gains, n_mistakes, n_queries, report):
        """Solve the game for inclusion probabilities that sum to n_queries."""
        if n_mistakes is None:
            return regret_inclusion(gains, n_queries)
        loss = self.wrong_label_cost * report["gain_max"]
        losses = np.full_like(gains, loss) if loss else None
        game = robust_distribution(gains, n_mistakes, n_queries, losses=losses)
        report["water_level"], report["n_support"] = game.value, game.n_support
        # In place: a pool of 1e9 rows needs no third array of 4 GB.
        return np.multiply(game.p, game.p.dtype.type(n_queries), out=game.p)


@dataclass(frozen=True)
class _NotNegative:
    """Keep rounding from making gains negative; pickled to wherever the pool is."""

    gain: Callable

    def __call__(self, proba):
        # A sum of float32 probabilities may exceed 1 by rounding.
        return np.maximum(self.gain(proba), 0.0)
