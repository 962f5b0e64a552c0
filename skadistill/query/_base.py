"""The contract between the loop and a strategy: a view of the pool, and a choice."""

from abc import abstractmethod
from itertools import pairwise

import numpy as np
from sklearn.base import BaseEstimator

from skadistill.exceptions import QueryStrategyError
from skadistill.query._blocks import RowBlocks, first_row

__all__ = [
    "QueryPool",
    "QueryStrategy",
    "ScoreStrategy",
    "check_query",
    "summarize_gains",
    "top_rows",
]


class QueryPool:
    """Show a strategy the rows still unlabeled, and what is known of them.

    The loop builds one for each round. Everything costly is computed on first
    access, so a strategy pays only for what it reads.

    Parameters
    ----------
    n_samples : int
        Unlabeled rows still in the pool.
    classes : ndarray of shape (n_classes,)
        The student's classes, in the order of the probability columns.
    iter_proba : callable
        Returns an iterator over blocks of the student's probabilities, each of
        shape (n_block, n_classes), together covering the pool in order.
    map_proba : callable or None, default=None
        Takes a function and returns an iterator over what it makes of each block of
        probabilities, in the pool's order; the blocks may be scored elsewhere. None:
        here, block after block.
    keep_values : callable or None, default=None
        Takes a function as `map_proba` does and returns the values of all rows as
        blocks that stay where the pool lives, or None where they are to come here.
        None: they come here.
    student : estimator or None, default=None
        The student of the last round, fitted.
    teacher_error : float or None, default=None
        Estimated share of rows on which the teacher is wrong; None: unknown, or the
        strategy does not say that it needs it.
    gather_pool, gather_labeled : callable or None, default=None
        Return the unlabeled rows, and the rows labeled so far with their
        labels of shape (n_labeled, n_classes).

    Attributes
    ----------
    report : dict
        What the strategy wants to leave in the round's record, for example its
        water level.
    """

    def __init__(
        self,
        n_samples,
        classes,
        iter_proba,
        *,
        map_proba=None,
        keep_values=None,
        student=None,
        teacher_error=None,
        gather_pool=None,
        gather_labeled=None,
    ):
        self.n_samples = n_samples
        self.classes = classes
        self.student = student
        self.teacher_error = teacher_error
        self.report = {}
        self._iter_proba = iter_proba
        self._map_proba = map_proba or (
            lambda function: (function(block) for block in iter_proba())
        )
        self._keep_values = keep_values or (lambda function: None)
        self._gather_pool = gather_pool
        self._gather_labeled = gather_labeled
        self._cache = {}

    @property
    def n_classes(self):
        """Number of classes."""
        return len(self.classes)

    @property
    def X(self):
        """The unlabeled rows, in pool order and in the user's container."""
        if "X" not in self._cache:
            self._cache["X"] = self._gather_pool()
        return self._cache["X"]

    @property
    def X_labeled(self):
        """The rows that carry a given or a paid label so far."""
        return self._labeled()[0]

    @property
    def y_labeled(self):
        """Their labels, as probabilities of shape (n_labeled, n_classes)."""
        return self._labeled()[1]

    def _labeled(self):
        if "labeled" not in self._cache:
            self._cache["labeled"] = self._gather_labeled()
        return self._cache["labeled"]

    def predict_proba(self):
        """Return the student's probabilities for the whole pool.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            A table in memory; use `map_blocks` where one number a row is enough.
        """
        if "proba" not in self._cache:
            blocks = list(self._iter_proba())
            self._cache["proba"] = (
                np.concatenate(blocks) if blocks else np.empty((0, self.n_classes))
            )
        return self._cache["proba"]

    def map_blocks(self, function, dtype=np.float32):
        """Apply a function to blocks of probabilities and keep only its results.

        Parameters
        ----------
        function : callable
            Takes an array of shape (n_block, n_classes), returns (n_block,).
        dtype : dtype, default=numpy.float32
            Dtype of the result.

        Returns
        -------
        values : ndarray of shape (n_samples,)
            One value a row.
        """
        values = np.empty(self.n_samples, dtype=dtype)
        start = 0
        if "proba" in self._cache:
            results = iter([function(self._cache["proba"])])
        else:
            results = self._map_proba(function)
        for block in results:
            values[start : start + len(block)] = block
            start += len(block)
        if start != self.n_samples:
            raise ValueError(
                f"iter_proba must cover the pool's {self.n_samples} rows, got {start} "
                "rows in all; yield every block of probabilities once, in order."
            )
        return values

    def row_blocks(self, function):
        """Apply a function to blocks of probabilities; results may stay elsewhere.

        As `map_blocks`, for strategies that need not see all numbers at once: where
        the pool is a Dask collection with more rows than scikit-learn's
        ``working_memory`` holds numbers of, they stay with its partitions.

        Parameters
        ----------
        function : callable
            Takes an array of shape (n_block, n_classes), returns (n_block,). It is
            pickled where the pool lives elsewhere.

        Returns
        -------
        values : RowBlocks
            With ``n_samples``; ``map(function)`` returns what a function makes of each
            block, ``gather()`` brings all values here, in float32.
        """
        values = None
        if "proba" not in self._cache:
            values = self._keep_values(function)
        return RowBlocks([self.map_blocks(function)]) if values is None else values


