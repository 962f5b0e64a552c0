"""Strategies of scikit-activeml in the loop of this package.

This module imports scikit-activeml, an optional package; `skadistill.query` imports
it on demand.
"""

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from skactiveml.base import SingleAnnotatorPoolQueryStrategy, SkactivemlClassifier
from skactiveml.classifier import SklearnClassifier
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill._utils.compat import validate_parameters
from skadistill.exceptions import QueryStrategyError
from skadistill.query._base import QueryStrategy

__all__ = ["SkactivemlStrategy"]

# Names under which their `query` methods take a classifier that is not to be
# fitted again, and the switch that says so.
_MODEL_ARGUMENTS = {"clf": "fit_clf", "estimator": "fit_estimator"}


class SkactivemlStrategy(QueryStrategy):
    """Choose the rows that a pool strategy of scikit-activeml chooses.

    The strategy sees one table: the labeled rows first, with the most probable
    class of each label (its position in ``classes``) as y, then the pool, with y
    missing. If it takes a classifier it gets the student, frozen; if it takes a
    discriminator it gets a standardized logistic regression. Each call works on a
    clone, so nothing is carried from one round to the next.

    Parameters
    ----------
    strategy : skactiveml.base.SingleAnnotatorPoolQueryStrategy
        An instance, for example ``skactiveml.pool.Badge()``. Its `random_state`
        and `missing_label`, and those of a strategy inside it, are set here.
    query_params : dict or None, default=None
        More arguments for the strategy's `query`; they replace those given here.
        With another model, such as
        ``{"ensemble": ..., "fit_ensemble": True}``, y holds class positions as
        floats, and NaN for a missing label.

    Raises
    ------
    ImportError
        When the class is imported, if scikit-activeml is not installed.
    QueryStrategyError
        On `query`: if the strategy needs an argument that neither side gives, refits
        the student, or picks a labeled row, or if the rows are sparse or not numeric.

    Notes
    -----
    Their strategies keep one utility for each row and each query of the batch, and
    BADGE also keeps rows x classes x features numbers: use them for pools of up to
    about ten thousand rows. The student is given the rows in the user's own
    container; frames must be numeric, arrays of more than two dimensions are
    flattened for the strategy only.

    Examples
    --------
    >>> from skactiveml.pool import Badge
    >>> from skadistill.query import SkactivemlStrategy
    >>> SkactivemlStrategy(Badge())
    SkactivemlStrategy(strategy=Badge())
    """

    _parameter_constraints: dict = {
        "strategy": [SingleAnnotatorPoolQueryStrategy],
        "query_params": [dict, None],
    }

    def __init__(
        self, strategy: Any, *, query_params: dict[Any, Any] | None = None
    ) -> None:
        self.strategy = strategy
        self.query_params = query_params

    def query(self, pool: Any, n_queries: int, random_state: Any) -> NDArray[Any]:
        """Choose `n_queries` rows of the pool with the wrapped strategy.

        Parameters
        ----------
        pool : QueryPool
            What the loop shows to a strategy.
        n_queries : int
            Rows to choose, at most ``pool.n_samples``.
        random_state : numpy.random.Generator
            Seeds the strategy.

        Returns
        -------
        rows : ndarray of int64 of shape (n_queries,)
            Positions in the pool, in the order in which they were chosen.
        """
        validate_parameters(self)
        seed = int(random_state.integers(2**31 - 1))
        strategy = _seeded_clone(self.strategy, seed)
        X, restore = _stack(pool.X_labeled, pool.X)
        n_labeled = X.shape[0] - pool.n_samples
        y = np.full(X.shape[0], np.nan)
        y[:n_labeled] = np.argmax(pool.y_labeled, axis=1)
        model = _FrozenStudent(pool.student, pool.classes, restore)
        given = self._arguments(strategy, model)
        rows = strategy.query(X, y, batch_size=int(n_queries), **given)
        rows = np.asarray(rows, dtype=np.int64) - n_labeled
        if rows.size and rows.min() < 0:
            raise QueryStrategyError(
                f"{type(strategy).__name__} picked row {rows.min() + n_labeled} of its "
                f"table, but the first {n_labeled} rows are labeled already; pass a "
                "strategy that picks only rows whose y is missing."
            )
        return rows

    def _arguments(self, strategy, model):
        """Return the arguments that the strategy's `query` takes."""
        given = dict(self.query_params or {})
        parameters = _query_parameters(strategy)
        for name, switch in _MODEL_ARGUMENTS.items():
            if name in parameters and name not in given:
                given[name] = model
                if switch in parameters:
                    given.setdefault(switch, False)
        if "discriminator" in parameters and "discriminator" not in given:
            given["discriminator"] = SklearnClassifier(
                make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            )
        absent = [
            name
            for name, parameter in parameters.items()
            if parameter.default is inspect.Parameter.empty
            and name not in given
            and name not in ("X", "y", "batch_size")
        ]
        if absent:
            raise QueryStrategyError(
                f"{type(strategy).__name__}.query needs {', '.join(absent)}, which "
                "skadistill does not have; give it as "
                f"SkactivemlStrategy(..., query_params={{{absent[0]!r}: ...}})."
            )
        return given


