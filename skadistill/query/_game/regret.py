"""The regret game, which needs no estimate of the teacher's errors.

Choose inclusion probabilities q with sum b that minimize the largest gain left
behind, max_i g_i (1 - q_i). No regret above v means q_i >= 1 - v / g_i for every
row, so the least mass that achieves v is sum_i max(0, 1 - v / g_i): the smallest
v that b rows can achieve is the water level of mass b (see `level.py`).
"""

import numpy as np

from skadistill.query._game.level import (
    BLOCK_ROWS,
    as_gains,
    check_queries,
    iter_blocks,
    solve_level,
)

__all__ = ["regret_inclusion"]


def regret_inclusion(gains, n_queries):
    """Return the inclusion probabilities that leave no large gain behind.

    The optimum is q_i = max(0, 1 - v / g_i) with v the water level of mass b. If b
    exceeds the number of positive gains, the rest is spread evenly over the others.
    """
    gains, low, high, _ = as_gains(gains)
    n_samples = gains.shape[0]
    n_queries = check_queries(n_queries, n_samples)
    if n_queries == n_samples:
        return np.ones(n_samples, dtype=gains.dtype)
    n_positive = n_samples if low > 0 else int(np.count_nonzero(gains))
    if n_queries >= n_positive:
        rest = (n_queries - n_positive) / (n_samples - n_positive)
        return np.where(gains > 0, 1.0, rest).astype(gains.dtype)
    level = solve_level(gains, low, high, float(n_queries)).value
    inclusion = np.empty_like(gains, order="C")
    buffer = np.empty(min(BLOCK_ROWS, n_samples), dtype=np.float64)
    for block, part in zip(iter_blocks(gains), iter_blocks(inclusion), strict=True):
        # In float64: single precision loses a q much smaller than 1.
        terms = buffer[: block.shape[0]]
        np.copyto(terms, block)
        np.maximum(terms, level, out=terms)  # 1 - v / max(g, v) is 0 below the level
        np.divide(level, terms, out=terms)
        np.subtract(1.0, terms, out=part)
    return inclusion
