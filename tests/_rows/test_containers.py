"""Counting, taking and cutting rows of any container."""

from collections import UserDict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse

from skadistill._rows._containers import aligned, is_records, is_texts, take_metadata

PER_ROW = {
    "list": [1, 2, 3],
    "tuple": (1, 2, 3),
    "range": range(3),
    "strings": ["a", "b", "c"],
    "array": np.arange(3),
    "table": np.zeros((3, 2)),
    "sparse": sparse.csr_matrix(np.eye(3)),
    "series": pd.Series([1, 2, 3], index=[7, 8, 9]),
    "frame": pd.DataFrame({"a": [1, 2, 3]}),
    "polars": pl.Series([1, 2, 3]),
    "tensor": torch.arange(3),
}
NOT_PER_ROW = {
    "string": "abc",
    "bytes": b"abc",
    "bytearray": bytearray(b"abc"),
    "dict": {"a": 1, "b": 2, "c": 3},
    "mapping": UserDict(a=1, b=2, c=3),
    "set": {1, 2, 3},
    "frozenset": frozenset([1, 2, 3]),
    "view": {"a": 1, "b": 2, "c": 3}.keys(),
    "generator": (i for i in range(3)),
    "None": None,
    "int": 3,
    "float": 3.0,
    "scalar": np.float64(3),
    "zero-dimensional": np.array(3),
    "other length": np.arange(4),
    "empty": [],
    "class": SimpleNamespace,
    "shape is not a tuple": SimpleNamespace(shape=3),
    "function": len,
}


@pytest.mark.parametrize("value", PER_ROW.values(), ids=PER_ROW)
def test_aligned_values_are_cut(value):
    """A container with one entry per row is cut to the rows, in its own type."""
    assert aligned(value, 3)
    taken = take_metadata({"value": value}, [2, 0], 3)["value"]
    whole = np.asarray(value.toarray() if sparse.issparse(value) else value)
    taken = taken.toarray() if sparse.issparse(taken) else taken
    np.testing.assert_array_equal(np.asarray(taken), whole[[2, 0]])


@pytest.mark.parametrize("value", NOT_PER_ROW.values(), ids=NOT_PER_ROW)
def test_other_values_are_passed_on(value):
    """Everything else is one value for all rows, whatever its length."""
    assert not aligned(value, 3)
    assert take_metadata({"value": value}, [2, 0], 3)["value"] is value


@pytest.mark.parametrize(
    ("rows", "texts", "records"),
    [
        (["a", "b"], True, False),
        ([None, "b"], True, False),
        (pd.Series([None, "b"]), True, False),
        (pd.Series([float("nan"), "b"], index=[5, 6]), True, False),
        (pl.Series([None, "b"]), True, False),
        (np.array(["a", "b"]), True, False),
        ([{"a": 1}, {"b": 2}], False, True),
        (({"a": 1},), False, True),
        ([[1.0], [2.0]], False, False),
        ([], False, False),
        (np.array([1.0, np.nan]), False, False),
        ("one text", False, False),
        ({"a": "b"}, False, False),
        (pd.DataFrame({"a": ["b"]}), False, False),
        (None, False, False),
    ],
)
def test_texts_and_records_are_told_by_their_rows(rows, texts, records):
    """The first row that is not missing decides."""
    assert (is_texts(rows), is_records(rows)) == (texts, records)
