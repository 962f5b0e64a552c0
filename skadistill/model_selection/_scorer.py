"""Scorers that leave out rows without a label."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.metrics import get_scorer, make_scorer
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)

from skadistill._rows._containers import take_metadata, take_rows
from skadistill._utils.validation import labeled_values, read_labels
from skadistill.exceptions import SkadistillError

__all__ = ["LabeledRowsScorer", "ignore_unlabeled"]


def ignore_unlabeled(
    scoring: Any = "accuracy", *, unlabeled_marker: Any = -1
) -> Callable[..., Any] | dict[str, Any]:
    """Make scorers that score labeled rows only.

    Parameters
    ----------
    scoring : str, callable, or list, tuple, set or dict of these, default="accuracy"
        A scorer's name; a scorer, called as ``scorer(estimator, X, y)``; or a
        metric of predicted labels, called as ``metric(y_true, y_pred)``, for which
        greater is better. Several names, or a dict, give a dict of scorers, ready
        for ``scoring=`` of a search over several metrics.
    unlabeled_marker : object, default=-1
        The value that stands for "no label".

    Returns
    -------
    scorer : callable, or dict of callables
        Scorers, ready for ``scoring=``. Rows that carry the marker are taken out of
        ``X``, ``y`` and every metadata value with one entry per row, such as sample
        weights. On rows that all have a label each is the scorer it was made of.

    Raises
    ------
    ValueError
        If a metric needs scores or probabilities, or smaller is better by its
        name: :func:`~sklearn.metrics.make_scorer` can say so.

    See Also
    --------
    PartiallyLabeledSplit : Keeps unlabeled rows out of test folds altogether.

    Notes
    -----
    With scikit-learn's metadata routing the wrapped scorer's requests count, for
    example ``get_scorer("accuracy").set_score_request(sample_weight=True)``.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> from skadistill.model_selection import ignore_unlabeled
    >>> X, y = [[0.0], [0.0], [0.0], [0.0]], [1, 1, 0, -1]
    >>> model = DummyClassifier(strategy="constant", constant=1).fit(X, y)
    >>> score = ignore_unlabeled("accuracy")
    >>> score
    LabeledRowsScorer(make_scorer(accuracy_score, response_method='predict'))
    >>> round(score(model, X, y), 3)
    0.667
    """
    if isinstance(scoring, dict):
        return {
            name: LabeledRowsScorer(one, unlabeled_marker=unlabeled_marker)
            for name, one in scoring.items()
        }
    if isinstance(scoring, list | tuple | set | frozenset):
        if not all(isinstance(name, str) for name in scoring):
            raise ValueError(
                f"scoring={scoring!r} holds something that is not a name; pass a dict "
                "from names to scorers."
            )
        return ignore_unlabeled(
            {name: name for name in scoring}, unlabeled_marker=unlabeled_marker
        )
    return LabeledRowsScorer(scoring, unlabeled_marker=unlabeled_marker)


class LabeledRowsScorer:
    """Score the labeled rows with any scorer, as `ignore_unlabeled` describes."""

    def __init__(self, scoring="accuracy", *, unlabeled_marker=-1):
        self.scorer = _as_scorer(scoring)
        self.unlabeled_marker = unlabeled_marker

    def __call__(self, estimator, X, y_true, **params):
        """Return the wrapped scorer's score; SkadistillError without any label."""
        labels, unlabeled = read_labels(y_true, self.unlabeled_marker)
        labeled = np.flatnonzero(~unlabeled)
        if len(labeled) == 0:
            raise SkadistillError(
                f"none of the {len(labels)} rows to score has a label, all are "
                f"{self.unlabeled_marker!r}; score other rows, or split with "
                "PartiallyLabeledSplit."
            )
        params = self._route(params)
        if len(labeled) < len(labels):
            X = take_rows(X, labeled)
            params = take_metadata(params, labeled, len(labels))
        return self.scorer(estimator, X, labeled_values(labels[labeled]), **params)

    def get_metadata_routing(self):
        """Pass the wrapped scorer's metadata requests on."""
        router = MetadataRouter(owner=self)
        if hasattr(self.scorer, "get_metadata_routing"):
            router.add(
                scorer=self.scorer,
                method_mapping=MethodMapping().add(caller="score", callee="score"),
            )
        return router

    def _route(self, params):
        """Return metadata under the names that the wrapped scorer uses."""
        given = {name: value for name, value in params.items() if value is not None}
        if get_config().get("enable_metadata_routing") and hasattr(
            self.scorer, "get_metadata_routing"
        ):
            return dict(process_routing(self, "score", **given).scorer.score)
        return given

    def _accept_sample_weight(self):
        """Answer scikit-learn's question where routing is off."""
        accept = getattr(self.scorer, "_accept_sample_weight", None)
        if accept is not None:
            return accept()
        return "sample_weight" in signature(self.scorer).parameters

    def __repr__(self):
        marker = ""
        if self.unlabeled_marker is None or self.unlabeled_marker != -1:
            marker = f", unlabeled_marker={self.unlabeled_marker!r}"
        return f"LabeledRowsScorer({self.scorer!r}{marker})"


def _as_scorer(scoring):
    """Return a scorer for a name, a scorer or a metric of predicted labels."""
    if isinstance(scoring, str):
        return get_scorer(scoring)
    if not callable(scoring):
        raise ValueError(
            f"scoring={scoring!r} is neither a name nor callable; pass a scorer's "
            'name such as "accuracy", a scorer, or a metric.'
        )
    if not _is_metric(scoring):
        return scoring
    name = getattr(scoring, "__name__", repr(scoring))
    second = list(signature(scoring).parameters)[1]
    if second != "y_pred" or name in _NEED_PROBABILITIES:
        raise ValueError(
            f"{name} needs more than predicted labels; pass a scorer's name, or "
            "make_scorer(metric, response_method=...)."
        )
    if name.endswith(("_loss", "_error")):
        raise ValueError(
            f"{name} is by its name better when smaller; pass "
            "make_scorer(metric, greater_is_better=False)."
        )
    return make_scorer(scoring)


# Metrics whose second parameter is called y_pred and yet is not made of labels.
_NEED_PROBABILITIES = ("log_loss", "d2_log_loss_score")


def _is_metric(function):
    """Tell metric(y_true, y_pred) from scorer(estimator, X, y)."""
    if hasattr(function, "_score_func"):
        return False
    try:
        names = list(signature(function).parameters)
    except (TypeError, ValueError):
        return False
    return len(names) >= 2 and names[0] == "y_true"
