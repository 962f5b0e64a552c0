"""Equal rows have equal keys, everything else differs, in every container."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from skadistill._rows._containers import copy_rows, count_rows, take_rows
from skadistill._rows._keys import row_keys
from skadistill.exceptions import LedgerError

FLOATS = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4),
    elements=st.floats(allow_nan=False, width=64),
)


def n_distinct(keys):
    return len(set(keys.tolist()))


@settings(max_examples=150, deadline=None)
@given(X=FLOATS, data=st.data())
def test_changing_one_bit_changes_that_key_alone(X, data):
    """Any bit of any value of a row makes another key; the other rows keep theirs."""
    row = data.draw(st.integers(0, len(X) - 1))
    flat = X.reshape(len(X), -1).copy()
    column = data.draw(st.integers(0, flat.shape[1] - 1))
    bit = data.draw(st.integers(0, 63))
    changed = flat.copy()
    changed.view(np.uint64)[row, column] ^= np.uint64(1 << bit)
    old, new = flat[row, column], changed[row, column]
    same = old == new or (np.isnan(old) and np.isnan(new))
    before, after = row_keys(X), row_keys(changed.reshape(X.shape))
    assert (before[row] == after[row]) == same
    others = np.arange(len(X)) != row
    assert (before[others] == after[others]).all()


@settings(max_examples=100, deadline=None)
@given(X=FLOATS, seed=st.integers(0, 1000))
def test_keys_follow_their_rows(X, seed):
    """Permuting, repeating or taking rows permutes, repeats and takes keys."""
    rows = np.random.default_rng(seed).integers(0, len(X), size=7)
    assert (row_keys(X)[rows] == row_keys(X[rows])).all()
    assert (row_keys(X)[::-1] == row_keys(X[::-1])).all()


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(max_size=8), min_size=1, max_size=8))
def test_texts_are_told_apart_by_their_characters(texts):
    """As many keys as distinct texts, the same in a list, array and Series."""
    keys = row_keys(texts)
    assert n_distinct(keys) == len(set(texts))
    assert (keys == row_keys(np.array(texts, dtype=object))).all()
    assert (keys == row_keys(pd.Series(texts, dtype=object))).all()
    assert (keys == row_keys(pl.Series(texts))).all()


@pytest.mark.parametrize(
    "other",
    [
        lambda X: X.astype(np.float32),
        lambda X: X.astype(np.int8),
        lambda X: np.asfortranarray(X),
        lambda X: X.tolist(),
        lambda X: [row for row in X],
        lambda X: X.astype(object),
        lambda X: torch.from_numpy(X),
        lambda X: torch.from_numpy(X).to(torch.bfloat16),
        lambda X: np.where(X == 0, -0.0, X),
        lambda X: X.astype(np.longdouble),
    ],
)
def test_equal_values_have_equal_keys(other):
    """Storage type, memory order and the sign of zero do not matter."""
    X = np.array([[0.0, 1.0, 2.0], [3.0, -4.0, 0.0]])
    assert (row_keys(other(X)) == row_keys(X)).all()


def test_values_that_differ_in_float32_differ():
    """A row rounded to float32 is another row."""
    X = np.array([[0.1, 0.2]])
    assert row_keys(X)[0] != row_keys(X.astype(np.float32))[0]


def test_shape_is_content():
    """Six numbers as 2 x 3, 3 x 2 and 6 are three different rows."""
    row = np.arange(6.0)
    keys = [
        row_keys(row.reshape(1, *s)).tobytes() for s in [(6,), (2, 3), (3, 2), (1, 6)]
    ]
    assert len(set(keys)) == 4


def test_every_nan_is_one_nan():
    """The bits inside a NaN do not matter, its place does."""
    X = np.full((2, 2), np.nan)
    X.view(np.uint64)[1] |= np.uint64(1)
    X.view(np.uint64)[1] ^= np.uint64(1 << 63)
    assert n_distinct(row_keys(X)) == 1
    assert n_distinct(row_keys(np.array([[np.nan, 0.0], [0.0, np.nan]]))) == 2


def test_integers_beyond_float64_stay_apart():
    """2**53 and 2**53 + 1 meet in float64 but are two rows, signed or not."""
    big = 2**53
    keys = row_keys(np.array([[big, 0], [big + 1, 0], [0, big + 1]]))
    assert n_distinct(keys) == 3
    unsigned = row_keys(np.array([[big + 1, 0]], dtype=np.uint64))
    assert unsigned[0] == keys[1]
    assert keys[0] == row_keys(np.array([[float(big), 0.0]]))[0]
    assert (row_keys([[big, 0], [big + 1, 0], [0, big + 1]]) == keys).all()
    assert row_keys([[big + 1, 0], [0.5, 0.5]])[0] == keys[1]
    lossy = np.longdouble(1) + np.finfo(np.longdouble).eps
    assert n_distinct(row_keys(np.array([[lossy], [1]], dtype=np.longdouble))) == 2


def test_keys_with_trailing_zero_bytes_survive():
    """Sixteen bytes are sixteen bytes: a final NUL is not cut off."""
    keys = row_keys(np.arange(2000.0))
    assert {len(k) for k in keys.tolist()} == {16}
    assert any(k.endswith(b"\0") for k in keys.tolist())
    assert n_distinct(keys) == 2000


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "bsr", "dok"])
@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csr_array])
def test_sparse_formats_agree(make, kind):
    """Format, order of storage, stored zeros and repeats do not matter."""
    dense = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    keys = row_keys(make(dense))
    assert n_distinct(keys) == 3
    assert (row_keys(make(dense).asformat(kind)) == keys).all()
    untidy = make(
        (
            [2.0, 0.0, 3.0, 0.5, 0.5],
            [1, 0, 2, 0, 0],
            [0, 2, 5, 5],
        ),
        shape=(3, 3),
    )
    assert (row_keys(untidy) == keys).all()
    assert untidy.nnz == 5, "the caller's matrix was changed"
    assert (row_keys(make(dense.astype(np.float32))) == keys).all()


def test_sparse_rows_know_columns_and_width():
    """The same value in another column, or in a wider matrix, is another row."""
    a = sparse.csr_array(np.array([[1.0, 0.0], [0.0, 1.0]]))
    b = sparse.csr_array(np.array([[1.0, 0.0, 0.0]]))
    assert n_distinct(np.concatenate([row_keys(a), row_keys(b)])) == 3


FRAME = {
    "n": [1.5, 2.5, 1.5],
    "i": [1, 2, 1],
    "flag": [True, False, True],
    "text": ["a", "b", "a"],
}


@pytest.mark.parametrize("columns", [["n", "i", "flag"], list(FRAME), ["text"]])
def test_pandas_and_polars_agree(columns):
    """The same columns give the same keys in both, and equal rows equal ones."""
    data = {c: FRAME[c] for c in columns}
    keys = row_keys(pd.DataFrame(data))
    assert (row_keys(pl.DataFrame(data)) == keys).all()
    assert keys[0] == keys[2]
    assert n_distinct(keys) == 2


def test_frame_keys_know_names_and_order():
    """Renamed or reordered columns make another row; the index does not."""
    frame = pd.DataFrame(FRAME)
    keys = row_keys(frame)
    assert not (keys == row_keys(frame[["i", "n", "flag", "text"]])).any()
    assert not (keys == row_keys(frame.rename(columns={"n": "m"}))).any()
    assert (keys == row_keys(frame.set_index(np.array([7, 7, 9])))).all()
    assert (keys == row_keys(frame.astype({"n": np.float32, "i": np.int8}))).all()
    assert (keys[[2, 0]] == row_keys(frame.iloc[[2, 0]])).all()


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("columns", [["n"], ["t"], ["n", "t"]])
def test_frame_rows_have_the_keys_they_have_alone(make, columns):
    """Each row's key is that of the frame with this row only."""
    data = {"n": [3.0, 1.0, 2.0, 1.0], "t": ["p", "q", "r", "s"]}
    frame = make({c: data[c] for c in columns})
    keys = row_keys(frame)
    for i in range(4):
        assert keys[i] == row_keys(frame[i : i + 1])[0]


