"""Checks that several folders share: missing values, labels, amounts of money."""

import math
import warnings
from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.utils import column_or_1d

from skadistill.exceptions import TeacherError, UnlabeledTestRowsWarning

__all__ = [
    "as_cost",
    "did_you_mean",
    "is_missing",
    "labeled_values",
    "read_labels",
    "unlabeled_mask",
    "warn_if_unlabeled",
]


def is_missing(value):
    """Tell whether one value is missing: None, NaN, NaT, pandas.NA or masked.

    Anything else is a value: an array, a text such as "nan", a NaN of `decimal`.
    """
    if isinstance(value, float | np.floating):
        return bool(value != value)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    if value is None or value is np.ma.masked:
        return True
    # pandas' own, which need not be imported here.
    return type(value).__name__ in ("NAType", "NaTType")


def read_labels(y, marker):
    """Return labels as an array, and the mask of those that are missing.

    A table with several columns is an indicator matrix of several labels per row.
    """
    if is_indicator(y):
        return _read_indicator(y, marker)
    y = column_or_1d(_as_array(y), warn=True)
    mask, missing = unlabeled_mask(y, marker), _missing_mask(y)
    if not missing.any():
        return y, mask
    if isinstance(marker, str) or marker != -1:
        raise ValueError(
            f"y holds {int(missing.sum())} missing values (NaN or None), which mark "
            f"rows without a label only with unlabeled_marker=-1, not with {marker!r}; "
            "write the marker in these rows, or use -1."
        )
    if mask.any():
        raise ValueError(
            f"y holds both unlabeled_marker=-1, {int(mask.sum())} times, and missing "
            f"values (NaN or None), {int(missing.sum())} times, so that -1 could be a "
            "class; mark all rows without a label in one way, and give the class "
            "another name."
        )
    return y, missing


def is_indicator(y):
    """Tell whether `y` has several columns, or is a frame or sparse: one per label."""
    shape = getattr(y, "shape", None)
    if shape is None:
        first = y[0] if isinstance(y, list | tuple) and len(y) else None
        return isinstance(first, list | tuple | np.ndarray) and len(first) > 1
    is_table = hasattr(y, "columns") or sparse.issparse(y)
    return len(shape) == 2 and (shape[1] > 1 or is_table)


def _read_indicator(y, marker):
    """Return an indicator matrix of integers, and the mask of rows without labels."""
    table = y.toarray() if sparse.issparse(y) else y
    table = table.to_numpy() if hasattr(table, "to_numpy") else np.asarray(table)
    if table.dtype == object:
        missing = np.array([[is_missing(v) for v in row] for row in table])
        table = np.where(missing, np.nan, table)
    try:
        table = table.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"y is a table of shape {np.shape(y)} that holds texts; pass one column "
            "per label with 1 where it applies and 0 where not, for example by "
            "MultiLabelBinarizer, or one class per row."
        ) from error
    empty = np.isnan(table)
    if isinstance(marker, Integral) and not isinstance(marker, bool):
        if marker in (0, 1):
            raise ValueError(
                f"unlabeled_marker={marker} is also a value of an indicator matrix; "
                "use -1."
            )
        empty |= table == marker
    partly = np.flatnonzero(empty.any(axis=1) & ~empty.all(axis=1))
    if partly.size:
        raise ValueError(
            f"{partly.size} rows of y, the first being row {partly[0]}, name some "
            "labels and leave others open; give all labels of a row, or mark the "
            "whole row."
        )
    values = np.unique(table[~empty])
    if not np.isin(values, (0, 1)).all():
        other = values[~np.isin(values, (0, 1))][0]
        raise ValueError(
            f"y is a table of shape {table.shape} and holds {other:g}; an indicator "
            "matrix of several labels per row holds 1 where a label applies and 0 "
            "where not. For one class per row pass one column."
        )
    unlabeled = empty.all(axis=1) if table.shape[1] else np.zeros(len(table), bool)
    return np.where(empty, -1, table).astype(np.int64), unlabeled


