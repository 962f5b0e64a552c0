"""LayerNASSearchCV: cross-validate candidates layer by layer under a cost limit."""

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV

from skadistill._compat import Interval, StrOptions
from skadistill.ledger import MemoryLedger
from skadistill.search._cost import COSTS, CostMeter
from skadistill.search._known import KnownResults
from skadistill.search._layernas import (
    COMPLETIONS,
    Space,
    estimate_evaluations,
    layernas,
)

__all__ = ["LayerNASSearchCV"]

logger = logging.getLogger(__name__)


class LayerNASSearchCV(BaseSearchCV):
    """Search the best student under a cost limit, layer by layer, by cross-validation.

    A scikit-learn search like ``GridSearchCV``: ``cv_results_``, ``best_params_``,
    ``refit``, ``n_jobs``, metadata routing and callbacks are what they are there.
    But parameters are decided in the order of `layers`, a few candidates are kept
    for each cost, and the choice costs `max_cost` at most; see :func:`layernas`.
    All candidates of one layer are trained in parallel.

    Parameters
    ----------
    estimator : estimator
        What is searched: a :class:`~skadistill.student.StudentNet`, an
        :class:`~skadistill.ActiveDistiller`, a ``Pipeline``, any estimator. Of
        distillers without a ledger all candidates, folds and the final fit share a
        new one, ``ledger_``, so that no row is paid for twice for one and the same
        teacher.
    layers : mapping of str to list
        The options of each layer, in the order in which layers are decided. A layer
        is named by the parameter it sets; where options are dicts, each sets
        several parameters at once, and the name is free.
    max_cost : float or None
        The largest cost allowed for the choice. None: no limit.
    cost : {"params", "macs", "latency"} or callable, default="params"
        What a candidate costs, measured before it is trained: the trainable
        parameters of the student that would be built, its multiply-accumulate
        operations for one row, the median seconds of predicting one batch of 256
        rows of `X` (:func:`count_params`, :func:`count_macs`,
        :func:`measure_latency`), or ``cost(estimator) -> float`` of an unfitted
        clone with the candidate's parameters.
    n_buckets : int, "auto" or None, default="auto"
        Number of buckets of cost, see :func:`layernas`. "auto": as many as half of
        `max_evaluations` allows; without that, 8. None: one for each distinct cost.
    n_replicas : int, default=1
        Candidates that a bucket keeps. More guard against noisy scores.
    default : {"fit", "largest", "smallest"} or mapping, default="fit"
        How layers not yet decided are filled in, see :func:`layernas`.
    max_evaluations : int or None, default=None
        Candidates to train at most, each on every fold. What the layers leave is
        spent on refining the best. None: no refinement.
    scoring : str, callable, list, tuple, dict or None, default=None
        As in ``GridSearchCV``. With several metrics `refit` names the one searched
        for.
    n_jobs : int or None, default=None
        Processes; all candidates and folds of a layer run in parallel.
    refit : bool, str or callable, default=True
        As in ``GridSearchCV``. A callable gets ``cv_results_`` with its column
        ``cost`` and answers for the limit itself.
    cv : int, splitter or None, default=None
        As in ``GridSearchCV``. A splitter is asked once, so that all layers are
        compared on the same folds.
    verbose : int, default=0
        As in ``GridSearchCV``.
    pre_dispatch : int or str, default="2*n_jobs"
        As in ``GridSearchCV``.
    error_score : "raise" or float, NaN by default
        As in ``GridSearchCV``; NaN is the worst score. Where every fit of a layer
        fails the search ends with an error.
    return_train_score : bool, default=False
        As in ``GridSearchCV``.
    previous : dict or None, default=None
        The ``cv_results_`` of an earlier search of the same estimator on the same
        rows and folds, which nobody can check but you. Its candidates are not
        trained again; the new ``cv_results_`` hold their rows where this search
        meets them. Where all are known the choice alone is trained again.
    random_state : int, RandomState or None, default=None
        Draws the rows on which the latency is measured. The search itself draws
        nothing.

    Attributes
    ----------
    cv_results_ : dict of arrays
        As in ``GridSearchCV``, with ``cost`` and ``step``: the position of the layer
        that asked for the candidate, or more for refinements. Ranks are over all
        candidates, also those over the limit.
    best_index_, best_params_, best_score_, best_estimator_
        As in ``GridSearchCV``, among candidates within `max_cost`. Equal scores:
        the cheaper, then the first one.
    best_cost_ : float
        Its cost.
    n_buckets_ : int or None
        The number of buckets used.
    ledger_ : MemoryLedger
        What all distillers of the search paid for; there only if it was made here.
    scorer_, n_splits_, refit_time_, multimetric_, classes_, n_features_in_, \
feature_names_in_
        As in ``GridSearchCV``.

    See Also
    --------
    layernas : The search itself, and what it assumes.
    skadistill.plotting.CostFrontierDisplay : Draw score against cost.

    Notes
    -----
    A ledger in memory is not shared between processes: with ``n_jobs=2`` each pays
    for itself and warns. Use threads
    (``joblib.parallel_config(backend="threading")``) or a ledger on disk.
    An unfitted teacher is fitted anew in each fold, so it is another teacher there,
    and its labels are its own.

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
    >>> search = LayerNASSearchCV(net, space, max_cost=80, cv=2).fit(X, y)
    >>> search.best_cost_ <= 80
    True
    """

    estimator: Any

    _parameter_constraints: dict = {
        **BaseSearchCV._parameter_constraints,
        "layers": [Mapping],
        "max_cost": [Interval(Real, 0, None, closed="left"), None],
        "cost": [StrOptions(set(COSTS)), callable],
        "n_buckets": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
            None,
        ],
        "n_replicas": [Interval(Integral, 1, None, closed="left")],
        "default": [StrOptions(set(COMPLETIONS)), Mapping],
        "max_evaluations": [Interval(Integral, 1, None, closed="left"), None],
        "previous": [dict, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator,
        layers,
        *,
        max_cost,
        cost="params",
        n_buckets="auto",
        n_replicas=1,
        default="fit",
        max_evaluations=None,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        error_score=np.nan,
        return_train_score=False,
        previous=None,
        random_state=None,
    ):
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
        self.max_cost = max_cost
        self.cost = cost
        self.n_buckets = n_buckets
        self.n_replicas = n_replicas
        self.default = default
        self.max_evaluations = max_evaluations
        self.previous = previous
        self.random_state = random_state

    def fit(self, X, y=None, **params):
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
            if no candidate can cost `max_cost` or less, or if `max_evaluations` is
            too small.
        """
        self._validate_params()
        self._check_layers()
        with self._shared_ledger():
            # These need X and y, which BaseSearchCV does not hand to `_run_search`.
            self._meter = CostMeter(self.estimator, self.cost, X, y, self.random_state)
            splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
            self._splits = _SameSplits(splitter)
            try:
                return super().fit(X, y, **params)
            finally:
                del self._meter, self._splits

    def estimate_evaluations(self):
        """Bound the number of candidates that `fit` will train on each fold.

        Returns
        -------
        n_evaluations : int
            See :func:`estimate_evaluations`; times the number of folds, plus one for
            `refit`, it bounds the number of trainings.
        """
        return estimate_evaluations(
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

        def cost(candidate):
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
            cost,
            self.layers,
            max_cost=self.max_cost,
            n_buckets=self.n_buckets,
            n_replicas=self.n_replicas,
            default=self.default,
            max_evaluations=self.max_evaluations,
        )
        logger.info(
            "%d candidates scored; the best has score %g at cost %g",
            result.n_evaluations,
            result.best_score,
            result.best_cost,
        )
        settings = [candidate_params(c) for c in result.candidates]
        if not results:
            # BaseSearchCV cannot do without a training.
            train([settings[result.best_index]])
        tasks.close()
        # The last dict returned is the one that becomes `cv_results_`.
        known.merge_into(results, settings)
        results.update(cost=result.costs, step=result.steps)
        self.n_buckets_ = result.n_buckets

    def _check_layers(self):
        """Refuse layers and metrics that would fail in the middle of a search."""
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
                "with several metrics the search must know which one to search for, "
                f"got refit={self.refit!r}; pass the name of a metric as refit."
            )

    def _searched_column(self, results):
        """Name the column of scores that decides."""
        column = f"mean_test_{self.refit}"
        if isinstance(self.refit, str) and column in results:
            return column
        if "mean_test_score" in results:
            return "mean_test_score"
        names = [n for n in results if n.startswith("mean_test_")]
        raise ValueError(
            f"refit={self.refit!r} names none of the metrics in {names}; pass the name "
            "of the metric to search for."
        )

    def _select_best_index(self, refit, refit_metric, results):
        """Select the best candidate within the limit."""
        if callable(refit):
            index = BaseSearchCV._select_best_index(refit, refit_metric, results)
        else:
            scores = results[f"mean_test_{refit_metric}"]
            loss = np.where(np.isnan(scores), np.inf, -scores)
            if self.max_cost is not None:
                loss[results["cost"] > self.max_cost] = np.nan  # sorted to the end
            index = int(np.lexsort((results["cost"], loss))[0])
        self.best_cost_ = float(results["cost"][index])
        return index

    def __getstate__(self):
        state = dict(super().__getstate__())
        # BaseSearchCV sends the search to its workers; they need no second X.
        state.pop("_meter", None)
        state.pop("_splits", None)
        return state

    @contextmanager
    def _shared_ledger(self):
        """Give distillers without a ledger one in common, for as long as it fits."""
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
    """Ask a splitter once and give the same folds ever after."""

    def __init__(self, splitter):
        self.splitter = splitter
        self._splits = None

    def split(self, X, y=None, **params):
        """Return the folds of the first call."""
        if self._splits is None:
            self._splits = list(self.splitter.split(X, y, **params))
        return self._splits


class _SearchTasks:
    """Report each layer as one task of scikit-learn's callbacks, where they exist."""

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


def candidate_params(candidate):
    """Merge the options of a candidate into the parameters they set.

    Parameters
    ----------
    candidate : dict
        Layer name -> option. An option that is a dict holds parameters; any other
        is the value of the parameter that the layer's name names.

    Returns
    -------
    params : dict
        Parameter name -> value.

    Examples
    --------
    >>> from skadistill.search._search_cv import candidate_params
    >>> candidate_params({"alpha": 1.0, "block": {"width": 8, "kernel": 3}})
    {'alpha': 1.0, 'width': 8, 'kernel': 3}
    """
    params: dict = {}
    for layer, option in candidate.items():
        params.update(option if isinstance(option, Mapping) else {layer: option})
    return params


def _missing_ledgers(estimator):
    """Name the parameters that hold a distiller's ledger and are None."""
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
