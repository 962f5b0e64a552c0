"""Make a query strategy of a name, a function or somebody else's object."""

from skadistill.query._base import ScoreStrategy
from skadistill.query._samplers import (
    EntropySampler,
    LeastConfidentSampler,
    MarginSampler,
    RandomSampler,
    RobustSampler,
)
from skadistill.query._skactiveml import SkactivemlStrategy, is_skactiveml_strategy

__all__ = ["as_strategy"]

_BY_NAME = {
    "robust": RobustSampler,
    "margin": MarginSampler,
    "entropy": EntropySampler,
    "least_confident": LeastConfidentSampler,
    "random": RandomSampler,
}


def as_strategy(strategy):
    """Turn a name, a function or an object into a query strategy.

    Parameters
    ----------
    strategy : str, callable or object with a ``query`` method
        A name among "robust", "margin", "entropy", "least_confident", "random"; a
        function ``f(proba) -> scores``; an object following `QueryStrategy`; or a
        pool strategy of scikit-activeml, which is wrapped in `SkactivemlStrategy`.

    Returns
    -------
    strategy : object
        With ``query(pool, n_queries, random_state)``.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If the object is neither.

    Examples
    --------
    >>> from skadistill.query import as_strategy
    >>> as_strategy("margin")
    MarginSampler()
    """
    if isinstance(strategy, str):
        if strategy not in _BY_NAME:
            raise ValueError(
                f"query_strategy must be one of {sorted(_BY_NAME)}, a function or a "
                f"strategy object, got {strategy!r}; choose a name from the list."
            )
        return _BY_NAME[strategy]()
    if is_skactiveml_strategy(strategy):
        return SkactivemlStrategy(strategy)
    if hasattr(strategy, "query") and not isinstance(strategy, type):
        return strategy
    if callable(strategy) and not isinstance(strategy, type):
        return ScoreStrategy(strategy)
    raise TypeError(
        f"query_strategy must be a name, a function f(proba) -> scores or an object "
        f"with a query method, got {strategy!r}; see QueryStrategy for the contract."
    )
