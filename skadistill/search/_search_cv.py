"""LayerNASSearchCV: cross-validate candidates layer by layer under a size limit."""

import logging
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv

from skadistill._utils.compat import BaseSearchCV, StrOptions
from skadistill._utils.interrupts import explained_interrupts
from skadistill.ledger import MemoryLedger
from skadistill.search._candidates import KnownResults, Space, candidate_params
from skadistill.search._layernas import CONSTRAINTS, bound_evaluations, layernas
from skadistill.search._size import SIZES, SizeMeter

__all__ = ["LayerNASSearchCV"]

logger = logging.getLogger(__name__)


def _candidates_lost(search, *args, **params):
    """Say what an interrupted search leaves."""
    return (
        "Interrupted: the candidates trained so far are not kept; call fit again with "
        "a smaller max_evaluations. Labels bought by distillers are in their ledgers."
    )


class LayerNASSearchCV(BaseSearchCV):
    """Search the best student under a size limit, layer by layer, by cross-validation.

    This search is used like ``GridSearchCV``: ``cv_results_``, ``best_params_``,
    ``refit``, ``n_jobs``, metadata routing and callbacks work in the same way. But
    parameters are decided in the order of `layers`, a few candidates are kept for
    each size, and the choice is no larger than `max_size`; see :func:`layernas`. All
    candidates of one layer are trained in parallel.

    Parameters
    ----------
    estimator : estimator
        The model to search: a :class:`~skadistill.student.StudentNet`, an
        :class:`~skadistill.ActiveDistiller`, a ``Pipeline`` or any other estimator.
        If it contains distillers without a ledger, all candidates, folds and the
        final fit share a new one, ``ledger_``, so that no row is paid for twice to
        the same teacher.
    layers : mapping of str to list
        The options of each layer, in the order in which layers are decided. A layer
        is named after the parameter it sets; an option that is a dict sets several
        parameters at once, and the name of its layer is free.
    max_size : float or None
        The largest size allowed for the choice. None: no limit.
    size : {"params", "macs", "latency"} or callable, default="params"
        The size of a candidate, measured before it is trained. "params": trainable
        parameters of the network that would be built: of a ``StudentNet`` or another
        skorch net, an ``MLPClassifier`` or ``MLPRegressor``, a ``Pipeline`` that ends
        in one, whose other steps are fitted, or the student of an
        ``ActiveDistiller``. "macs": multiply-accumulate operations per row, in linear
        and convolutional layers. "latency": median seconds of predicting one batch of
        256 rows of `X`, with all steps of a pipeline. A function
        ``size(estimator) -> float`` gets an unfitted clone with the candidate's
        parameters.
    n_buckets : int, "auto" or None, default="auto"
        Number of size buckets, see :func:`layernas`. "auto": as many as half of
        `max_evaluations` allows; 8 without `max_evaluations`. None: one per distinct
        size.
    n_replicas : int, default=1
        Candidates that a bucket keeps. More of them guard against noisy scores.
    default : {"fit", "largest", "smallest"} or mapping, default="fit"
        How layers that are not decided yet are filled in, see :func:`layernas`.
    max_evaluations : int or None, default=None
        Largest number of candidates to train, each on every fold. Evaluations that
        the layers leave are spent on refining the best. None: no refinement.
    scoring : str, callable, list, tuple, dict or None, default=None
        As in ``GridSearchCV``. With several metrics, `refit` names the one to
        maximize.
    n_jobs : int or None, default=None
        Processes; all candidates and folds of a layer run in parallel.
    refit : bool, str or callable, default=True
        As in ``GridSearchCV``. A callable gets ``cv_results_`` with its column
        ``size`` and must respect the limit itself.
    cv : int, splitter or None, default=None
        As in ``GridSearchCV``. Splits are drawn once, so that all layers are
        compared on the same folds.
    verbose : int, default=0
        As in ``GridSearchCV``.
    pre_dispatch : int or str, default="2*n_jobs"
        As in ``GridSearchCV``.
    error_score : "raise" or float, NaN by default
        As in ``GridSearchCV``; NaN is the worst score. If every fit of a layer
        fails, the search ends with an error.
    return_train_score : bool, default=False
        As in ``GridSearchCV``.
    previous : dict or None, default=None
        The ``cv_results_`` of an earlier search of the same estimator on the same
        rows and folds; that they are the same is not checked. Its candidates are not
        trained again, and the new ``cv_results_`` contain the rows of those that this
        search meets. If all are known, only the choice is trained again.
    random_state : int, RandomState or None, default=None
        Draws the rows to measure latency with. The search itself is not
        random.

    Attributes
    ----------
    cv_results_ : dict of arrays
        As in ``GridSearchCV``, with ``size`` and ``step``: the position of the layer
        that asked for the candidate, or more for refinements. Ranks are over all
        candidates, including those over the limit.
    best_index_, best_params_, best_score_, best_estimator_
        As in ``GridSearchCV``, among candidates within `max_size`. Of equal scores
        the smaller candidate wins, then the first one.
    best_size_ : float
        Size of the best candidate.
    n_buckets_ : int or None
        The number of buckets used.
    ledger_ : MemoryLedger
        Labels that all distillers of the search paid for; only if `estimator`
        contains distillers without a ledger.
    scorer_, n_splits_, refit_time_, multimetric_, classes_, n_features_in_, \
feature_names_in_
        As in ``GridSearchCV``.

    See Also
    --------
    layernas : The search itself, and its assumptions.
    skadistill.plotting.ParetoFrontDisplay : Draw score against size.

    Notes
    -----
    A ledger in memory is not shared between processes: with ``n_jobs=2`` each
    process pays for its own labels and warns. Use threads
    (``joblib.parallel_config(backend="threading")``) or a ledger on disk.
    An unfitted teacher is fitted again in each fold, so each fold has another teacher
    with its own labels.

    References
    ----------
    .. [1] Fan, Alon, Shen, Peng, Kumar, Long, Wang, Iliopoulos, Juan, Vee.
       "LayerNAS: Neural Architecture Search in Polynomial Complexity."
       arXiv:2304.11517, 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skadistill.search import LayeredMLP, LayerNASSearchCV, mlp_space
    >>> from skadistill.student import StudentNet
    >>> X, y = load_iris(return_X_y=True)
    >>> net = StudentNet(
    ...     LayeredMLP, standardize=True, max_epochs=20, random_state=0
    ... )
    >>> space = mlp_space(n_layers=2, widths=[4, 8])
    >>> search = LayerNASSearchCV(net, space, max_size=80, cv=2).fit(X, y)
    >>> search.best_size_ <= 80
    True
    """

    cv_results_: dict[str, Any]
    best_size_: float
    n_buckets_: int | None
    ledger_: MemoryLedger

    estimator: Any

    _parameter_constraints: dict = {
        **BaseSearchCV._parameter_constraints,
        **CONSTRAINTS,
        "size": [StrOptions(set(SIZES)), callable],
        "previous": [dict, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        layers: Any,
        *,
        max_size: float | None,
        size: str | Callable[..., Any] = "params",
        n_buckets: int | str | None = "auto",
        n_replicas: int = 1,
        default: Any = "fit",
        max_evaluations: int | None = None,
        scoring: str
        | Callable[..., Any]
        | list[Any]
        | tuple[Any, ...]
        | dict[Any, Any]
        | None = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., Any] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        previous: dict[Any, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.layers = layers
        self.max_size = max_size
        self.size = size
        self.n_buckets = n_buckets
        self.n_replicas = n_replicas
        self.default = default
        self.max_evaluations = max_evaluations
        self.previous = previous
        self.random_state = random_state

    @explained_interrupts(_candidates_lost)
    def fit(self, X: Any, y: ArrayLike | None = None, **params: Any) -> Self:
        """Search, and fit the choice on all rows.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or list of length n_samples
            Rows.
        y : array-like of shape (n_samples,) or None, default=None
            Labels.
        **params : dict
            As in ``GridSearchCV``: passed to the estimator's ``fit``, the splitter
            and the scorer.

        Returns
        -------
        self : LayerNASSearchCV
            Fitted.

        Raises
        ------
        ValueError
            Before any training, if a layer is empty or sets an unknown parameter,
            if no candidate is as small as `max_size`, or if `max_evaluations` is too
            small.
        """
        self._validate_params()
        self._check_layers()
        with self._shared_ledger():
            # These need X and y, which BaseSearchCV does not hand to `_run_search`.
            self._meter = SizeMeter(self.estimator, self.size, X, y, self.random_state)
            splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
            self._splits = _SameSplits(splitter)
            try:
                return super().fit(X, y, **params)
            finally:
                del self._meter, self._splits

    def estimate_evaluations(self) -> int:
        r"""Bound the number of candidates that `fit` will train on each fold.

        Layer :math:`l` extends at most :math:`H R` prefixes by its options, and never
        more than there are:

        .. math:: \sum_{l=1}^{L} |S_l| \min\Bigl(H R, \prod_{k<l} |S_k|\Bigr)
            = O(H R \, |S| \, L).

        Prefixes over the limit and repeated candidates make it fewer. No search
        trains more than the whole space, or more than `max_evaluations`.

        Returns
        -------
        n_evaluations : int
            Times the number of folds, plus one for `refit`, it bounds the number of
            trainings.
        """
        self._validate_params()
        return bound_evaluations(
            self.layers,
            n_buckets=self.n_buckets,
            n_replicas=self.n_replicas,
            max_evaluations=self.max_evaluations,
        )

    def _run_search(self, evaluate_candidates, *, callback_ctx=None):
        """Let `layernas` propose candidates, a layer at a time."""
        tasks = _SearchTasks(self, callback_ctx)
        known = KnownResults(self.previous)
        results: dict = {}

        def size(candidate):
            return self._meter(candidate_params(candidate))

        def train(settings):
            nonlocal results
            logger.info("training %d candidates", len(settings))
            with tasks.step(len(settings)) as context:
                results = evaluate_candidates(settings, cv=self._splits, **context)
            return results[self._searched_column(results)][-len(settings) :]

        def evaluate(candidates):
            settings = [candidate_params(c) for c in candidates]
            return known.complete(settings, train, self._searched_column)

        result = layernas(
            evaluate,
            size,
            self.layers,
            max_size=self.max_size,
            n_buckets=self.n_buckets,
            n_replicas=self.n_replicas,
            default=self.default,
            max_evaluations=self.max_evaluations,
        )
        logger.info(
            "%d candidates scored; the best has score %g at size %g",
            result.n_evaluations,
            result.best_score,
            result.best_size,
        )
        settings = [candidate_params(c) for c in result.candidates]
        if not results:
            # BaseSearchCV needs the results of at least one training.
            train([settings[result.best_index]])
        tasks.close()
        # The last dict returned is the one that becomes `cv_results_`.
        known.merge_into(results, settings)
        results.update(size=result.sizes, step=result.steps)
        self.n_buckets_ = result.n_buckets

    def _check_layers(self):
        """Raise for layers and metrics that would fail in the middle of a search."""
        space = Space(self.layers)
        seen: dict = {}
        for layer, options in zip(space.names, space.options, strict=True):
            for option in options:
                params = candidate_params({layer: option})
                for name in params:
                    if seen.setdefault(name, layer) != layer:
                        raise ValueError(
                            f"the layers {seen[name]!r} and {layer!r} both set the "
                            f"parameter {name!r}; let one layer set it."
                        )
                try:
                    clone(self.estimator).set_params(**clone(params, safe=False))
                except ValueError as error:
                    raise ValueError(
                        f"layer {layer!r} sets {params!r}, which "
                        f"{type(self.estimator).__name__} does not take; name "
                        "parameters of the estimator, or pass dicts of them as "
                        "options."
                    ) from error
        if isinstance(self.scoring, (list, tuple, dict, set)) and not isinstance(
            self.refit, str
        ):
            raise ValueError(
                "with several metrics the search must know which one to maximize, "
                f"got refit={self.refit!r}; pass the name of a metric as refit."
            )

    def _searched_column(self, results):
        """Return the name of the column of scores to maximize."""
        column = f"mean_test_{self.refit}"
        if isinstance(self.refit, str) and column in results:
            return column
        if "mean_test_score" in results:
            return "mean_test_score"
        names = [n for n in results if n.startswith("mean_test_")]
        raise ValueError(
            f"refit={self.refit!r} names none of the metrics in {names}; pass the name "
            "of the metric to maximize."
        )

    def _select_best_index(self, refit, refit_metric, results):
        """Select the best candidate within the limit."""
        if callable(refit):
            index = BaseSearchCV._select_best_index(refit, refit_metric, results)
        else:
            scores = results[f"mean_test_{refit_metric}"]
            loss = np.where(np.isnan(scores), np.inf, -scores)
            if self.max_size is not None:
                loss[results["size"] > self.max_size] = np.nan  # sorted to the end
            index = int(np.lexsort((results["size"], loss))[0])
        self.best_size_ = float(results["size"][index])
        return index

    def __getstate__(self) -> Any:
        state = dict(super().__getstate__())
        # BaseSearchCV sends the search to its workers; they need no second X.
        state.pop("_meter", None)
        state.pop("_splits", None)
        return state

    @contextmanager
    def _shared_ledger(self):
        """Give distillers without a ledger a common one during `fit`."""
        own = self.estimator
        names = _missing_ledgers(own)
        if not names:
            yield
            return
        self.ledger_ = MemoryLedger()
        # BaseSearchCV clones `self.estimator`; clones of a distiller share its ledger.
        self.estimator = clone(own).set_params(**dict.fromkeys(names, self.ledger_))
        try:
            yield
        finally:
            self.estimator = own


class _SameSplits:
    """Call a splitter once and return the same folds afterwards."""

    def __init__(self, splitter):
        self.splitter = splitter
        self._splits = None

    def split(self, X, y=None, **params):
        """Return the folds of the first call."""
        if self._splits is None:
            self._splits = list(self.splitter.split(X, y, **params))
        return self._splits


class _SearchTasks:
    """Report each layer as one task of scikit-learn's callbacks, if it has them."""

    def __init__(self, search, context):
        self.search = search
        self.context = context
        if context is not None:
            self.context = context.subcontext(task_name="search", max_subtasks=None)
            self.context.call_on_fit_task_begin(estimator=search)

    @contextmanager
    def step(self, n_candidates):
        """Open a task for one batch of candidates; yield it as a keyword argument."""
        if self.context is None:
            yield {}
            return
        step = self.context.subcontext(
            task_name="layer",
            max_subtasks=n_candidates * self.search.n_splits_,
            sequential_subtasks=False,
        )
        step.call_on_fit_task_begin(estimator=self.search)
        yield {"callback_ctx": step}
        step.call_on_fit_task_end(estimator=self.search)

    def close(self):
        """Close the task of the whole search."""
        if self.context is not None:
            self.context.call_on_fit_task_end(estimator=self.search)


def _missing_ledgers(estimator):
    """List the parameters that hold a distiller's ledger and are None."""
    if not hasattr(estimator, "get_params"):
        return []
    params = estimator.get_params(deep=True)
    return [
        name
        for name, value in params.items()
        if value is None
        and (name == "ledger" or name.endswith("__ledger"))
        and f"{name.removesuffix('ledger')}teacher" in params
    ]