def _as_array(y):
    """Return `y` as an array in which numbers, strings and gaps stay what they are."""
    if hasattr(y, "to_list") and getattr(y.dtype, "kind", "O") not in "biuf":
        y = y.to_list()  # a Series that numpy would turn into something else
    elif hasattr(y, "to_list") and not isinstance(y.dtype, np.dtype):
        y = y.to_list()  # nullable numbers
    if isinstance(y, list | tuple) and any(
        isinstance(v, str) or is_missing(v) for v in y
    ):
        # np.asarray(["a", -1]) is ["a", "-1"].
        out = np.empty(len(y), dtype=object)
        out[:] = y
        return out
    return np.asarray(y)


def _missing_mask(y):
    """Mark the labels that are missing."""
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.dtype.kind in "mM":
        return np.isnat(y)
    if y.dtype == object:
        return np.fromiter(map(is_missing, y), bool, count=len(y))
    return np.zeros(y.shape[0], dtype=bool)


def unlabeled_mask(y, marker):
    """Mark the rows of `y` that carry no label."""
    y = np.asarray(y)
    if marker is None:
        return np.zeros(y.shape[0], dtype=bool)
    if y.dtype.kind in "US" and not isinstance(marker, str):
        if str(marker) in y:
            raise ValueError(
                f"y holds strings of dtype {y.dtype} and some equal {str(marker)!r}, "
                f"but unlabeled_marker={marker!r} is not a string; build y with "
                "dtype=object so that the marker stays what it is, or pass "
                f"unlabeled_marker={str(marker)!r}."
            )
        return np.zeros(y.shape[0], dtype=bool)
    if y.dtype == object:
        # Element by element: `array == -1` is elementwise for object arrays but
        # an entry whose __eq__ returns an array would break it.
        # Nor does pandas.NA tell whether it equals something.
        equal = (not is_missing(v) and bool(v == marker) for v in y)
        return np.fromiter(equal, bool, count=len(y))
    return y == marker


def labeled_values(y):
    """Give labels that are all of one kind the dtype of that kind.

    scikit-learn's checks refuse object arrays of numbers and treat object arrays
    of strings unlike others; once the marker is gone neither is needed.
    """
    return np.array(y.tolist()) if y.dtype == object else y


def did_you_mean(unknown, known):
    """Name the class that differs from an unknown one by type, case or blanks only."""
    plain = {"".join(str(name).split()).casefold(): name for name in known}
    for name in unknown:
        found = plain.get("".join(str(name).split()).casefold())
        if found is not None:
            return f" (did you mean {found!r} instead of {name!r}?)"
    return ""


def as_cost(value, name):
    """Return an amount of money as a float."""
    if value is None:
        return None
    try:
        number = not isinstance(value, str | bytes | bool | np.bool_)
        cost = float(value) if number else math.nan
    except (TypeError, ValueError, OverflowError):
        cost = math.nan
    if not 0 <= cost < math.inf:
        raise TeacherError(
            f"{name} is {value!r:.80}, which is not an amount of money; pass a finite "
            "number of at least 0, or None if it is not known."
        )
    return cost


def warn_if_unlabeled(y, marker=-1, *, stacklevel=3):
    """Warn when rows to be scored carry no label.

    Call it first thing in an estimator's ``score``: rows with the marker would
    otherwise count, silently, as rows of a class that is never predicted.
    """
    if marker is None:
        return 0
    labels, unlabeled = read_labels(y, marker)
    count = int(np.count_nonzero(unlabeled))
    if count:
        counted = "has no label ({}) and counts as a wrong answer"
        if count > 1:
            counted = "have no label ({}) and count as wrong answers"
        warnings.warn(
            f"{count} of {len(labels)} rows to score {counted.format(repr(marker))}; "
            "leave them out, or split with PartiallyLabeledSplit and score with "
            "ignore_unlabeled from skadistill.model_selection.",
            UnlabeledTestRowsWarning,
            stacklevel=stacklevel,
        )
    return count
