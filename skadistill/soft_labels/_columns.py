"""Turn the columns of a frame into numbers, with scikit-learn's own transformers."""

from collections.abc import Callable, Hashable
from datetime import date, time, timedelta
from numbers import Number
from typing import NamedTuple

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skadistill._rows._containers import count_rows
from skadistill._utils.validation import is_missing
from skadistill.exceptions import StudentError

__all__ = ["column_features", "columns_of"]

# Categories of a column that get a number of their own; rarer ones share one.
MAX_CATEGORIES = 50
# Strings are texts if they have so many words in the mean and repeat less than this.
N_WORDS, SHARE_DISTINCT = 3.0, 0.2
# Values of a column that are looked at.
N_VALUES = 2000
TEMPORAL = ("date", "time", "period", "duration")


class Column(NamedTuple):
    """Say what a column holds: "number", "category" or "text"."""

    name: Hashable
    holds: str
    # The function that fills its gaps, if it has any.
    fill: Callable | None
    # Of pandas' own type for strings, whose missing value scikit-learn does not know.
    has_na: bool = False


def columns_of(frames):
    """Tell what the columns of frames with the same names hold; refuse dates."""
    largest = max(frames, key=count_rows)
    found = []
    for name in largest.columns:
        holds = _holds(name, largest[name])
        fill = _fill_of([frame[name] for frame in frames])
        has_na = str(largest[name].dtype) == "string"
        found.append(Column(name, holds, fill, has_na))
    return found


def column_features(columns, vectorizer, *, scale):
    """Return a transformer that makes numbers of all columns.

    `vectorizer` is called for each column of texts and returns a new transformer. The
    output is sparse if there are texts.
    """
    named = all(isinstance(column.name, str) for column in columns)
    by_kind: dict = {}
    for position, column in enumerate(columns):
        kind = (column.holds, column.has_na and column.holds == "category")
        # Whole numbers are positions to a ColumnTransformer, even if they are names.
        place = column.name if named else position
        by_kind.setdefault(kind, []).append((place, column))
    steps: list = []
    for (holds, has_na), members in by_kind.items():
        places = [place for place, _ in members]
        if holds == "number":
            # A column may lack all values among the first labeled rows.
            numbers = SimpleImputer(keep_empty_features=True)
            if scale:
                numbers = make_pipeline(numbers, StandardScaler())
            steps.append(("numbers", numbers, places))
        elif holds == "category":
            name = "strings" if has_na else "categories"
            steps.append((name, _one_hot(has_na), places))
        else:
            for number, (place, column) in enumerate(members):
                text = _without_gaps(vectorizer(), column)
                steps.append((f"text{number}", text, place))
    has_texts = any(column.holds == "text" for column in columns)
    return ColumnTransformer(steps, sparse_threshold=1.0 if has_texts else 0.0)


def _one_hot(has_na):
    """Return an encoder with a place for missing and for later values."""
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MAX_CATEGORIES
    )
    if not has_na:
        return encoder
    import pandas

    as_objects = FunctionTransformer(pandas.DataFrame.astype, kw_args={"dtype": "str"})
    return make_pipeline(as_objects, encoder)


def _without_gaps(vectorizer, column):
    """Put a step before a vectorizer that makes empty texts of missing ones."""
    if column.fill is None:
        return vectorizer
    fill = FunctionTransformer(column.fill, kw_args={"value": ""})
    return make_pipeline(fill, vectorizer)


def _fill_of(columns):
    """Return the function that fills gaps in such columns; None if there are none."""
    for column in columns:
        gaps = column.isna() if hasattr(column, "isna") else column.is_null()
        if gaps.any():
            return getattr(type(column), "fillna", None) or type(column).fill_null
    return None


def _holds(name, column):
    """Tell what a column holds; raise if the default student cannot read it."""
    dtype = str(column.dtype)
    values = [v for v in column.head(N_VALUES).to_list() if not is_missing(v)]
    kinds = {_kind_of(value): value for value in values}
    if dtype.lower().startswith(TEMPORAL) or date in kinds:
        raise StudentError(
            f"the column {name!r} holds dates or times ({dtype}), which the default "
            "student cannot read; replace it by numbers, such as days since a fixed "
            "date or the hour, drop it, or pass a student that reads it."
        )
    if None in kinds:
        raise StudentError(
            f"the column {name!r} holds objects of type {type(kinds[None]).__name__}, "
            "which the default student cannot read; replace it by numbers or strings, "
            "drop it, or pass a student that reads it."
        )
    if len(kinds) > 1:
        examples = " and ".join(f"{value!r:.40}" for value in [*kinds.values()][:2])
        raise StudentError(
            f"the column {name!r} mixes values of different types, such as {examples}; "
            "convert it to one type."
        )
    if dtype in ("category", "Categorical", "boolean", "bool") or bool in kinds:
        return "category"
    if str in kinds:
        return "text" if _are_texts(values) else "category"
    # Nothing but gaps: a number, which stays the same for every row.
    return "number"


def _kind_of(value):
    """Return the type that a value is treated as; None if there is none."""
    if isinstance(value, bool | np.bool_):
        return bool
    if isinstance(value, date | time | timedelta | np.datetime64 | np.timedelta64):
        return date
    if type(value).__name__ == "Period":
        return date
    kinds = (kind for kind in (str, Number) if isinstance(value, kind))
    return next(kinds, None)


def _are_texts(values):
    """Tell whether strings are texts rather than names of categories."""
    if len(set(values)) < SHARE_DISTINCT * len(values):
        return False
    return float(np.mean([len(value.split()) for value in values])) >= N_WORDS