def test_frame_columns_stay_apart():
    """A value that moves between neighbouring columns makes another row."""
    # The S is the tag of a text: without lengths, all three read S x S y S z.
    text = pd.DataFrame({"a": ["x", "xSy", "x"], "b": ["ySz", "z", "y"]})
    assert n_distinct(row_keys(text)) == 3
    assert n_distinct(row_keys([["x", "y"], ["xSy"]])) == 2
    big = 2**53 + 1
    wide = pd.DataFrame({"a": [big, big - 1], "b": [big - 1, big]})
    assert n_distinct(row_keys(wide)) == 2
    assert (row_keys(wide) == row_keys(pl.from_pandas(wide))).all()


def test_missing_values_are_one_value_in_frames():
    """None, NaN and nullable columns agree; missing is not zero."""
    plain = pd.DataFrame({"i": [1.0, np.nan, 0.0], "t": ["a", None, "c"]})
    nullable = pd.DataFrame(
        {"i": pd.array([1, None, 0], dtype="Int64"), "t": plain["t"].astype("string")}
    )
    polars = pl.DataFrame({"i": [1, None, 0], "t": ["a", None, "c"]})
    keys = row_keys(plain)
    assert n_distinct(keys) == 3
    assert (row_keys(nullable) == keys).all()
    assert (row_keys(polars) == keys).all()
    flags = pd.DataFrame({"f": pd.array([True, None, False], dtype="boolean")})
    assert n_distinct(row_keys(flags)) == 3