class QueryStrategy(BaseEstimator):
    """Choose which unlabeled rows to ask the teacher about.

    Subclasses implement `query`. A strategy only ranks: it never sees the teacher
    and never pays. Its constructor stores parameters as scikit-learn estimators
    do, so that a search can vary them (``query_strategy__...``).

    Attributes
    ----------
    needs_teacher_error : bool
        Whether `query` reads ``pool.teacher_error``; False unless a subclass says
        otherwise. Estimating it can cost labels, so it is known only to those who
        ask for it.
    """

    @property
    def needs_teacher_error(self):
        """Whether `query` reads the teacher's error rate."""
        return False

    @abstractmethod
    def query(self, pool, n_queries, random_state):
        """Choose rows of the pool.

        Parameters
        ----------
        pool : QueryPool
            The unlabeled rows and what is known of them.
        n_queries : int
            Rows to choose, at most ``pool.n_samples``.
        random_state : numpy.random.Generator
            The only source of randomness to use.

        Returns
        -------
        positions : ndarray of int of shape (n_queries,)
            Distinct positions in ``[0, pool.n_samples)``.
        """


class ScoreStrategy(QueryStrategy):
    """Ask for the rows with the highest scores, ties broken at random.

    Parameters
    ----------
    score : callable
        ``score(proba) -> (n_samples,)``: takes the student's probabilities of shape
        (n_samples, n_classes), returns one score a row; higher means ask sooner.
    per_row : bool, default=False
        Whether a row's score depends on that row alone; then the pool is scored
        in blocks and its probabilities are never all in memory.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import QueryPool, ScoreStrategy
    >>> proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> pool = QueryPool(3, np.array([0, 1]), lambda: iter([proba]))
    >>> strategy = ScoreStrategy(lambda p: -p.max(axis=1))
    >>> strategy.query(pool, 1, np.random.default_rng(0))
    array([1])
    """

    # Whether a score of 0 says that there is nothing to gain from a row; the
    # scores of a user's function only rank.
    _scores_are_gains = False

    def __init__(self, score, *, per_row=False):
        self.score = score
        self.per_row = per_row

    def query(self, pool, n_queries, random_state):
        scores = self._scores(pool)
        if self._scores_are_gains:
            pool.report |= summarize_gains(scores)
        return _top_of_blocks(scores, n_queries, random_state)

    def _scores(self, pool):
        if self.per_row:
            return self._row_scores(pool, self.score)
        scores = np.asarray(self.score(pool.predict_proba()))
        if scores.shape != (pool.n_samples,) or scores.dtype.kind not in "fiub":
            raise _bad_scores(self.score, pool, scores.shape, f"dtype {scores.dtype}")
        return _refuse_not_finite(RowBlocks([scores]), pool, self.score)

    @staticmethod
    def _row_scores(pool, score):
        return _refuse_not_finite(pool.row_blocks(score), pool, score)


def summarize_gains(gains):
    """Say what a round's record keeps of the gains.

    Parameters
    ----------
    gains : RowBlocks
        One number a row.

    Returns
    -------
    report : dict
        ``gain_mean`` and ``gain_max``.
    """
    summaries = gains.map(_sum_and_max)
    return {
        "gain_mean": float(sum(s for s, _ in summaries) / gains.n_samples),
        "gain_max": float(max(m for _, m in summaries)),
    }


def _sum_and_max(block):
    return float(block.sum(dtype=np.float64)), float(block.max())


