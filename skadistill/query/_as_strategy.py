"""Resolve what a user passes as `query_strategy` to a query strategy."""

from collections.abc import Callable
from functools import partial

from skadistill.exceptions import QueryStrategyError
from skadistill.query._rad import RADSampler
from skadistill.query._random import RandomSampler
from skadistill.query._robust import RobustSampler
from skadistill.query._uncertainty import ScoreStrategy, UncertaintySampler

__all__ = ["as_strategy"]

_BY_NAME: dict[str, Callable] = {
    "robust": RobustSampler,
    "rad": RADSampler,
    "margin": partial(UncertaintySampler, "margin"),
    "entropy": partial(UncertaintySampler, "entropy"),
    "least_confident": partial(UncertaintySampler, "least_confident"),
    "random": RandomSampler,
}


def as_strategy(strategy):
    """Resolve a name, a function or an object to a query strategy."""
    if isinstance(strategy, str) and strategy in _BY_NAME:
        return _BY_NAME[strategy]()
    if _is_skactiveml_strategy(strategy):
        # Only here, so that skadistill.query does not import scikit-activeml.
        from skadistill.query._skactiveml import SkactivemlStrategy

        return SkactivemlStrategy(strategy)
    if not isinstance(strategy, str | type):
        if hasattr(strategy, "query"):
            return strategy
        if callable(strategy):
            return ScoreStrategy(strategy)
    raise QueryStrategyError(
        f"query_strategy must be one of {sorted(_BY_NAME)}, a function f(proba) -> "
        f"scores or an object with a query method, got {strategy!r}; choose a name or "
        "see skadistill.query.QueryStrategy for the contract."
    )


def _is_skactiveml_strategy(strategy):
    """Tell if an object is a pool strategy of scikit-activeml, without importing it."""
    return any(
        base.__module__ == "skactiveml.base" and base.__name__ == "PoolQueryStrategy"
        for base in type(strategy).__mro__
    )
