"""Tell what a graph is fed with: one table, or the columns of a frame."""

from numbers import Integral
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

from skadistill._utils.validation import is_missing

__all__ = ["Input", "feed", "inputs_of"]


class Input(NamedTuple):
    """Name, type and shape of an input of a graph."""

    name: str
    # A type of numpy; str for texts.
    dtype: type
    shape: list

    @property
    def is_exact(self):
        """Tell whether float32 holds all values."""
        return self.dtype in (str, np.float32)


def inputs_of(X, by_column):
    """Return the inputs for rows; those of a frame are columns if they differ."""
    if hasattr(X, "columns"):
        columns = [Input(name, _type_of(X[name]), [None, 1]) for name in X.columns]
        if by_column or any(entry.dtype is str for entry in columns):
            return columns
    X = _as_array(X)
    kind = X.dtype.kind
    dtype = {"U": str, "b": np.bool_, "i": np.int64, "u": np.int64}.get(kind)
    if dtype is None:
        dtype = np.float32 if X.dtype in (np.float16, np.float32) else np.float64
    return [Input("X", dtype, [None, *X.shape[1:]])]


def feed(X, inputs):
    """Return rows as what a graph is fed with, by the names of its inputs."""
    if [entry.name for entry in inputs] == ["X"] and not _has_column(X, "X"):
        return {"X": _as_array(X).astype(inputs[0].dtype)}
    return {entry.name: _column(X[entry.name], entry.dtype) for entry in inputs}


def _has_column(X, name):
    return hasattr(X, "columns") and name in X.columns


def _as_array(X):
    """Return rows as an array of numbers or strings, whose rows are its first axis."""
    if hasattr(X, "columns"):
        return np.hstack([_column(X[name], _type_of(X[name])) for name in X.columns])
    X = X.toarray() if issparse(X) else np.asarray(X)
    if X.dtype.kind not in "biufU":
        X = np.asarray(X.tolist())  # numbers or texts
    return X[:, None] if X.ndim == 1 else X


def _type_of(column):
    """Return the type of the values of a column."""
    values = [value for value in column.to_list() if not is_missing(value)]
    whole = len(values) == len(column)
    if all(isinstance(value, bool | np.bool_) for value in values):
        return np.bool_ if whole and values else np.float32
    if all(isinstance(value, Integral) for value in values):
        return np.int64 if whole else np.float64
    try:
        np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return str
    if any(isinstance(value, str) for value in values):
        return str
    return np.float32 if "32" in str(column.dtype) else np.float64


def _column(column, dtype):
    """Return a column of a frame: what is missing is NaN or an empty string."""
    empty = "" if dtype is str else np.nan
    values = [empty if is_missing(value) else value for value in column.to_list()]
    if dtype is str:
        values = [str(value) for value in values]
    return np.array(values, dtype=dtype)[:, None]