def _query_parameters(strategy):
    """Return the parameters of `query`; wrappers show those of the inner strategy."""
    return {
        name: parameter
        for name, parameter in inspect.signature(strategy.query).parameters.items()
        if parameter.kind
        not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    }


def _seeded_clone(strategy, seed):
    """Clone a strategy with one seed at all levels and NaN for a missing label."""
    strategy = clone(strategy)
    settings = {}
    for name, value in strategy.get_params(deep=True).items():
        last = name.rpartition("__")[2]
        if last == "random_state":
            settings[name] = seed
        elif last == "missing_label":
            settings[name] = np.nan
        elif last == "cluster_algo_dict":
            # Some strategies leave their clustering to numpy's global state.
            algorithm = strategy.get_params()[name.removesuffix("_dict")]
            if "random_state" in inspect.signature(algorithm).parameters:
                settings[name] = {"random_state": seed, **(value or {})}
    return strategy.set_params(**settings)


def _stack(X_labeled, X_pool):
    """Join labeled and pool rows in one dense table; return how to undo it too."""
    labeled, _ = _as_table(X_labeled)
    pool, restore = _as_table(X_pool)
    return np.concatenate([labeled, pool]), restore


def _as_table(X):
    """Turn rows into a dense numeric table, and return the inverse."""
    if sparse.issparse(X):
        raise QueryStrategyError(
            "scikit-activeml strategies need dense rows, got a sparse "
            f"{type(X).__name__} of shape {X.shape}; reduce the features before, for "
            "example with TruncatedSVD in a Pipeline, or use a strategy of "
            "skadistill.query."
        )
    is_frame = hasattr(X, "columns") and hasattr(X, "to_numpy")
    values = X.to_numpy() if is_frame else np.asarray(X)
    original = values.dtype
    try:
        if original.kind not in "biufO":
            raise TypeError(f"dtype {original}")
        single = original in (np.float16, np.float32)
        table = values.astype(np.float32 if single else np.float64, copy=False)
        if table.ndim < 2:
            raise TypeError(f"shape {table.shape}")
    except (TypeError, ValueError) as error:
        raise QueryStrategyError(
            f"scikit-activeml strategies need a numeric table, got {type(X).__name__} "
            f"rows that are not one ({error}); encode them before, for example in a "
            "Pipeline, or use a strategy of skadistill.query."
        ) from error
    shape = table.shape[1:]

    def restore(rows):
        if not is_frame:
            return rows.reshape(-1, *shape).astype(original, copy=False)
        columns = list(X.columns)
        if hasattr(X, "cast"):  # polars
            return type(X)(rows, schema=columns, orient="row").cast(dict(X.schema))
        return type(X)(rows, columns=X.columns).astype(dict(X.dtypes))

    return table.reshape(table.shape[0], -1), restore


class _FrozenStudent(SkactivemlClassifier):
    """Show a fitted student as a scikit-activeml classifier.

    Its classes are the positions 0, 1, ... in the pool's `classes`.
    """

    def __init__(self, student, student_classes, restore, missing_label=np.nan):
        super().__init__(missing_label=missing_label)
        self.student = student
        self.student_classes = student_classes
        self.restore = restore

    @property
    def classes_(self):
        return np.arange(len(self.student_classes))

    def fit(self, X, y, sample_weight=None):
        raise QueryStrategyError(
            "the scikit-activeml strategy wants to refit its classifier, but the "
            f"student {type(self.student).__name__} is frozen; pass a classifier "
            "of scikit-activeml in query_params, or a strategy that takes "
            "fit_clf=False."
        )

    def predict_proba(self, X):
        proba = np.asarray(self.student.predict_proba(self.restore(X)))
        columns = np.searchsorted(self.student_classes, self.student.classes_)
        table = np.zeros((proba.shape[0], len(self.student_classes)))
        table[:, columns] = proba
        return table

    def predict(self, X):
        return np.argmax(self.predict_proba(X), axis=1)