def test_dates_and_categories_in_frames():
    """Categories are their values; times keep their nanoseconds."""
    letters = pd.DataFrame({"c": ["a", "b"]})
    assert (row_keys(letters) == row_keys(letters.astype("category"))).all()
    times = pd.DataFrame({"t": pd.to_datetime([0, 1, 1000], unit="ns")})
    assert n_distinct(row_keys(times)) == 3
    spans = pd.DataFrame({"t": pd.to_timedelta([0, 1, 1000], unit="ns")})
    assert n_distinct(row_keys(spans)) == 3
    coarse = pd.DataFrame({"t": pd.to_datetime(["2020-01-01 10:00"])})
    assert (row_keys(coarse) == row_keys(pl.from_pandas(coarse))).all()


def test_rows_of_any_values():
    """Dictionaries, sets and mixed lists are read value by value."""
    rows = [
        {"a": 1, "b": "x"},
        {"b": "x", "a": 1.0},
        {"a": 1, "b": "y"},
        ["a", 1],
        ["a", "1"],
        [["a"], [1]],
        {"a", "b"},
        b"a",
        "a",
        None,
        [np.array([[1.0, 2.0]]), "a"],
        [np.array([[1.0], [2.0]]), "a"],
        2**70,
        [2**70],
    ]
    keys = row_keys(rows)
    assert keys[0] == keys[1]
    assert n_distinct(keys) == len(rows) - 1


def test_a_row_does_not_depend_on_its_neighbors():
    """A row in a mixed or ragged list has the key it has alone."""
    rows = ["a text", [1.0, 2.0], [1, 2, 3], {"k": 1}, 4, [True, False]]
    keys = row_keys(rows)
    for i, row in enumerate(rows):
        assert keys[i] == row_keys([row])[0]


