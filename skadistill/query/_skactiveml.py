"""Strategies of scikit-activeml here, and the robust sampler there.

scikit-activeml is an optional extra: nothing in this file imports it before it
is needed, and `RobustQueryStrategy`, whose base class lives there, is built the
first time it is asked for.
"""

import inspect
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill.exceptions import QueryStrategyError
from skadistill.query._base import QueryStrategy
from skadistill.query._capped import capped_distribution
from skadistill.query._draw import fixed_size_sample
from skadistill.query._inclusion import regret_distribution
from skadistill.query._samplers import margin_gain

# RobustQueryStrategy is public too; __getattr__ at the end of the file builds it.
__all__ = ["SkactivemlStrategy", "is_skactiveml_strategy"]

# Names under which their `query` methods take a classifier that is not to be
# fitted again, and the switch that says so.
_MODEL_ARGUMENTS = {"clf": "fit_clf", "estimator": "fit_estimator"}


class SkactivemlStrategy(QueryStrategy):
    """Ask the rows that a scikit-activeml pool strategy picks.

    The strategy sees one table: the labeled rows first, with the most probable
    class of each label (its position in ``classes``) as y, then the pool, with y
    missing. Where it wants a classifier it gets the student, frozen; where it
    wants a discriminator it gets a standardized logistic regression. Each call
    works on a clone, so nothing is carried from one round to the next.

    Parameters
    ----------
    strategy : skactiveml.base.PoolQueryStrategy
        An instance, for example ``skactiveml.pool.Badge()``. Its `random_state`
        and `missing_label`, and those of a strategy inside it, are set here.
    query_params : dict or None, default=None
        More arguments for the strategy's `query`; they replace those given here.
        With a model of your own, such as
        ``{"ensemble": ..., "fit_ensemble": True}``, y holds class positions as
        floats and NaN where a label is missing.

    Raises
    ------
    QueryStrategyError
        On `query`: if the strategy is not an instance of a single-annotator pool
        strategy, needs an argument that neither side gives, wants to refit the
        student, picks a labeled row, or if the rows are sparse or not numeric.
    ImportError
        On `query`: if scikit-activeml is not installed.

    Notes
    -----
    Their strategies keep one utility for each row and each query of the batch, and
    BADGE also keeps rows x classes x features numbers: meant for pools of up to
    some ten thousand rows. The student is given the rows in the user's own
    container; frames must be numeric, arrays of more than two dimensions are
    flattened for the strategy only.

    Examples
    --------
    >>> from skactiveml.pool import Badge
    >>> from skadistill.query._skactiveml import SkactivemlStrategy
    >>> SkactivemlStrategy(Badge())
    SkactivemlStrategy(strategy=Badge())
    """

    def __init__(self, strategy, *, query_params=None):
        self.strategy = strategy
        self.query_params = query_params

    def query(self, pool, n_queries, random_state):
        """Pick `n_queries` rows of the pool with the wrapped strategy.

        Parameters
        ----------
        pool : QueryPool
            What the loop shows to a strategy.
        n_queries : int
            Rows to pick, at most ``pool.n_samples``.
        random_state : numpy.random.Generator
            Seeds the strategy.

        Returns
        -------
        rows : ndarray of int64 of shape (n_queries,)
            Positions in the pool, in the order in which they were picked.
        """
        _import_skactiveml()
        _check_strategy(self.strategy)
        seed = int(random_state.integers(2**31 - 1))
        strategy = _seeded_clone(self.strategy, seed)
        X, restore = _stack(pool.X_labeled, pool.X)
        n_labeled = X.shape[0] - pool.n_samples
        y = np.full(X.shape[0], np.nan)
        y[:n_labeled] = np.argmax(pool.y_labeled, axis=1)
        model = _frozen_student_class()(pool.student, pool.classes, restore)
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
        """Choose what the strategy's `query` takes from what there is."""
        given = dict(self.query_params or {})
        parameters = _query_parameters(strategy)
        for name, switch in _MODEL_ARGUMENTS.items():
            if name in parameters and name not in given:
                given[name] = model
                if switch in parameters:
                    given.setdefault(switch, False)
        if "discriminator" in parameters and "discriminator" not in given:
            from skactiveml.classifier import SklearnClassifier

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


