"""Whom to ask next: the robust sampler and its rivals."""

from skadistill.query._as_strategy import as_strategy
from skadistill.query._base import (
    QueryPool,
    QueryStrategy,
    ScoreStrategy,
    check_query,
    top_rows,
)
from skadistill.query._blocks import RowBlocks
from skadistill.query._capped import capped_distribution
from skadistill.query._draw import fixed_size_sample
from skadistill.query._game import (
    GameSolution,
    robust_distribution,
    worst_case_value,
)
from skadistill.query._inclusion import regret_distribution
from skadistill.query._level import water_level
from skadistill.query._samplers import (
    EntropySampler,
    LeastConfidentSampler,
    MarginSampler,
    RandomSampler,
    RobustSampler,
    entropy_gain,
    least_confident_gain,
    margin_gain,
)
from skadistill.query._skactiveml import SkactivemlStrategy

__all__ = [
    "EntropySampler",
    "GameSolution",
    "LeastConfidentSampler",
    "MarginSampler",
    "QueryPool",
    "QueryStrategy",
    "RandomSampler",
    "RobustQueryStrategy",
    "RobustSampler",
    "RowBlocks",
    "ScoreStrategy",
    "SkactivemlStrategy",
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


def __getattr__(name):
    # A subclass of scikit-activeml's base, made when asked for: importing this
    # room never imports the extra.
    if name == "RobustQueryStrategy":
        from skadistill.query import _skactiveml

        return _skactiveml.RobustQueryStrategy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
