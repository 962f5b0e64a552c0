"""The rows of one round: a uniform share, the strategy's own, and what they show."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from skadistill._statistics.intervals import estimate_share
from skadistill.exceptions import QueryStrategyError
from skadistill.query._base import check_query

__all__ = ["Chosen", "RoundDraw", "draw_round"]


@dataclass(frozen=True, eq=False)
class RoundDraw:
    """Hold the rows of a round, and how probable it was to draw them."""

    positions: np.ndarray
    uniform: np.ndarray
    inclusion: np.ndarray | None
    n_pool: int

    def part(self, n_rows, rng):
        """Keep some rows, drawn at random: a round that the budget cuts short."""
        n_drawn = len(self.positions)
        kept = np.sort(rng.permutation(n_drawn)[:n_rows])
        inclusion = self.inclusion
        if inclusion is not None:
            inclusion = inclusion[kept] * (n_rows / n_drawn)
        return replace(
            self,
            positions=self.positions[kept],
            uniform=self.uniform[kept],
            inclusion=inclusion,
        )

    def estimate(self, hits, answered, n_other=0, n_other_hits=0):
        """Estimate in which share of the rows something holds."""
        used = answered & (self.uniform if self.inclusion is None else True)
        if not used.any():
            return None
        if self.inclusion is None:
            # Of the rows that were asked for, with an answer or without.
            inclusion = np.full(used.sum(), self.uniform.sum() / self.n_pool)
        else:
            inclusion = self.inclusion[used]
        estimate = estimate_share(hits[used], inclusion)
        return estimate.with_known(self.n_pool, n_other, n_other_hits)

    @property
    def even(self):
        """Mask of the rows drawn that are a simple random sample of the pool."""
        if self.inclusion is not None and np.ptp(self.inclusion) == 0:
            return np.ones(len(self.positions), dtype=bool)
        return self.uniform


class Chosen(NamedTuple):
    """Rows to ask for, and how they were drawn if they show something of the pool."""

    rows: np.ndarray
    draw: RoundDraw | None = None


def draw_round(strategy, view, n_queries, *, uniform_share, rng, uniform_rng):
    """Draw the rows of a round: some evenly from the pool, the rest by a strategy."""
    n_pool = view.n_samples
    n_queries = min(n_queries, n_pool)
    n_uniform = round(uniform_share * n_queries)
    n_chosen = n_queries - n_uniform
    chosen = np.empty(0, dtype=np.int64)
    if n_chosen:
        chosen = strategy.query(view, n_chosen, rng)
        chosen = check_query(chosen, n_pool, n_chosen, strategy)
    # At most n_chosen of the rows on top are in S.
    order = uniform_rng.choice(n_pool, n_queries, replace=False)
    others = order[~np.isin(order, chosen)][:n_uniform]
    positions = np.sort(np.concatenate([chosen, others]))
    inclusion = None
    if n_queries == n_pool:
        inclusion = np.ones(n_pool)
    elif not n_chosen or view.inclusion is not None:
        q = np.zeros(n_queries)
        if n_chosen:
            named = _check_inclusion(view.inclusion, n_pool, chosen, strategy)
            q = named[positions].astype(np.float64).clip(0.0, 1.0)
        inclusion = q + (1.0 - q) * (n_uniform / (n_pool - n_chosen))
    uniform = np.isin(positions, order[:n_uniform])
    return RoundDraw(positions, uniform, inclusion, n_pool)


def _check_inclusion(inclusion, n_pool, chosen, strategy):
    """Return the probabilities that a strategy names, if they can be those."""
    shape, n_chosen = np.shape(inclusion), len(chosen)
    if shape in ((), (n_pool,)):
        q = np.broadcast_to(inclusion, n_pool)
        total = float(q.sum(dtype=np.float64))
        # Rounding: the sum of a large pool in float32 is off by some parts in 1e4.
        if abs(total - n_chosen) <= 1e-3 * n_chosen + 1e-3 and q[chosen].min() > 0:
            return q
        what = f"sum to {total:g} and are {q[chosen].min():g} for a row that was drawn"
    else:
        what = f"have shape {shape}"
    raise QueryStrategyError(
        f"the query strategy {type(strategy).__name__} set a pool.inclusion whose "
        f"values {what}, in a draw of {n_chosen} of {n_pool} rows; "
        "set the probability that each row is drawn, or None."
    )
