"""The contract between the loop and a strategy: a view of the pool, and a choice."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from skadistill._rows._containers import count_rows
from skadistill.exceptions import QueryStrategyError

__all__ = ["QueryPool", "QueryStrategy", "check_query", "summarize_gains"]


class QueryPool(ABC):
    """The unlabeled rows of a fit, with the student's predictions, for a strategy.

    The loop builds one for each round. Everything costly is computed on first
    access, so a strategy pays only for what it reads. To try a strategy on its own,
    build a pool with `from_proba`.

    Parameters
    ----------
    n_samples : int
        Number of unlabeled rows.
    classes : ndarray of shape (n_classes,)
        The student's classes, in the order of the probability columns.
    student : estimator or None, default=None
        The fitted student of the last round.
    teacher_error : float or None, default=None
        Estimated error rate of the teacher. None: unknown, or the
        strategy does not say that it needs it.

    Attributes
    ----------
    report : dict
        What the strategy wants to leave in the record of the round, for example its
        water level.
    error_curve : object or None
        How the teacher's errors depend on the student's margin, learned from checks on
        labeled rows, for `RobustSampler`. None: the teacher was not checked, or the
        strategy has no ``needs_error_curve = True``.
    kept : ndarray of shape (n_samples,) or None
        One value per row that the strategy sets to see it again in later rounds, for
        the rows that are still in the pool.
    inclusion : ndarray of shape (n_samples,), float or None
        Probability that `query` draws each row, set by strategies that draw
        rows at random; a number: the same for all. The loop then uses all rows of the
        round to estimate how often the student agrees with the teacher. None: unknown,
        or the strategy takes the rows of largest score.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import QueryPool
    >>> pool = QueryPool.from_proba(np.array([[0.9, 0.1], [0.6, 0.4]]))
    >>> pool.n_samples, pool.n_classes
    (2, 2)
    >>> pool.map_proba(lambda proba: 1 - proba.max(axis=1))
    array([0.1, 0.4], dtype=float32)
    """

    report: dict[str, Any]
    error_curve: Any
    kept: NDArray[Any] | None
    inclusion: NDArray[Any] | float | None

    def __init__(
        self,
        n_samples: int,
        classes: NDArray[Any],
        *,
        student: Any = None,
        teacher_error: float | None = None,
    ) -> None:
        self.n_samples = n_samples
        self.classes = classes
        self.student = student
        self.teacher_error = teacher_error
        self.error_curve = None
        self.kept = None
        self.inclusion = None
        self.report = {}
        self._computed: dict[str, Any] = {}

    @staticmethod
    def from_proba(
        proba: ArrayLike,
        *,
        classes: ArrayLike | None = None,
        student: Any = None,
        teacher_error: float | None = None,
        X: Any = None,
        X_labeled: Any = None,
        y_labeled: Any = None,
    ) -> Any:
        """Build a pool in memory from a table of probabilities.

        Parameters
        ----------
        proba : array-like of shape (n_samples, n_classes)
            The student's probabilities for the unlabeled rows.
        classes : array-like of shape (n_classes,) or None, default=None
            The classes of the columns. None: 0, 1, and so on.
        student : estimator or None, default=None
            What the strategy sees as the student.
        teacher_error : float or None, default=None
            What the strategy sees as the teacher's error rate.
        X : container of n_samples rows or None, default=None
            The unlabeled rows, for strategies that read them.
        X_labeled, y_labeled : container and ndarray, or None, default=None
            The labeled rows, and their labels as probabilities of shape
            (n_labeled, n_classes), for strategies that read them.

        Returns
        -------
        pool : QueryPool
            The pool.
        """
        return _TablePool(
            np.asarray(proba),
            classes,
            student=student,
            teacher_error=teacher_error,
            X=X,
            labeled=None if X_labeled is None else (X_labeled, y_labeled),
        )

    @property
    def n_classes(self) -> Any:
        """Number of classes."""
        return len(self.classes)

    @property
    def X(self) -> Any:
        """The unlabeled rows, in pool order and in the user's container."""
        return self._once("X", self._take_pool)

    @property
    def X_labeled(self) -> Any:
        """The rows that have a given or a paid label so far."""
        return self._labeled[0]

    @property
    def y_labeled(self) -> Any:
        """Their labels, as probabilities of shape (n_labeled, n_classes)."""
        return self._labeled[1]

    @property
    def _labeled(self):
        return self._once("labeled", self._take_labeled)

    def _once(self, name, compute):
        """Return what was computed before under a name, or compute it.

        Not `functools.cached_property`: before Python 3.12 all instances share its
        lock, and fits in several threads would wait for each other.
        """
        if name not in self._computed:
            self._computed[name] = compute()
        return self._computed[name]

    def predict_proba(self) -> NDArray[Any]:
        """Return the student's probabilities for the whole pool.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            A table in memory; use `map_proba` if one value per row is enough.
        """
        return self._once("proba", self._concatenate_proba)

    def _concatenate_proba(self):
        blocks = list(self._iter_proba(_unchanged))
        return np.concatenate(blocks) if blocks else np.empty((0, self.n_classes))

    def map_proba(
        self, function: Callable[..., Any], dtype: Any = np.float32
    ) -> NDArray[Any]:
        """Apply a function to blocks of probabilities and keep one value per row.

        The probabilities are never all in memory. If the pool is a Dask collection,
        the function runs on the workers that hold the partitions and only its values
        are sent.

        Parameters
        ----------
        function : callable
            Takes an array of shape (n_block, n_classes), returns (n_block,).
        dtype : dtype, default=numpy.float32
            Dtype of the result.

        Returns
        -------
        values : ndarray of shape (n_samples,)
            One value per row.

        Raises
        ------
        QueryStrategyError
            If the function does not return one value per row.
        """
        function = _ValuePerRow(function, np.dtype(dtype))
        if "proba" in self._computed:
            return self._join([function(self.predict_proba())], dtype)
        return self._join(self._iter_proba(function), dtype)

    def map_rows(
        self, function: Callable[..., Any], dtype: Any = np.float32
    ) -> NDArray[Any]:
        """Apply a function to blocks of rows and keep one value per row.

        As `map_proba`, for what is computed from the rows themselves, such as the
        predictions of another model.

        Parameters
        ----------
        function : callable
            Takes a block of rows in the user's container, returns (n_block,).
        dtype : dtype, default=numpy.float32
            Dtype of the result.

        Returns
        -------
        values : ndarray of shape (n_samples,)
            One value per row.

        Raises
        ------
        QueryStrategyError
            If the function does not return one value per row.
        """
        return self._join(
            self._iter_rows(_ValuePerRow(function, np.dtype(dtype))), dtype
        )

    def _join(self, blocks, dtype):
        """Copy the values of each block to their place as they arrive."""
        values = np.empty(self.n_samples, dtype=dtype)
        start = 0
        for block in blocks:
            stop = start + block.shape[0]
            if stop <= self.n_samples:
                values[start:stop] = block
            start = stop
        if start != self.n_samples:
            raise ValueError(
                f"the student must predict each of the pool's {self.n_samples} rows, "
                f"got probabilities for {start} rows in all; return one row of "
                "probabilities per row from predict_proba."
            )
        return values

    @abstractmethod
    def _iter_proba(self, function):
        """Yield what a function makes of each block of probabilities, in order."""

    @abstractmethod
    def _iter_rows(self, function):
        """Yield what a function makes of each block of rows, in order."""

    @abstractmethod
    def _take_pool(self):
        """Return the unlabeled rows."""

    @abstractmethod
    def _take_labeled(self):
        """Return the labeled rows and their labels."""