def test_complex_and_times_in_arrays():
    """Complex numbers and times are values too; their units count."""
    assert n_distinct(row_keys(np.array([[1 + 2j], [2 + 1j]]))) == 2
    days = np.array([["2020-01-01"], ["2020-01-02"]], dtype="M8[D]")
    assert n_distinct(row_keys(days)) == 2
    assert row_keys(days)[0] != row_keys(days.view(np.int64))[0]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            np.float64(3.0),
            "X holds a single value, 3.0, where rows were expected; pass "
            "an array or a list with one entry per row.",
        ),
        (
            sparse.csr_array(np.array([[1j]])),
            "X is a sparse array of shape (1, 1) and dtype complex128, whose rows "
            "have no key; pass a two-dimensional sparse array of real numbers.",
        ),
        (
            [range, "a"],
            "X holds <class 'range'>, an object of type type whose content cannot be "
            "read; pass rows made of numbers, texts, dates, lists or dictionaries of "
            "these.",
        ),
    ],
)
def test_rows_without_content_are_refused(X, message):
    """Something that has no rows, or rows that cannot be read, is a LedgerError."""
    with pytest.raises(LedgerError) as caught:
        row_keys(X)
    assert str(caught.value) == message


def test_no_rows_no_keys():
    """Zero rows give zero keys; rows without columns have a key."""
    for X in ([], np.empty((0, 3)), pd.DataFrame({"a": []}), sparse.csr_array((0, 3))):
        assert row_keys(X).shape == (0,)
    assert n_distinct(row_keys(np.empty((2, 0)))) == 1


def test_keys_are_the_same_in_a_new_process():
    """Neither hash randomization nor the process changes a key."""
    code = (
        "import numpy as np; from skadistill._rows._keys import row_keys;"
        "rows = [{'a': 1, 'b': {'x', 'y', 'z'}}, 'text', [1.0, 2.0]];"
        "print(row_keys(rows).tobytes().hex())"
    )
    rows = [{"a": 1, "b": {"x", "y", "z"}}, "text", [1.0, 2.0]]
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == row_keys(rows).tobytes().hex()


def test_blocks_join_up(monkeypatch):
    """Hashing in blocks gives what hashing at once gives."""
    X = np.random.default_rng(0).normal(size=(50, 3))
    X[7, 1] = np.nan
    whole = row_keys(X)
    big = row_keys((X > 0).astype(np.int64) + 2**53)
    monkeypatch.setattr("skadistill._rows._keys._BLOCK_VALUES", 10)
    assert (row_keys(X) == whole).all()
    assert (row_keys((X > 0).astype(np.int64) + 2**53) == big).all()


@pytest.mark.parametrize(
    "wrap",
    [
        np.asarray,
        torch.as_tensor,
        sparse.csr_array,
        sparse.csc_matrix,
        sparse.coo_array,
        lambda X: pd.DataFrame(X, index=[5, 5, 1, 0]),
        pl.DataFrame,
        lambda X: X.tolist(),
        lambda X: tuple(map(tuple, X)),
    ],
)
def test_taken_rows_are_the_rows(wrap):
    """Taking rows keeps the container, the order and the keys."""
    X = wrap(np.arange(8.0).reshape(4, 2))
    taken = take_rows(X, np.array([3, 0]))
    assert count_rows(X) == 4
    assert count_rows(taken) == 2
    assert (row_keys(taken) == row_keys(X)[[3, 0]]).all()
    if not isinstance(X, tuple) and not sparse.issparse(X):
        assert type(taken) is type(X)
    assert count_rows(take_rows(X, [])) == 0


