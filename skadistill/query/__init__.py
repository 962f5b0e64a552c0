"""Whom to ask next: the robust sampler and its rivals."""

from skadistill.query._base import (
    QueryPool,
    QueryStrategy,
    ScoreStrategy,
    check_query,
    top_rows,
)
from skadistill.query._draw import fixed_size_sample
from skadistill.query._game import (
    GameSolution,
    capped_distribution,
    regret_distribution,
    robust_distribution,
    water_level,
    worst_case_value,
)
from skadistill.query._samplers import (
    EntropySampler,
    LeastConfidentSampler,
    MarginSampler,
    RandomSampler,
    RobustSampler,
    as_strategy,
    entropy_gain,
    least_confident_gain,
    margin_gain,
)

__all__ = [
    "EntropySampler",
    "GameSolution",
    "LeastConfidentSampler",
    "MarginSampler",
    "QueryPool",
    "QueryStrategy",
    "RandomSampler",
    "RobustSampler",
    "ScoreStrategy",
    "as_strategy",
    "capped_distribution",
    "check_query",
    "entropy_gain",
    "fixed_size_sample",
    "least_confident_gain",
    "margin_gain",
    "regret_distribution",
    "robust_distribution",
    "top_rows",
    "water_level",
    "worst_case_value",
]
