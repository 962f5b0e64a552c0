"""What counts as missing, and as a row without a label."""

import decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skadistill._rows._containers import is_records, is_texts
from skadistill._utils.validation import is_missing, read_labels, unlabeled_mask
from skadistill.ledger import row_keys

GAPS = {
    "None": None,
    "float": float("nan"),
    "float32": np.float32("nan"),
    "float16": np.float16("nan"),
    "NA": pd.NA,
    "NaT": pd.NaT,
    "masked": np.ma.masked,
    "numpy NaT": np.datetime64("NaT"),
    "numpy time NaT": np.timedelta64("NaT"),
}
VALUES = {
    "zero": 0,
    "infinity": float("inf"),
    "text": "nan",
    "empty": "",
    "false": np.False_,
    "date": np.datetime64("2026-01-01"),
    "array": np.array([np.nan]),
    "list": [None],
    "decimal": decimal.Decimal("NaN"),
}


@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
def test_every_kind_of_gap_is_missing(gap):
    """One by one, as a label, and before the first text or record of a list."""
    assert is_missing(gap)
    y = np.empty(3, dtype=object)
    y[:] = ["ant", gap, "bee"]
    np.testing.assert_array_equal(read_labels(y, -1)[1], [False, True, False])
    assert is_texts([gap, "text"])
    assert is_records([gap, {"a": 1}])


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_are_not_missing(value):
    """Nor is a container of missing values, or a text that looks like one."""
    assert not is_missing(value)


@pytest.mark.parametrize("name", list(GAPS)[:7])
def test_gaps_of_records_have_one_key(name):
    """Whatever a library calls them; numpy's NaT is told apart, as ever."""
    assert row_keys([{"a": GAPS[name]}]) == row_keys([{"a": None}])
    assert row_keys([{"a": np.datetime64("NaT")}]) != row_keys([{"a": None}])


@pytest.mark.parametrize(
    ("y", "marker", "mask"),
    [
        ([0, -1], -1, [False, True]),
        ([0, -1], None, [False, False]),
        (np.array(["a", -1, "-1"], dtype=object), -1, [False, True, False]),
        (np.array(["a", "?"], dtype=object), "?", [False, True]),
        (["a", "?"], "?", [False, True]),
        ([1.0, -1.0], -1, [False, True]),
    ],
)
def test_unlabeled_mask(y, marker, mask):
    """A marker is matched by value, never across strings and numbers."""
    np.testing.assert_array_equal(unlabeled_mask(y, marker), mask)


MISSING = {
    "list of str": ["ant", None, "bee"],
    "list with NaN": ["ant", float("nan"), "bee"],
    "object array": np.array(["ant", None, "bee"], dtype=object),
    "pandas str": pd.Series(["ant", None, "bee"]),
    "pandas string": pd.Series(["ant", None, "bee"], dtype="string"),
    "pandas categorical": pd.Series(["ant", None, "bee"], dtype="category"),
    "pandas Int64": pd.Series([3, None, 4], dtype="Int64"),
    "pandas boolean": pd.Series([True, None, False], dtype="boolean"),
    "floats": np.array([0.0, np.nan, 1.0]),
    "dates": np.array(["2026-01-01", "NaT", "2026-01-02"], dtype="datetime64[D]"),
    "pandas dates": pd.to_datetime(pd.Series(["2026-01-01", None, "2026-01-02"])),
    "polars str": pl.Series(["ant", None, "bee"]),
    "polars int": pl.Series([3, None, 4]),
    "polars categorical": pl.Series(["ant", None, "bee"], dtype=pl.Categorical),
    "list of int": [3, None, 4],
    "list with NA": [3, pd.NA, 4],
}


@pytest.mark.parametrize("y", MISSING.values(), ids=MISSING)
def test_missing_values_mark_rows_without_a_label(y):
    """Beside the default marker, whatever the library calls them."""
    labels, mask = read_labels(y, -1)
    np.testing.assert_array_equal(mask, [False, True, False])
    assert [labels[0], labels[2]] == [y[0], y[2]]


@pytest.mark.parametrize("marker", [None, "?", 7])
def test_missing_values_are_no_other_marker(marker):
    """A NaN beside a marker of one's own is an error that names it."""
    with pytest.raises(ValueError, match=r"y holds 1 missing values .* unlabeled_mark"):
        read_labels(["ant", None, "bee"], marker)


def test_two_ways_to_say_no_label_are_ambiguous():
    """-1 beside NaN may be a class."""
    with pytest.raises(ValueError, match="so that -1 could be a class"):
        read_labels(np.array([1.0, -1.0, np.nan]), -1)


@pytest.mark.parametrize(
    "y",
    [["ant", -1, "bee"], pd.Series(["ant", -1, "bee"]), [0, -1, 1], ("ant", -1, "bee")],
)
def test_the_marker_stays_what_it_is(y):
    """A number among strings is no string."""
    np.testing.assert_array_equal(read_labels(y, -1)[1], [False, True, False])
