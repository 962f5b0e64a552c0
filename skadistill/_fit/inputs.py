"""What comes through the two doors of `fit`, checked before anything is paid."""

import numpy as np
from scipy import sparse
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from skadistill._compat import validate_data
from skadistill._rows._containers import is_frame, is_texts
from skadistill._rows._sources import ChunkedRows, as_rows, refuse_other_features
from skadistill._rows._table import RowTable
from skadistill._validation import unlabeled_mask
from skadistill.exceptions import NoLabeledRowsError, SingleClassError

__all__ = ["check_container", "check_inputs", "extend_metadata"]


def check_inputs(estimator, X, y, X_unlabeled):
    """Check the rows of both doors and find the labeled ones.

    Parameters
    ----------
    estimator : estimator
        Named in errors; learns ``n_features_in_`` and ``feature_names_in_``. Its
        ``unlabeled_marker`` says which entries of `y` are no label.
    X, y, X_unlabeled : as in ``ActiveDistiller.fit``
        The rows and labels.

    Returns
    -------
    table : RowTable
        All rows, those of X first.
    given : ndarray of shape (n_labeled,)
        Their labels; numbers that shared an object array with a marker have a
        numeric dtype again.
    labeled : ndarray of int of shape (n_labeled,)
        Positions of the labeled rows, ascending.

    Raises
    ------
    NoLabeledRowsError, SingleClassError, ValueError
        If the rows cannot train a first student, or the doors disagree.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            "the target y is None."
        )
    X = check_container(estimator, X, reset=True)
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_consistent_length(X, y)
    marker = estimator.unlabeled_marker
    labeled = np.flatnonzero(~unlabeled_mask(y, marker))
    if labeled.size == 0:
        raise NoLabeledRowsError(
            f"none of the {len(y)} rows has a label: every entry of y equals "
            f"unlabeled_marker={marker!r}; give some labels, the first student is "
            "trained on them."
        )
    given = y[labeled]
    if given.dtype == object and not isinstance(given[0], str):
        given = np.asarray(given.tolist())
    check_classification_targets(given)
    classes = np.unique(given)
    if classes.shape[0] < 2:
        raise SingleClassError(
            f"the {labeled.size} labeled rows hold one class only, "
            f"{classes.tolist()[0]!r}; a classifier needs labeled rows of at least "
            "two classes."
        )
    if X_unlabeled is not None:
        X_unlabeled = _check_second_door(estimator, X, X_unlabeled)
    return RowTable(X, X_unlabeled), given, labeled


def check_container(estimator, X, *, reset, finite=True):
    """Check rows; frames and texts stay what they are, the rest becomes numeric.

    Parameters
    ----------
    estimator : estimator
        As in `check_inputs`.
    X : container
        The rows.
    reset : bool
        Whether to learn the number and names of features, or to compare them.
    finite : bool, default=True
        Whether to refuse NaN and infinity where the estimator cannot take them.

    Returns
    -------
    X : ndarray, CSR matrix, DataFrame or texts
        The rows.
    """
    if is_texts(X):
        return X
    if is_frame(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return X
    finite = finite and not estimator.__sklearn_tags__().input_tags.allow_nan
    return validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse="csr",
        allow_nd=True,
        ensure_all_finite=finite,
    )


def _check_second_door(estimator, X, X_unlabeled):
    """Check that X_unlabeled holds rows like those of X."""
    if isinstance(X, np.ndarray) or is_frame(X):
        X_unlabeled = as_rows(X_unlabeled, X)
        if isinstance(X_unlabeled, ChunkedRows):
            return X_unlabeled
    names = f"X is a {type(X).__name__} and X_unlabeled a {type(X_unlabeled).__name__}"
    if is_frame(X) or is_frame(X_unlabeled) or is_texts(X):
        if type(X) is not type(X_unlabeled):
            raise ValueError(f"{names}; pass both in the same container.")
        if is_frame(X):
            refuse_other_features(list(X_unlabeled.columns), X)
        return X_unlabeled
    if sparse.issparse(X) != sparse.issparse(X_unlabeled):
        raise ValueError(f"{names}; pass both dense or both sparse.")
    shape = getattr(X_unlabeled, "shape", None) or np.shape(X_unlabeled)
    if len(shape) > 0 and shape[0] == 0:
        return X[:0]
    refuse_other_features(tuple(shape[1:]), X)
    return check_container(estimator, X_unlabeled, reset=False)


class _PerRow(np.ndarray):
    """Mark an array that has one entry for every row of the table."""


def extend_metadata(params, table):
    """Give the rows of X_unlabeled their share of the student's metadata.

    Parameters
    ----------
    params : dict
        What was routed to the student's ``fit``.
    table : RowTable
        The rows.

    Returns
    -------
    cut : callable
        ``cut(rows)`` returns the parameters for training on these rows.

    Raises
    ------
    ValueError
        If metadata other than ``sample_weight`` has an entry for each row of X and
        there are rows in X_unlabeled.
    """
    extended = {name: _extend(name, value, table) for name, value in params.items()}

    def cut(rows):
        return {
            name: np.asarray(value[rows]) if isinstance(value, _PerRow) else value
            for name, value in extended.items()
        }

    return cut


def _extend(name, value, table):
    if not hasattr(value, "__len__") or len(value) != table.n_first:
        return value
    value = np.asarray(value)
    n_more = table.n_samples - table.n_first
    if n_more and name != "sample_weight":
        raise ValueError(
            f"{name!r} has one entry for each of the {table.n_first} rows of X but "
            f"none for the {n_more} rows of X_unlabeled, on which the student is "
            "trained as well; mark those rows in y instead of using X_unlabeled."
        )
    return np.concatenate([value, np.ones(n_more)] if n_more else [value]).view(_PerRow)