def images():
    """One picture in all modes, and with another palette or transparency."""
    Image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    rgb = Image.fromarray(pixels)
    found = {mode: rgb.convert(mode) for mode in ("L", "1", "I", "F", "CMYK", "HSV")}
    found["RGB"], found["RGBA"] = rgb, rgb.convert("RGBA")
    found["P"] = rgb.quantize(4)
    found["another palette"] = found["P"].copy()
    palette = found["P"].getpalette()
    found["another palette"].putpalette([palette[0] ^ 1, *palette[1:]])
    found["transparent"] = found["P"].copy()
    found["transparent"].info["transparency"] = 0
    found["indices"] = Image.fromarray(np.asarray(found["P"]))
    return found


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        lambda rows: pd.Series(rows, dtype=object).to_frame("image"),
        lambda rows: [[row, "a caption"] for row in rows],
        lambda rows: [{"image": row} for row in rows],
    ],
)
def test_images_differ_by_mode_and_palette(wrap):
    """The same numbers in another mode or palette are another picture."""
    found = images()
    keys = row_keys(wrap(list(found.values())))
    assert n_distinct(keys) == len(found)
    assert (row_keys(wrap(list(images().values()))) == keys).all()


def test_plain_images_keep_the_keys_of_their_pixels():
    """Labels that were paid for as arrays are found again."""
    for mode, image in images().items():
        same = (row_keys([image]) == row_keys([np.asarray(image)])).all()
        assert same == (mode in ("L", "RGB", "RGBA", "indices"))


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "M8[s]", "O", "U3"])
@pytest.mark.parametrize("wrap", [np.ma.asarray, list])
def test_masks_are_contents(dtype, wrap):
    """A masked value is not the value below the mask; a row without one is plain."""
    plain = np.array([[1, 2], [1, 2], [1, 9], [1, 2]]).astype(dtype)
    mask = [[0, 0], [0, 1], [0, 1], [1, 0]]
    keys = row_keys(wrap(np.ma.masked_array(plain, mask)))
    assert keys[0] == row_keys(wrap(plain))[0]
    assert keys[1] == keys[2]
    assert n_distinct(keys) == 3


def test_masked_records():
    """Masked fields count as missing."""
    dtype = [("a", "i8"), ("b", "f8")]
    X = np.ma.array([(1, 2.0), (1, 2.0)], dtype=dtype, mask=[(0, 0), (0, 1)])
    assert n_distinct(row_keys(X)) == 2
    assert row_keys(X)[0] == row_keys(X.data)[0]


CHANGED_IN_PLACE = {
    "dictionaries": (
        lambda: [{"a": 1.0, "b": [2]}, {"a": 2.0, "b": [3]}],
        lambda X: [row.clear() for row in X],
    ),
    "lists": (
        lambda: [["a", "b"], ["c"]],
        lambda X: [row.pop() for row in X],
    ),
    "arrays in a list": (
        lambda: [np.ones(3), np.zeros(3)],
        lambda X: [row.fill(7) for row in X],
    ),
    "an object array": (
        lambda: np.array([[{"a": 1}], [{"a": 2}]], dtype=object),
        lambda X: [row[0].clear() for row in X],
    ),
    "a frame's objects": (
        lambda: pd.DataFrame({"x": [1.0, 2.0], "y": [["a"], ["b"]]}),
        lambda X: [cell.append(0) for cell in X["y"]],
    ),
    "an array": (lambda: np.ones((2, 3)), lambda X: X.fill(7)),
    "a sparse array": (lambda: sparse.csr_array(np.eye(2)), lambda X: X.data.fill(7)),
    "a tensor": (lambda: torch.ones(2, 3), lambda X: X.fill_(7)),
    "images": (
        lambda: [images()["P"], images()["RGB"]],
        lambda X: [row.paste(0, (0, 0, 6, 6)) for row in X],
    ),
}


@pytest.mark.parametrize("name", CHANGED_IN_PLACE)
def test_copies_of_rows_are_copies(name):
    """Whatever is done to them, the rows themselves keep their contents."""
    make, change = CHANGED_IN_PLACE[name]
    X = make()
    keys = row_keys(X)
    copies = copy_rows(X, [1, 0])
    assert type(copies) is type(X)
    assert (row_keys(copies) == keys[::-1]).all()
    change(copies)
    assert not (row_keys(copies) == keys[::-1]).any()
    assert (row_keys(X) == keys).all()