def is_skactiveml_strategy(strategy):
    """Tell whether an object is a pool strategy of scikit-activeml.

    Parameters
    ----------
    strategy : object
        Anything; scikit-activeml is not imported to look at it.

    Returns
    -------
    answer : bool
        True for an instance of a subclass of ``skactiveml.base.PoolQueryStrategy``.

    Examples
    --------
    >>> from skadistill.query._skactiveml import is_skactiveml_strategy
    >>> is_skactiveml_strategy("margin")
    False
    """
    return _has_base(strategy, "PoolQueryStrategy")


def _has_base(strategy, name):
    return any(
        base.__module__ == "skactiveml.base" and base.__name__ == name
        for base in type(strategy).__mro__
    )


def _import_skactiveml():
    try:
        import skactiveml.base
        import skactiveml.utils
    except ImportError as error:
        raise ImportError(
            "scikit-activeml is needed here and importing it failed with "
            f"{str(error)!r}; install it with `pip install "
            '"skadistill[activeml]"`.'
        ) from error
    return skactiveml


def _check_strategy(strategy):
    if not is_skactiveml_strategy(strategy) or _has_base(
        strategy, "MultiAnnotatorPoolQueryStrategy"
    ):
        raise QueryStrategyError(
            "strategy must be an instance of a single-annotator pool strategy of "
            f"scikit-activeml, got {strategy!r}; pass for example "
            "skactiveml.pool.Badge()."
        )


def _query_parameters(strategy):
    """Collect what `query` takes; their wrappers show the inner signature."""
    return {
        name: parameter
        for name, parameter in inspect.signature(strategy.query).parameters.items()
        if parameter.kind
        not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    }


def _seeded_clone(strategy, seed):
    """Clone a strategy, seeded throughout and with NaN for a missing label."""
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
    """Put labeled and pool rows into one dense table, with the way back."""
    labeled, _ = _as_table(X_labeled)
    pool, restore = _as_table(X_pool)
    return np.concatenate([labeled, pool]), restore


def _as_table(X):
    """Turn rows into a dense numeric table, and return the way back.

    Returns
    -------
    table : ndarray of float32 or float64 of shape (n_samples, n_values)
        The rows, flattened where they had more than one dimension.
    restore : callable
        Turns such a table into the container and dtypes that X had.
    """
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
            f"rows that are none ({error}); encode them before, for example in a "
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


@cache
def _frozen_student_class():
    """Build the class that shows a fitted student as a classifier of theirs."""
    SkactivemlClassifier: Any = _import_skactiveml().base.SkactivemlClassifier

    class FrozenStudent(SkactivemlClassifier):
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

    return FrozenStudent


