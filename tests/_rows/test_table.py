"""Columns of two frames get one type, or an error that names them."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skadistill._rows._table import unify_frames


def pandas_pair(first, second):
    return pd.DataFrame({"ok": [1.0, 2.0], "c": first}), pd.DataFrame(
        {"ok": [3.0, 4.0], "c": second}
    )


@pytest.mark.parametrize(
    ("first", "second", "dtype"),
    [
        (np.array([1, 2], dtype=np.int8), np.array([1, 2]), "int64"),
        ([1, 2], [0.5, 1.5], "float64"),
        (pd.array([1, None], "Int64"), [1, 2], "Int64"),
        (["a", "b"], pd.array(["a", "b"], "string"), "object"),
    ],
)
def test_numbers_and_texts_get_a_common_type(first, second, dtype):
    """Both frames have it afterwards, and the values stay."""
    for pair in (pandas_pair(first, second), pandas_pair(second, first)):
        unified = unify_frames(*pair)
        assert [str(frame["c"].dtype) for frame in unified] == [dtype, dtype]
        for before, after in zip(pair, unified, strict=True):
            assert before["c"].isna().tolist() == after["c"].isna().tolist()
            assert (before["c"].dropna() == after["c"].dropna()).all()


@pytest.mark.parametrize("values", [([3, 1], [2, 3]), (["u", "v"], ["w", "u"])])
def test_categories_are_united(values):
    """Each keeps its values; the categories of X come first, in their order."""
    first, second = pandas_pair(*(pd.Categorical(v) for v in values))
    one, two = unify_frames(first, second)
    assert one["c"].dtype == two["c"].dtype
    united = one["c"].cat.categories.tolist()
    assert united == sorted(values[0]) + sorted(set(values[1]) - set(values[0]))
    assert [one["c"].tolist(), two["c"].tolist()] == [list(v) for v in values]


ODD = {
    "number and text": ([1, 2], ["a", "b"]),
    "number and truth": ([1, 2], [True, False]),
    "category and number": (pd.Categorical([1, 2]), [1, 2]),
    "categories of other kinds": (pd.Categorical([1, 2]), pd.Categorical(["a", "b"])),
    "ordered categories": (
        pd.Categorical(["a", "b"], ordered=True),
        pd.Categorical(["b", "c"], ordered=True),
    ),
    "dates with and without zone": (
        pd.to_datetime(["2026-01-01", "2026-01-02"]),
        pd.to_datetime(["2026-01-01", "2026-01-02"]).tz_localize("UTC"),
    ),
}


@pytest.mark.parametrize("columns", ODD.values(), ids=ODD)
def test_other_differences_are_errors(columns):
    """The message names the column and both types."""
    with pytest.raises(ValueError, match=r"same types: 'c' is .* in X and .*in X_unl"):
        unify_frames(*pandas_pair(*columns))


def test_polars_numbers_get_a_common_type():
    """Integers and floats meet in floats; anything else is an error."""
    first, second = pl.DataFrame({"c": [1, 2]}), pl.DataFrame({"c": [0.5]})
    assert {f["c"].dtype for f in unify_frames(first, second)} == {pl.Float64}
    for other in (
        pl.DataFrame({"c": ["a"]}),
        pl.DataFrame({"c": pl.Series(["a"], dtype=pl.Enum(["a"]))}),
    ):
        with pytest.raises(ValueError, match="'c' is Int64 in X and"):
            unify_frames(first, other)


def test_equal_frames_are_not_copied():
    """Nothing to do, nothing done."""
    first, second = pandas_pair([1, 2], [3, 4])
    one, two = unify_frames(first, second)
    assert one is first
    assert two is second
