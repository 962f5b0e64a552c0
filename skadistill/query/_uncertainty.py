"""Greedy strategies: the rows with the highest scores."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadistill._utils.compat import StrOptions, validate_parameters
from skadistill.exceptions import QueryStrategyError
from skadistill.query._base import QueryStrategy, summarize_gains
from skadistill.query._measures import MEASURES, as_measure

__all__ = ["ScoreStrategy", "UncertaintySampler", "top_rows"]


class ScoreStrategy(QueryStrategy):
    """Choose the rows with the highest scores, ties broken at random."""

    _parameter_constraints: dict = {"score": [callable], "per_row": ["boolean"]}

    def __init__(self, score, *, per_row=False):
        self.score = score
        self.per_row = per_row

    def query(self, pool, n_queries, random_state):
        validate_parameters(self)
        if self.per_row:
            scores = pool.map_proba(self.score)
        else:
            scores = np.asarray(self.score(pool.predict_proba()))
        scores = _check_scores(scores, pool, self.score)
        return top_rows(scores, n_queries, random_state)


class UncertaintySampler(QueryStrategy):
    """Choose the rows that the student is least certain about.

    The classic greedy choice. It assumes that the teacher is right wherever it is
    asked; on rows near a class border teachers often are not.

    Parameters
    ----------
    measure : {"margin", "entropy", "least_confident"} or callable, default="margin"
        How uncertainty is measured. "margin": 1 minus the gap between the two most
        probable classes. "entropy": the entropy of the probabilities.
        "least_confident": 1 minus the largest probability. A callable takes
        probabilities of shape (n_block, n_classes) and returns (n_block,); larger
        means ask sooner, and 0 in all rows that the student is certain of all.

    See Also
    --------
    RADSampler : Guards against a teacher that is wrong on the hardest rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import QueryPool, UncertaintySampler
    >>> pool = QueryPool.from_proba(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]))
    >>> UncertaintySampler("entropy").query(pool, 1, np.random.default_rng(0))
    array([1])
    """

    _parameter_constraints: dict = {"measure": [StrOptions(set(MEASURES)), callable]}

    def __init__(self, measure: str | Callable[..., Any] = "margin") -> None:
        self.measure = measure

    def query(self, pool: Any, n_queries: Any, random_state: Any) -> Any:
        validate_parameters(self)
        measure = as_measure(self.measure)
        gains = _check_scores(pool.map_proba(measure), pool, measure)
        pool.report |= summarize_gains(gains)
        return top_rows(gains, n_queries, random_state)


def _check_scores(scores, pool, function):
    """Return the scores, if there is one finite number per row."""
    shape = scores.shape
    if shape != (pool.n_samples,) or scores.dtype.kind not in "fiub":
        raise _bad_scores(function, pool, f"{shape} of dtype {scores.dtype}")
    if not np.isfinite(scores).all():
        row = np.flatnonzero(~np.isfinite(scores))[0]
        raise _bad_scores(function, pool, f"{shape} with {scores[row]} for row {row}")
    return scores


def _bad_scores(function, pool, got):
    name = getattr(function, "__name__", type(function).__name__)
    return QueryStrategyError(
        f"the query strategy {name} must return one finite score for each of the "
        f"{pool.n_samples} rows of the pool, got shape {got}; return an array of shape "
        "(n_samples,), higher meaning ask sooner."
    )


def top_rows(scores: NDArray[Any], n_queries: int, random_state: Any) -> NDArray[Any]:
    """Choose the highest scores, ties at the border broken at random.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Finite scores.
    n_queries : int
        Rows to choose, in [1, n_samples].
    random_state : numpy.random.Generator
        Breaks ties.

    Returns
    -------
    positions : ndarray of int of shape (n_queries,)
        Distinct positions, ascending.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._uncertainty import top_rows
    >>> top_rows(np.array([0.1, 0.9, 0.5]), 2, np.random.default_rng(0))
    array([1, 2])
    """
    n_samples = scores.shape[0]
    if n_queries >= n_samples:
        return np.arange(n_samples)
    border = np.partition(scores, n_samples - n_queries)[n_samples - n_queries]
    above = np.flatnonzero(scores > border)
    ties = np.flatnonzero(scores == border)
    drawn = random_state.choice(ties.size, n_queries - above.size, replace=False)
    return np.sort(np.concatenate([above, ties[drawn]]))