def _refuse_not_finite(scores, pool, function):
    """Return the scores, if all are finite."""
    bad = first_row(scores, _is_not_finite)
    if bad is not None:
        row, value = bad
        shape = (pool.n_samples,)
        raise _bad_scores(function, pool, shape, f"{value} for row {row}", "with")
    return scores


def _is_not_finite(block):
    return ~np.isfinite(block)


def _bad_scores(function, pool, shape, fault, word="of"):
    return QueryStrategyError(
        f"the query strategy {_name_of(function)} must return one finite "
        f"score for each of the {pool.n_samples} rows of the pool, got shape "
        f"{shape} {word} {fault}; return an array of shape "
        "(n_samples,), higher meaning ask sooner."
    )


def _name_of(function):
    return getattr(function, "__name__", type(function).__name__)


def top_rows(scores, n_queries, random_state):
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
    >>> from skadistill.query import top_rows
    >>> top_rows(np.array([0.1, 0.9, 0.5]), 2, np.random.default_rng(0))
    array([1, 2])
    """
    return _top_of_blocks(RowBlocks([scores]), n_queries, random_state)


def _top_of_blocks(scores, n_queries, random_state):
    """Choose as `top_rows` does: the best of each block compete."""
    if n_queries >= scores.n_samples:
        return np.arange(scores.n_samples)
    best = np.concatenate(scores.map(_largest, n_queries))
    border = _largest(best, n_queries).min()
    found = scores.map(_above_and_ties, border)
    rows = [above + b for (above, _), b in zip(found, scores.bounds, strict=False)]
    n_ties = np.array([n for _, n in found])
    n_more = n_queries - sum(r.shape[0] for r in rows)
    # Numbers among the ties, not their positions: they may be nearly all rows.
    chosen = np.sort(random_state.choice(n_ties.sum(), n_more, replace=False))
    firsts = np.cumsum(n_ties) - n_ties
    cuts = np.searchsorted(chosen, [*firsts, n_ties.sum()])
    ranks = [chosen[a:b] - f for (a, b), f in zip(pairwise(cuts), firsts, strict=True)]
    ties = scores.map_each(
        _ties_at, [(border, rank) if rank.size else None for rank in ranks]
    )
    rows += [t + b for t, b in zip(ties, scores.bounds, strict=False) if t is not None]
    return np.sort(np.concatenate(rows))


def _largest(block, n):
    """Return the n largest of a block, or all of it."""
    if n >= block.shape[0]:
        return block
    return np.partition(block, block.shape[0] - n)[-n:]


def _above_and_ties(block, border):
    return np.flatnonzero(block > border), int(np.count_nonzero(block == border))


def _ties_at(block, border, ranks):
    return np.flatnonzero(block == border)[ranks]


def check_query(positions, n_samples, n_queries, strategy):
    """Hold a strategy's answer against its contract.

    Parameters
    ----------
    positions : array-like of int of shape (n_queries,)
        What the strategy returned.
    n_samples : int
        Rows in the pool it was shown.
    n_queries : int
        Rows it was asked for.
    strategy : object
        Named in the errors.

    Returns
    -------
    positions : ndarray of int64 of shape (n_queries,)
        The same positions, as integers.

    Raises
    ------
    QueryStrategyError
        If positions repeat, lie outside the pool (for example labeled rows, which
        are no part of it), are not integers, or are not `n_queries` many.
    """
    name = type(strategy).__name__
    positions = np.asarray(positions)
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise QueryStrategyError(
            f"the query strategy {name} must return a one-dimensional array of integer "
            f"positions, got dtype {positions.dtype} and shape {positions.shape}; "
            "return positions in the pool it was shown."
        )
    positions = positions.astype(np.int64)
    outside = positions[(positions < 0) | (positions >= n_samples)]
    if outside.size:
        raise QueryStrategyError(
            f"the query strategy {name} returned position {outside[0]}, which is not "
            f"an unlabeled row: the pool has {n_samples} rows; return positions in "
            f"[0, {n_samples}), labeled rows are not part of the pool."
        )
    values, counts = np.unique(positions, return_counts=True)
    if counts.size and counts.max() > 1:
        raise QueryStrategyError(
            f"the query strategy {name} returned position {values[counts > 1][0]} "
            f"{counts.max()} times; return distinct positions, a label is paid once."
        )
    if positions.shape[0] != n_queries:
        raise QueryStrategyError(
            f"the query strategy {name} returned {positions.shape[0]} rows where "
            f"{n_queries} were asked for; return exactly that many positions."
        )
    return positions
