"""Query strategies: which unlabeled rows to ask the teacher about next."""

from skadistill._utils.optional import require
from skadistill.query._base import QueryPool, QueryStrategy
from skadistill.query._rad import RADSampler
from skadistill.query._random import RandomSampler
from skadistill.query._robust import RobustSampler
from skadistill.query._uncertainty import UncertaintySampler, top_rows

__all__ = [
    "QueryPool",
    "QueryStrategy",
    "RADSampler",
    "RandomSampler",
    "RobustSampler",
    "SkactivemlStrategy",
    "UncertaintySampler",
    "top_rows",
]


def __getattr__(name):
    # It needs scikit-activeml, an optional package, which is imported on demand.
    if name != "SkactivemlStrategy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("skactiveml", "activeml")
    from skadistill.query._skactiveml import SkactivemlStrategy

    return SkactivemlStrategy