class _TablePool(QueryPool):
    """Hold a pool whose probabilities, and perhaps rows, are in memory."""

    def __init__(self, proba, classes, *, X, labeled, **known):
        if classes is None:
            classes = np.arange(proba.shape[1])
        super().__init__(proba.shape[0], np.asarray(classes), **known)
        self._proba = proba
        self._given = {"X": X, "X_labeled": labeled}

    def _iter_proba(self, function):
        yield function(self._proba)

    def _iter_rows(self, function):
        yield function(self.X)

    def _take_pool(self):
        return self._take("X")

    def _take_labeled(self):
        return self._take("X_labeled")

    def _take(self, name):
        if self._given[name] is None:
            raise ValueError(
                f"the strategy reads pool.{name}, but the pool was built without it "
                f"(None); pass {name} to QueryPool.from_proba."
            )
        return self._given[name]


@dataclass(frozen=True)
class _ValuePerRow:
    """Apply a function to a block and check that it gives one value per row.

    It is pickled to wherever the block is, so that only the values come back.
    """

    function: Callable
    dtype: Any

    def __call__(self, block):
        values = np.asarray(self.function(block))
        n_samples = count_rows(block)
        if values.shape != (n_samples,):
            raise QueryStrategyError(
                f"a function of blocks must return one value per row, got shape "
                f"{values.shape} for {n_samples} rows; return an array of shape "
                "(n_block,)."
            )
        return values.astype(self.dtype, copy=False)


def _unchanged(proba):
    return proba


class QueryStrategy(BaseEstimator, ABC):
    """Choose which unlabeled rows to ask the teacher about.

    Subclasses implement `query`. A strategy only ranks: it never sees the teacher
    and never pays. Its constructor stores parameters as scikit-learn estimators
    do, so that a search can vary them (``query_strategy__...``).

    Attributes
    ----------
    needs_teacher_error : bool
        Whether `query` reads ``pool.teacher_error``; False unless a subclass says
        otherwise. The estimate can cost labels, so it is made only for strategies
        that need it.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import QueryPool, QueryStrategy
    >>> class First(QueryStrategy):
    ...     def query(self, pool, n_queries, random_state):
    ...         return np.arange(n_queries)
    >>> pool = QueryPool.from_proba(np.full((5, 2), 0.5))
    >>> First().query(pool, 2, np.random.default_rng(0))
    array([0, 1])
    """

    @property
    def needs_teacher_error(self) -> bool:
        """Whether `query` reads the teacher's error rate."""
        return False

    @abstractmethod
    def query(self, pool: QueryPool, n_queries: int, random_state: Any) -> NDArray[Any]:
        """Choose rows of the pool.

        Parameters
        ----------
        pool : QueryPool
            The unlabeled rows and what is known about them.
        n_queries : int
            Rows to choose, at most ``pool.n_samples``.
        random_state : numpy.random.Generator
            The only source of randomness to use.

        Returns
        -------
        positions : ndarray of int of shape (n_queries,)
            Distinct positions in ``[0, pool.n_samples)``.
        """


def summarize_gains(gains):
    """Return the mean and the largest gain, for the record of the round."""
    return {
        "gain_mean": float(gains.sum(dtype=np.float64) / gains.shape[0]),
        "gain_max": float(gains.max()),
    }


def check_query(positions, n_samples, n_queries, strategy):
    """Check a strategy's answer against its contract."""
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
            f"the query strategy {name} returned {positions.shape[0]} positions, but "
            f"{n_queries} were requested; return exactly that many positions."
        )
    return positions
