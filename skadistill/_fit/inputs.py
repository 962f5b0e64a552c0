"""The rows, labels and metadata of a fit, checked before anything is paid."""

from collections.abc import Mapping

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.multiclass import check_classification_targets

from skadistill._rows._containers import (
    aligned,
    is_frame,
    is_records,
    is_texts,
    take_rows,
)
from skadistill._rows._sources import ChunkedRows, as_rows, refuse_other_features
from skadistill._rows._table import RowTable, unify_frames
from skadistill._utils.compat import validate_data
from skadistill._utils.label_space import same_labels
from skadistill._utils.validation import did_you_mean, read_labels
from skadistill.exceptions import SkadistillError
from skadistill.student._checks import student_classes

__all__ = [
    "check_container",
    "check_inputs",
    "check_rows",
    "extend_metadata",
    "make_scorer",
    "refuse_unrouted",
]


def check_inputs(estimator, X, y, X_unlabeled, *, needs_y=False):
    """Check the rows of X and X_unlabeled and find the labeled ones."""
    if y is None and (needs_y or estimator.unlabeled_marker is None):
        reason = (
            "the teacher has to be fitted on labeled rows; pass y, or a fitted teacher"
            if needs_y
            else "unlabeled_marker=None says that every row of X has a label; pass y, "
            "or another marker"
        )
        raise SkadistillError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            f"the target y is None: {reason}."
        )
    X = check_container(estimator, X, reset=True)
    labeled, given = np.empty(0, dtype=np.intp), np.empty(0)
    if y is not None:
        y, unlabeled = read_labels(y, estimator.unlabeled_marker)
        check_consistent_length(X, y)
        labeled = np.flatnonzero(~unlabeled)
        given = y[labeled]
    if labeled.size:
        if given.dtype == object and not isinstance(given.flat[0], str):
            given = np.asarray(given.tolist())
        assert_all_finite(given, input_name="y")
        check_classification_targets(given)  # a table of zeros and ones is one
    if X_unlabeled is not None:
        X, X_unlabeled = check_rows(estimator, X, X_unlabeled)
    return RowTable(X, X_unlabeled), labeled, given


def check_container(estimator, X, *, reset):
    """Check rows; frames, texts and records stay what they are."""
    if isinstance(X, Mapping) or type(X).__module__.split(".")[0] == "dask":
        raise TypeError(
            f"X is a {type(X).__name__}, which does not support row indexing; pass "
            "an array, a sparse matrix, a DataFrame, a list of texts or a list of "
            "dicts. Dask collections can be passed as X_unlabeled."
        )
    if is_texts(X) or is_records(X):
        return X
    if is_frame(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return X
    return validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse="csr",
        allow_nd=True,
        ensure_all_finite=False,
        dtype=None if _holds_objects(X) else "numeric",
    )


def _holds_objects(X):
    """Tell whether X is an array of objects that are not all numbers."""
    if not isinstance(X, np.ndarray) or X.dtype != object:
        return False
    try:
        X.astype(np.float64)
    except (TypeError, ValueError):
        return True
    return False


def check_rows(estimator, X, X_unlabeled):
    """Check that X_unlabeled holds rows like those of X, and unify their types."""
    if isinstance(X, np.ndarray) or is_frame(X):
        X_unlabeled = as_rows(X_unlabeled, X)
        if isinstance(X_unlabeled, ChunkedRows):
            return X, X_unlabeled
    names = f"X is a {type(X).__name__} and X_unlabeled a {type(X_unlabeled).__name__}"
    if is_frame(X) or is_frame(X_unlabeled) or is_texts(X) or is_records(X):
        if type(X) is not type(X_unlabeled):
            raise ValueError(f"{names}; pass both in the same container.")
        if is_frame(X):
            refuse_other_features(list(X_unlabeled.columns), X)
            return unify_frames(X, X_unlabeled)
        return X, X_unlabeled
    if sparse.issparse(X) != sparse.issparse(X_unlabeled):
        raise ValueError(f"{names}; pass both dense or both sparse.")
    shape = getattr(X_unlabeled, "shape", None) or np.shape(X_unlabeled)
    if len(shape) > 0 and shape[0] == 0:
        return X, X[:0]
    refuse_other_features(tuple(shape[1:]), X)
    return X, check_container(estimator, X_unlabeled, reset=False)


def refuse_unrouted(params):
    """Raise if fit parameters are given that go nowhere."""
    if params and not get_config()["enable_metadata_routing"]:
        raise ValueError(
            f"fit got {sorted(params)}, which is ignored while metadata routing "
            "is off; call sklearn.set_config(enable_metadata_routing=True) and "
            "request it on the student or the teacher, for example with "
            "student.set_fit_request(sample_weight=True)."
        )


def extend_metadata(params, table):
    """Give the rows of X_unlabeled their share of the student's metadata."""
    n_more = table.n_samples - table.n_first
    per_row = {k: v for k, v in params.items() if aligned(v, table.n_first)}
    if "sample_weight" in per_row:
        weight = np.asarray(per_row["sample_weight"])
        per_row["sample_weight"] = np.concatenate([weight, np.ones(n_more)])
    for name in per_row if n_more else ():
        if name != "sample_weight":
            raise ValueError(
                f"{name!r} has one entry for each of the {table.n_first} rows of X "
                f"but none for the {n_more} rows of X_unlabeled, which the "
                "student is trained on as well; mark those rows in y instead of using "
                "X_unlabeled."
            )

    def cut(rows):
        return params | {name: take_rows(v, rows) for name, v in per_row.items()}

    return cut


def make_scorer(estimator, X_val, y_val, space):
    """Return a function that scores any student on labeled rows, and their number."""
    if X_val is None and y_val is None:
        return (lambda student: None), None
    if X_val is None or y_val is None:
        missing = "y_val" if y_val is None else "X_val"
        raise ValueError(
            f"{missing} is None but its partner is not; pass both X_val and y_val, or "
            "neither."
        )
    X_val = check_container(estimator, X_val, reset=False)
    y_val, unlabeled = read_labels(y_val, estimator.unlabeled_marker)
    check_consistent_length(X_val, y_val)
    labeled = np.flatnonzero(~unlabeled)
    X_val, y_val = take_rows(X_val, labeled), y_val[labeled]
    classes = space.classes
    if y_val.shape[1:] != space.shape:
        raise ValueError(
            f"y_val has shape {y_val.shape}, and y holds labels of another kind; pass "
            "labels of the same kind."
        )
    if y_val.ndim == 1 and set(y_val.tolist()).isdisjoint(classes.tolist()):
        raise ValueError(
            f"none of the {len(y_val)} labels in y_val is one of the classes "
            f"{classes.tolist()[:10]}{did_you_mean(y_val[:10].tolist(), classes)}; "
            "pass labels of the same kind."
        )

    def score(student):
        y_pred = student_classes(student, X_val, np.asarray(student.classes_))
        return float(np.mean(same_labels(y_pred, y_val)))

    return score, len(y_val)
