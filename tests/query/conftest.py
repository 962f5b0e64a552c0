"""What the tests of several strategies need."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from skadistill.query import QueryPool
from skadistill.query._base import check_query

# The simulations have fixed seeds; redrawn, a correct sampler would fail one of
# them with probability at most ALPHA (binomial tails, Bonferroni over the rows).
ALPHA = 1e-6


class BlockPool(QueryPool):
    """Show a table of probabilities in blocks, as the loop does."""

    def __init__(self, proba, block=7, **known):
        self.table = np.asarray(proba)
        self.block = block
        n_samples, n_classes = self.table.shape
        super().__init__(n_samples, np.arange(n_classes), **known)

    def _iter_proba(self, function):
        for start in range(0, self.n_samples, self.block):
            yield function(self.table[start : start + self.block])

    def _iter_rows(self, function):
        raise NotImplementedError

    _take_pool = _take_labeled = _iter_rows


def ask(strategy, proba, n_queries, seed=0, **known):
    """Return a strategy's answer, checked against the contract."""
    pool = BlockPool(proba, **known)
    positions = strategy.query(pool, n_queries, np.random.default_rng(seed))
    return check_query(positions, pool.n_samples, n_queries, strategy)


def assert_marginals(strategy, proba, n_queries, inclusion, n_draws=1_000, **known):
    """Check by simulation that row i is asked with probability inclusion[i]."""
    pool = BlockPool(proba, **known)
    rng = np.random.default_rng(0)
    counts = np.zeros(pool.n_samples)
    for _ in range(n_draws):
        counts[strategy.query(pool, n_queries, rng)] += 1
    inclusion = np.clip(np.asarray(inclusion, dtype=np.float64), 0, 1)
    level = ALPHA / (2 * pool.n_samples)
    assert (stats.binom.cdf(counts, n_draws, inclusion) >= level).all()
    assert (stats.binom.sf(counts - 1, n_draws, inclusion) >= level).all()


@pytest.fixture
def tools():
    """Helpers that the files of this folder share."""
    return SimpleNamespace(
        BlockPool=BlockPool, ask=ask, assert_marginals=assert_marginals
    )
