"""Rows drawn evenly from the pool."""

from typing import Any

import numpy as np

from skadistill.query._base import QueryStrategy

__all__ = ["RandomSampler"]


class RandomSampler(QueryStrategy):
    """Choose rows evenly at random from the pool: the baseline to beat.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import QueryPool, RandomSampler
    >>> pool = QueryPool.from_proba(np.full((5, 2), 0.5))
    >>> RandomSampler().query(pool, 2, np.random.default_rng(0)).shape
    (2,)
    """

    def query(self, pool: Any, n_queries: Any, random_state: Any) -> Any:
        pool.inclusion = n_queries / pool.n_samples
        return np.sort(random_state.choice(pool.n_samples, n_queries, replace=False))
