"""All rows of a fit as one table of common types: those of X, then X_unlabeled."""

import numpy as np
from sklearn import get_config

from skadistill._rows._containers import count_rows, stack_rows, take_rows
from skadistill._rows._sources import ChunkedRows

__all__ = ["RowTable", "take_part", "unify_frames"]


class RowTable:
    """Address the rows of X and X_unlabeled by one number and take some of them."""

    def __init__(self, X, X_unlabeled=None):
        self.parts = [X] if X_unlabeled is None else [X, X_unlabeled]
        self.n_first = count_rows(X)
        self.n_samples = sum(count_rows(part) for part in self.parts)

    def take(self, rows):
        """Return the rows at these positions, in this order, in the container."""
        inside = rows < self.n_first
        if inside.all():
            return take_part(self.parts[0], rows)
        if not inside.any():
            return take_part(self.parts[1], rows - self.n_first)
        both = stack_rows(
            [
                take_part(self.parts[0], rows[inside]),
                take_part(self.parts[1], rows[~inside] - self.n_first),
            ]
        )
        order = np.empty(rows.shape[0], dtype=np.int64)
        order[np.concatenate([np.flatnonzero(inside), np.flatnonzero(~inside)])] = (
            np.arange(rows.shape[0])
        )
        return take_part(both, order)

    def blocks(self, rows, n_outputs):
        """Iterate over the rows in blocks that fit scikit-learn's working memory."""
        size = self.block_rows(n_outputs)
        for start in range(0, rows.shape[0], size):
            yield self.take(rows[start : start + size])

    def block_rows(self, n_outputs):
        """Count the rows of a block that fits scikit-learn's working memory."""
        width = 1
        for size in getattr(self.parts[0], "shape", (0, 1))[1:]:
            width *= size
        # Inputs, a float32 copy and outputs; networks add some widths of theirs.
        row_bytes = 8 * (2 * width + 4 * n_outputs)
        return max(1, int(get_config()["working_memory"] * 2**20 // row_bytes))


def take_part(part, rows):
    """Take rows of one container; an ascending stretch of an array comes as a view."""
    if isinstance(part, ChunkedRows):
        return part.take(rows)
    if isinstance(part, np.ndarray) and rows.shape[0] > 0:
        first, last = int(rows[0]), int(rows[-1])
        if last - first + 1 == rows.shape[0] and (np.diff(rows) == 1).all():
            return part[first : last + 1]
    return take_rows(part, rows)


def unify_frames(X, X_unlabeled):
    """Give the columns of two frames common types."""
    pandas = hasattr(X, "iloc")
    common = _common_pandas_type if pandas else _common_polars_type
    new, odd = {}, []
    for column in X.columns:
        first, second = X[column], X_unlabeled[column]
        if first.dtype == second.dtype:
            continue
        dtype = common(first, second)
        if dtype is None:
            odd.append(f"{column!r} is {first.dtype} in X and {second.dtype}")
        else:
            new[column] = dtype
    if odd:
        raise ValueError(
            f"X_unlabeled and X must have columns of the same types: {'; '.join(odd)} "
            "in X_unlabeled; convert them to one type."
        )
    if not new:
        return X, X_unlabeled
    if pandas:
        return X.astype(new), X_unlabeled.astype(new)
    return X.cast(new), X_unlabeled.cast(new)


def _common_pandas_type(first, second):
    """Return the type that holds both columns, or None if no type does."""
    import pandas

    types = pandas.api.types
    a, b = first.dtype, second.dtype
    if types.is_object_dtype(a) or types.is_object_dtype(b):
        # Texts, as objects in one frame and of a text type in the other.
        both = all(types.is_string_dtype(column) for column in (first, second))
        return object if both else None
    if isinstance(a, pandas.CategoricalDtype) and isinstance(
        b, pandas.CategoricalDtype
    ):
        if a.ordered or b.ordered or a.categories.dtype != b.categories.dtype:
            return None
        return pandas.CategoricalDtype(a.categories.append(b.categories).unique())
    if types.is_numeric_dtype(a) and types.is_numeric_dtype(b):
        if types.is_bool_dtype(a) or types.is_bool_dtype(b):
            return None
        if count_rows(first) == 0 or count_rows(second) == 0:
            return b if count_rows(first) == 0 else a
        return pandas.concat([first.iloc[:1], second.iloc[:1]]).dtype
    if types.is_string_dtype(a) and types.is_string_dtype(b):
        return object
    return None


def _common_polars_type(first, second):
    """Return the type that holds both columns, or None if no type does."""
    import polars

    if not (first.dtype.is_numeric() and second.dtype.is_numeric()):
        return None
    frames = [first.head(0).alias("x").to_frame(), second.head(0).alias("x").to_frame()]
    return polars.concat(frames, how="vertical_relaxed").schema["x"]
