"""Containers of rows: count, take and stack them, and tell what kind they are."""

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
from scipy import sparse

from skadistill._utils.validation import is_missing

__all__ = [
    "aligned",
    "copy_rows",
    "count_rows",
    "is_frame",
    "is_records",
    "is_texts",
    "stack_rows",
    "take_metadata",
    "take_rows",
]

#: Rows that nobody can change in place.
_CONSTANT = (str, bytes, int, float, complex, bool, type(None))


def count_rows(X):
    """Count the rows of `X`, whatever holds them."""
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) > 0:
        return int(shape[0])
    return len(X)


def take_rows(X, rows):
    """Take some rows of `X` and keep the container."""
    rows = np.asarray(rows, dtype=np.intp)
    if sparse.issparse(X):
        return (X if X.format in ("csr", "csc", "lil", "dok") else X.tocsr())[rows]
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if isinstance(X, list | tuple):
        return [X[i] for i in rows]
    if hasattr(X, "detach"):
        return X[rows.tolist()]
    if hasattr(X, "shape"):
        return X[rows]
    return np.asarray(X)[rows]


def stack_rows(pieces):
    """Put containers of the same kind on top of each other."""
    first = pieces[0]
    if hasattr(first, "iloc"):
        import pandas

        return pandas.concat(pieces, axis=0)
    if hasattr(first, "to_list") or hasattr(first, "get_columns"):
        import polars

        return polars.concat(pieces)
    if hasattr(first, "tocsr"):
        return sparse.vstack(pieces, format="csr")
    if isinstance(first, list | tuple):
        return [row for piece in pieces for row in piece]
    return np.concatenate(pieces)


def is_frame(X):
    """Tell whether X is a table with named columns (pandas, polars)."""
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def is_texts(X):
    """Tell whether X is a one-dimensional collection of strings."""
    return isinstance(_first_row(X), str)


def is_records(X):
    """Tell whether X is a list of dictionaries, one per row."""
    return isinstance(_first_row(X), Mapping)


def _first_row(X):
    """Return the first row of a one-dimensional container that is not missing."""
    if isinstance(X, str | bytes | Mapping) or is_frame(X) or sparse.issparse(X):
        return None
    if getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__"):
        return None
    rows = X.iloc if hasattr(X, "iloc") else X
    for i in range(min(len(X), 1000)):
        row = rows[i]
        if isinstance(row, str | Mapping):
            return row
        # A gap says nothing; anything else settles the question.
        if not is_missing(row):
            return row
    return None


def aligned(value, n_samples):
    """Tell whether a value holds one entry per row, as sample weights do."""
    if isinstance(value, str | bytes | bytearray | Mapping | type):
        return False
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return len(shape) > 0 and shape[0] == n_samples
    if not hasattr(value, "__len__") or not hasattr(value, "__getitem__"):
        return False
    return len(value) == n_samples


def take_metadata(params, rows, n_samples):
    """Take some rows of every parameter that has one entry per row."""
    return {
        name: take_rows(value, rows) if aligned(value, n_samples) else value
        for name, value in params.items()
    }


def copy_rows(X, rows):
    """Take some rows of `X` as copies, down to the objects inside.

    The receiver may empty or change them in place without touching `X`.
    """
    taken = take_rows(X, rows)
    if is_frame(taken):
        return _copy_cells(taken)
    if isinstance(taken, list):
        return [row if isinstance(row, _CONSTANT) else deepcopy(row) for row in taken]
    if getattr(getattr(taken, "dtype", None), "kind", None) == "O":
        return deepcopy(taken)
    return taken


def _copy_cells(frame):
    """Copy the objects in a frame's cells; other cells are copied by taking rows."""
    if not hasattr(frame, "iloc"):
        return frame  # polars hands out copies of what its cells hold
    frame = frame.copy()
    for i, dtype in enumerate(frame.dtypes):
        if getattr(dtype, "kind", None) == "O":
            column = frame.iloc[:, i]
            cells = np.empty(len(frame), dtype=object)
            for j, cell in enumerate(column):
                cells[j] = deepcopy(cell)
            # Objects stay objects: half an emoji is none of the texts of pandas.
            frame.isetitem(i, type(column)(cells, index=frame.index, dtype=dtype))
    return frame
