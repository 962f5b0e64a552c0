"""The out-of-bag score of ensembles that were fitted to copies of rows."""

import warnings

import numpy as np
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    RandomForestClassifier,
)
from sklearn.metrics import accuracy_score

from skadistill._utils.compat import validate_data

__all__ = ["can_score_out_of_bag", "score_out_of_bag"]


def can_score_out_of_bag(estimator):
    """Tell whether :func:`score_out_of_bag` knows how an ensemble was fitted."""
    kinds = RandomForestClassifier | ExtraTreesClassifier | BaggingClassifier
    return isinstance(estimator, kinds)


def score_out_of_bag(estimator, X, rows, labels, metric=True):
    """Score an ensemble on each row with the members that saw no copy of it."""
    X = validate_data(
        estimator,
        X,
        reset=False,
        accept_sparse="csr",
        ensure_all_finite=False,
        dtype=None if isinstance(estimator, BaggingClassifier) else np.float32,
    )
    votes = np.zeros((X.shape[0], len(estimator.classes_)))
    features = getattr(
        estimator, "estimators_features_", [slice(None)] * len(estimator.estimators_)
    )
    for member, drawn, columns in zip(
        estimator.estimators_, estimator.estimators_samples_, features, strict=True
    ):
        unseen = np.ones(X.shape[0], dtype=bool)
        unseen[rows[drawn]] = False
        if unseen.any():
            part = X[unseen][:, columns]
            # Members know classes by their positions, and perhaps not all.
            known = np.asarray(member.classes_).astype(int)
            votes[np.ix_(unseen, known)] += (
                member.predict_proba(part)
                if hasattr(member, "predict_proba")
                else np.eye(len(known))[np.searchsorted(known, member.predict(part))]
            )
    total = votes.sum(axis=1, keepdims=True)
    scored = total[:, 0] > 0
    if not scored.all():
        warnings.warn(
            f"{int((~scored).sum())} of {len(scored)} rows are in the bag of every "
            "member, so that oob_score_ is about the others; raise n_estimators.",
            stacklevel=2,
        )
    with np.errstate(invalid="ignore"):
        estimator.oob_decision_function_ = votes / total
    score = metric if callable(metric) else accuracy_score
    best = estimator.classes_[votes[scored].argmax(axis=1)]
    estimator.oob_score_ = score(labels[scored], best) if scored.any() else np.nan
