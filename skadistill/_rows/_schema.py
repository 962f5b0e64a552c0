"""One type per column for rows that come from two frames."""

from skadistill._rows._containers import count_rows

__all__ = ["unify_frames"]


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