@cache
def _robust_query_strategy_class():
    """Build the robust sampler as a strategy of theirs."""
    skactiveml = _import_skactiveml()
    utils = skactiveml.utils
    PoolStrategy: Any = skactiveml.base.SingleAnnotatorPoolQueryStrategy

    class RobustQueryStrategy(PoolStrategy):
        """Draw informative rows that a wrong oracle cannot spoil.

        The robust sampler of skadistill as a pool strategy of scikit-activeml. The
        gain of a row is 1 minus the classifier's margin (its largest minus its
        second largest probability); against an oracle that is wrong on at most
        m rows the sampler plays the best mixed strategy, instead of asking
        exactly the rows on which the oracle is most likely to be wrong.

        Parameters
        ----------
        error_rate : float or None, default=None
            Share of the candidates on which the oracle may be wrong, in [0, 1);
            when in doubt, high. None plays the regret game, which needs no such
            estimate.
        missing_label : scalar or str or np.nan or None, default=np.nan
            Value that stands for a missing label.
        random_state : int or numpy.random.RandomState or None, default=None
            Seed of the draw.

        References
        ----------
        .. [1] Baykal, Trinh, Iliopoulos, Menghani, Vee. "Robust Active
           Distillation." ICLR 2023, arXiv:2210.01213.

        Examples
        --------
        >>> import numpy as np
        >>> from skactiveml.classifier import ParzenWindowClassifier
        >>> from skadistill.query._skactiveml import RobustQueryStrategy
        >>> X = np.linspace(0, 1, 20)[:, None]
        >>> y = np.full(20, np.nan)
        >>> y[[0, 19]] = 0, 1
        >>> clf = ParzenWindowClassifier(classes=[0, 1])
        >>> strategy = RobustQueryStrategy(error_rate=0.1, random_state=0)
        >>> strategy.query(X, y, clf, batch_size=3).shape
        (3,)
        """

        def __init__(self, error_rate=None, missing_label=np.nan, random_state=None):
            super().__init__(missing_label=missing_label, random_state=random_state)
            self.error_rate = error_rate

        def query(
            self,
            X,
            y,
            clf,
            fit_clf=True,
            sample_weight=None,
            candidates=None,
            batch_size=1,
            return_utilities=False,
        ):
            """Draw the rows whose labels to ask for.

            Parameters
            ----------
            X : array-like of shape (n_samples, n_features)
                Labeled and unlabeled rows.
            y : array-like of shape (n_samples,)
                Labels, `missing_label` where there is none.
            clf : skactiveml.base.SkactivemlClassifier
                Gives the probabilities.
            fit_clf : bool, default=True
                Whether to fit a clone of `clf` on X, y and `sample_weight` before.
            sample_weight : array-like of shape (n_samples,) or None, default=None
                Weights for that fit.
            candidates : None or array-like, default=None
                None: the rows without a label. Integers of shape (n_candidates,):
                rows of X. Otherwise the rows themselves, of shape
                (n_candidates, n_features).
            batch_size : int, default=1
                Rows to draw.
            return_utilities : bool, default=False
                Whether to return the utilities too.

            Returns
            -------
            query_indices : ndarray of int of shape (batch_size,)
                Distinct positions in X, or in `candidates` where those are rows.
            utilities : ndarray of shape (batch_size, n_samples or n_candidates)
                Each row's probability of being in the batch; NaN for rows that are
                no candidates or were drawn before. Only with `return_utilities`.
            """
            X, y, candidates, batch_size, return_utilities = self._validate_data(
                X, y, candidates, batch_size, return_utilities, reset=True
            )
            X_cand, mapping = self._transform_candidates(candidates, X, y)
            utils.check_type(clf, "clf", skactiveml.base.SkactivemlClassifier)
            utils.check_equal_missing_label(clf.missing_label, self.missing_label_)
            utils.check_type(fit_clf, "fit_clf", bool)
            if self.error_rate is not None:
                utils.check_scalar(
                    self.error_rate,
                    "error_rate",
                    (int, float),
                    min_val=0,
                    max_val=1,
                    max_inclusive=False,
                )
            if fit_clf:
                weights = () if sample_weight is None else (sample_weight,)
                clf = clone(clf).fit(X, y, *weights)
            inclusion = _robust_inclusion(
                clf.predict_proba(X_cand), self.error_rate, batch_size
            )
            rng = np.random.default_rng(self.random_state_.randint(2**31 - 1))
            drawn = fixed_size_sample(inclusion, rng)
            if mapping is None:
                utilities, chosen = inclusion, drawn
            else:
                utilities, chosen = np.full(len(X), np.nan), mapping[drawn]
                utilities[mapping] = inclusion
            if not return_utilities:
                return chosen
            table = np.tile(utilities, (batch_size, 1))
            for step, row in enumerate(chosen[:-1], start=1):
                table[step:, row] = np.nan
            return chosen, table

    # As if the class stood at the top of this file: pickle finds it by name.
    RobustQueryStrategy.__qualname__ = "RobustQueryStrategy"
    return RobustQueryStrategy


def _robust_inclusion(proba, error_rate, n_queries):
    """Turn probabilities into inclusion probabilities that sum to `n_queries`."""
    gains = np.maximum(margin_gain(np.asarray(proba, dtype=np.float64)), 0.0)
    if error_rate is None:
        return regret_distribution(gains, n_queries)
    game = capped_distribution(gains, error_rate * gains.shape[0], n_queries)
    return np.minimum(game.p * n_queries, 1.0)


def __getattr__(name):
    if name == "RobustQueryStrategy":
        return _robust_query_strategy_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
