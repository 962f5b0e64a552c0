"""Rows of any container: count them, take some, and give each a key.

A key is 16 bytes of BLAKE2b over the row's content. It is what a ledger
remembers a paid label under, so two rows share a key when, and (up to a chance
of about 2**-128 a pair) only when, the teacher would be asked the same thing.

What "the same content" means:

========================  =====================================================
container                 what is hashed
========================  =====================================================
numeric array, tensor     the row's shape and its values as float64, so float32,
                          float64, integer and boolean versions of a row that
                          are equal have one key; -0.0 is 0.0, every NaN is one
                          NaN. Integers and long doubles that float64 cannot
                          hold add their exact value.
sparse matrix or array    the number of columns and the (column, value) pairs of
                          the non-zeros. Format, order of storage and stored
                          zeros do not matter. A dense row with the same values
                          has another key: making every row dense to compare
                          them would cost more than it saves.
pandas or polars frame    column names and kinds in order, then the values. A
                          pandas and a polars frame with the same columns agree;
                          so do float32 and float64 columns. A missing value and
                          a NaN are the same. Reordering or renaming columns
                          gives other keys, since it gives other inputs.
texts                     the UTF-8 bytes, whether they came in a list, an array
                          or a Series.
masked array              the values and, if any are masked, which; what a mask
                          covers does not matter.
images                    the pixels as an array; the mode too, unless it is "L",
                          "LA", "RGB" or "RGBA", and the palette and transparency
                          if there are any.
lists of other rows       numbers (nested or not) as the numeric array they make;
                          anything else value by value: texts, bytes, numbers,
                          dates, lists, dictionaries, sets, images.
========================  =====================================================
"""

import datetime
import decimal
import itertools
import math
import struct
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skadistill._rows._containers import count_rows
from skadistill._utils.validation import is_missing
from skadistill.exceptions import LedgerError

__all__ = ["KEY_DTYPE", "row_keys"]

#: Void rather than bytes: numpy strips trailing NULs from "S16".
KEY_DTYPE = np.dtype("V16")

_KEY_BYTES = 16
_BLOCK_VALUES = 1 << 21
_EXACT = 2**53


def row_keys(X: Any) -> NDArray[Any]:
    """Give every row of `X` a 16-byte key made from its content.

    Equal rows have equal keys wherever they come from (another process, another
    day, another order of rows); the module's table says what "equal" means for
    each container.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...), sparse matrix, DataFrame or list
        The rows: of any number of dimensions, numeric or not; texts; frames.

    Returns
    -------
    keys : ndarray of dtype V16 and shape (n_samples,)
        One key per row; ``keys.tolist()`` gives bytes.

    Raises
    ------
    LedgerError
        If a row holds an object whose content cannot be read, such as a file.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.ledger import row_keys
    >>> X = np.array([[1.0, 2.0], [1.0, 2.5]])
    >>> keys = row_keys(X)
    >>> bool((keys == row_keys(X.astype(np.float32))).all()), bool(keys[0] == keys[1])
    (True, False)
    """
    if sparse.issparse(X):
        return _sparse_keys(X)
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        return _frame_keys(X)
    if isinstance(X, list | tuple):
        return _list_keys(list(X))
    if isinstance(X, np.ma.MaskedArray) and X.ndim:
        return _masked_keys(X)
    array = _as_array(X)
    if hasattr(X, "to_list") and array.dtype.kind not in "biufcmM":
        # Not through the array: numpy strips trailing NULs from its strings.
        return _list_keys(X.to_list())
    if array.ndim == 0:
        raise LedgerError(
            f"X holds a single value, {array.tolist()!r}, where rows were expected; "
            "pass an array or a list with one entry per row."
        )
    return _array_keys(array)


def _masked_keys(X):
    """Key the rows of a masked array; a row without a mask has its plain key."""
    if X.dtype.names is not None:
        return _list_keys(X.tolist())  # masked fields become None
    mask = np.ma.getmaskarray(X)
    keys = row_keys(np.where(mask, np.zeros((), dtype=X.dtype), X.data))
    start = _hasher("masked")
    rows = mask.reshape(len(mask), -1)
    return _as_keys(
        [
            _digest(start, key + row.tobytes()) if row.any() else key
            for key, row in zip(keys.tolist(), rows, strict=True)
        ]
    )


def _marked_key(value):
    """Key a value that its numbers alone do not tell; None if they do."""
    if isinstance(value, np.ma.MaskedArray) and value.ndim and np.ma.is_masked(value):
        return _masked_keys(value[None]).tobytes()
    header = _image_header(value)
    if not header:
        return None
    pixels = row_keys(np.asarray(value)[None]).tobytes()
    return _digest(_hasher("image"), header + pixels)


def _has_marked(values):
    """Tell whether there is such a value in a list, at any depth."""
    kinds = set(map(type, values))
    if kinds & {list, tuple}:
        return any(isinstance(v, list | tuple) and _has_marked(v) for v in values)
    if any(issubclass(k, np.ma.MaskedArray) or hasattr(k, "getpalette") for k in kinds):
        return any(_marked_key(value) is not None for value in values)
    return False


def _image_header(value):
    """Say what an image's pixels mean; empty if they tell themselves."""
    info = getattr(value, "info", None)
    if not (hasattr(value, "getpalette") and isinstance(info, dict)):
        return b""
    transparency = info.get("transparency")
    if value.mode in ("L", "LA", "RGB", "RGBA") and transparency is None:
        return b""
    palette = value.getpalette() if value.mode in ("P", "PA") else None
    return repr((value.mode, palette, transparency)).encode()


def _as_array(X):
    """Turn a tensor, a Series or whatever numpy understands into an array."""
    if hasattr(X, "detach"):
        X = X.detach().cpu()
        # numpy has no bfloat16; float32 holds every value of it.
        X = (X.float() if str(X.dtype) == "torch.bfloat16" else X).numpy()
    return np.asarray(X)


def _hasher(header):
    """Start a hash that only rows described by this header share."""
    person = blake2b(header.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return blake2b(digest_size=_KEY_BYTES, person=person).copy


def _digest(start, data):
    """Hash one row's bytes from the common start."""
    h = start()
    h.update(data)
    return h.digest()


def _as_keys(digests):
    """Put the digests into one array of keys."""
    return np.frombuffer(b"".join(digests), dtype=KEY_DTYPE)


def _array_keys(array):
    """Key the rows of an array of any number of dimensions."""
    kind, shape = array.dtype.kind, array.shape[1:]
    if kind not in "biufcmM":
        return _list_keys(array.tolist())
    flat = array.reshape(array.shape[0], math.prod(shape))
    if kind in "mM":
        return _number_keys(flat.view(np.int64), f"{array.dtype.name} {shape}")
    if kind == "c":
        flat = np.concatenate([flat.real, flat.imag], axis=1)
        return _number_keys(flat, f"complex {shape}")
    return _number_keys(flat, f"number {shape}")


def _number_keys(values, header):
    """Key the rows of a 2-D block of numbers by their float64 values."""
    start = _hasher(header)
    n_samples, n_columns = values.shape
    step = max(1, _BLOCK_VALUES // max(1, n_columns))
    digests = []
    for low in range(0, n_samples, step):
        exact, tails = _to_float64(values[low : low + step])
        digests += [
            _digest(start, row + tails[i] if i in tails else row)
            for i, row in enumerate(_row_bytes(exact))
        ]
    return _as_keys(digests)


def _row_bytes(exact):
    """Cut a contiguous float64 block into the bytes of its rows."""
    width = 8 * exact.shape[1]
    if width == 0:
        return [b""] * len(exact)
    data = exact.tobytes()
    return [data[i : i + width] for i in range(0, len(data), width)]


def _to_float64(block):
    """Return float64 values and, for rows that lose digits, their exact tail."""
    with np.errstate(invalid="ignore"):
        # Adding 0.0 copies, and turns -0.0 into 0.0.
        exact = np.ascontiguousarray(block, dtype=np.float64) + 0.0
    if block.dtype.kind == "f":
        exact[np.isnan(exact)] = np.nan
    tails = {}
    if block.dtype.kind in "iu" and block.dtype.itemsize == 8:
        large = np.abs(exact) >= _EXACT
        for i in np.flatnonzero(large.any(axis=1)).tolist():
            wide = block[i].tolist()
            if not all(map(_is_float64, wide)):
                tails[i] = b"T" + repr(wide).encode()
    elif block.dtype.kind == "f" and block.dtype.itemsize > 8:
        with np.errstate(invalid="ignore"):
            rest = (block - exact).astype(np.float64)
        rest[np.isnan(rest)] = 0.0
        for i in np.flatnonzero(rest.any(axis=1)).tolist():
            tails[i] = b"T" + rest[i].tobytes()
    return exact, tails


def _sparse_keys(X):
    """Key the rows of a sparse matrix by the (column, value) pairs they hold."""
    if X.ndim != 2 or X.dtype.kind not in "biuf":
        raise LedgerError(
            f"X is a sparse array of shape {X.shape} and dtype {X.dtype}, whose rows "
            "have no key; pass a two-dimensional sparse array of real numbers."
        )
    X = X.tocsr(copy=True)
    X.sum_duplicates()
    X.eliminate_zeros()
    exact, tails = _to_float64(X.data[:, None])
    columns = X.indices.astype(np.int64).tobytes()
    values = exact.tobytes()
    start = _hasher(f"sparse {X.shape[1]}")
    edges = X.indptr.tolist()
    digests = []
    for low, high in itertools.pairwise(edges):
        data = columns[8 * low : 8 * high] + values[8 * low : 8 * high]
        if tails:
            data += b"".join(tails[i] for i in range(low, high) if i in tails)
        digests.append(_digest(start, data))
    return _as_keys(digests)


def _frame_keys(X):
    """Key the rows of a frame by column names, kinds and values."""
    names, kinds, numbers, others = [], [], [], []
    tails: dict[int, bytes] = {}
    for position, name in enumerate(X.columns):
        column = X.iloc[:, position] if hasattr(X, "iloc") else X[name]
        numeric = _numeric_column(column)
        names.append(name if isinstance(name, str) else repr(name))
        kinds.append("other" if numeric is None else "number")
        if numeric is None:
            others.append(column.tolist() if hasattr(X, "iloc") else column.to_list())
            continue
        exact, column_tails = numeric
        numbers.append(exact)
        for i, tail in column_tails.items():
            # With its position: the same tail in two columns is two contents.
            tails[i] = tails.get(i, b"") + _prefixed(b"T%d" % position, tail)
    n_samples = count_rows(X)
    block = np.column_stack(numbers) if numbers else np.empty((n_samples, 0))
    start = _hasher(f"frame {names!r} {kinds!r}")
    rows = _row_bytes(block)
    for i, tail in tails.items():
        rows[i] += tail
    if others:
        cells = (b"".join(map(_cell, row)) for row in zip(*others, strict=True))
        rows = [row + cell for row, cell in zip(rows, cells, strict=True)]
    return _as_keys([_digest(start, row) for row in rows])


_POLARS_NUMBERS = {"Boolean", "Float32", "Float64"} | {
    f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)
}


def _numeric_column(column):
    """Return a column's float64 values and exact tails; None if not numeric."""
    dtype = column.dtype
    if hasattr(column, "iloc"):
        if getattr(dtype, "kind", "O") not in "biuf" or hasattr(dtype, "categories"):
            return None
        if isinstance(dtype, np.dtype):
            values, missing = column.to_numpy(), None
        else:
            # A nullable column: numpy has no integer that means "missing".
            missing = column.isna().to_numpy(dtype=bool)
            wide = {"b": "bool", "i": "int64", "u": "uint64", "f": "float64"}
            filled = column.fillna(False if dtype.kind == "b" else 0)
            values = filled.to_numpy(dtype=wide[dtype.kind])
    elif str(dtype) in _POLARS_NUMBERS:
        missing = column.is_null().to_numpy()
        values = column.fill_null(False if str(dtype) == "Boolean" else 0).to_numpy()
    else:
        return None
    exact, tails = _to_float64(values[:, None])
    if missing is not None:
        exact[missing] = np.nan
    return exact[:, 0], tails


def _list_keys(rows):
    """Key the rows of a list: texts, numbers, or values of any kind."""
    if all(isinstance(row, str) for row in rows):
        start = _hasher("text")
        return _as_keys([_digest(start, _utf8(row)) for row in rows])
    array = _numbers_of(rows)
    # Integers beside floats would meet in float64 and could lose digits.
    if array is not None and not (
        array.dtype.kind == "f" and (np.abs(array) >= _EXACT).any()
    ):
        return _array_keys(array)
    return _as_keys([_single_key(row) for row in rows])


def _single_key(row):
    """Key one row of a list; the answer does not depend on its neighbors."""
    if isinstance(row, str):
        return _digest(_hasher("text"), _utf8(row))
    marked = _marked_key(row)
    if marked is not None:
        return marked
    array = _numbers_of(row)
    if array is not None:
        return _array_keys(array[None]).tobytes()
    return _digest(_hasher("value"), _cell(row))


def _numbers_of(values):
    """Return values as a numeric array, or None if they are not numeric."""
    if isinstance(values, str | bytes | dict | set | frozenset) or values is None:
        return None
    if isinstance(values, list | tuple) and _has_marked(values):
        return None
    try:
        array = _as_array(values)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "biufc" else None


def _is_float64(integer):
    """Tell whether float64 holds this Python integer exactly."""
    try:
        return int(float(integer)) == integer
    except OverflowError:
        return False


def _utf8(text):
    """Encode a text; lone surrogates, which files do hold, included."""
    return text.encode("utf-8", "surrogatepass")


def _prefixed(tag, data):
    """Write a tag, the length and the data, so that no two sequences collide."""
    return tag + struct.pack("<q", len(data)) + data


def _cell(value):
    """Encode one value with its type; equal values have equal bytes."""
    if isinstance(value, str):
        return _prefixed(b"S", _utf8(value))
    # numpy's NaT has a key of its own, which paid rows are known by.
    if is_missing(value) and not isinstance(value, np.datetime64 | np.timedelta64):
        return b"N"
    if isinstance(value, bytes | bytearray):
        return _prefixed(b"B", bytes(value))
    if isinstance(value, bool | int | float | np.bool_ | np.integer | np.floating):
        if isinstance(value, int | np.integer) and not _is_float64(int(value)):
            return _prefixed(b"I", repr(int(value)).encode())
        return b"F" + struct.pack("<d", float(value) + 0.0)
    if isinstance(value, datetime.datetime):
        # pandas keeps nanoseconds beside the microseconds of the standard library.
        below = getattr(value, "nanosecond", 0)
        if hasattr(value, "to_pydatetime"):
            value = value.to_pydatetime(warn=False)
        return _prefixed(b"t", f"{value.isoformat()} {below}".encode())
    if isinstance(value, datetime.date | datetime.time):
        return _prefixed(b"d", value.isoformat().encode())
    if isinstance(value, datetime.timedelta):
        seconds = value.days * 86_400 + value.seconds
        below = value.microseconds * 1000 + getattr(value, "nanoseconds", 0)
        return b"s" + struct.pack("<qq", seconds, below)
    if isinstance(value, decimal.Decimal):
        return _prefixed(b"D", str(value.normalize()).encode())
    if isinstance(value, list | tuple):
        return _prefixed(b"L", b"".join(map(_cell, value)))
    if isinstance(value, dict):
        pairs = sorted(_cell(k) + _cell(v) for k, v in value.items())
        return _prefixed(b"O", b"".join(pairs))
    if isinstance(value, set | frozenset):
        return _prefixed(b"U", b"".join(sorted(map(_cell, value))))
    marked = _marked_key(value)
    if marked is not None:
        return _prefixed(b"M", marked)
    array = _as_array(value)
    if array.dtype.kind == "O" and array.ndim == 0:
        raise LedgerError(
            f"X holds {value!r:.80}, an object of type {type(value).__name__} whose "
            "content cannot be read; pass rows made of numbers, texts, dates, lists "
            "or dictionaries of these."
        )
    if array.ndim == 0:
        return _prefixed(b"G", f"{array.dtype.str} {array[()]!r}".encode())
    shape = repr(array.shape).encode()
    return _prefixed(b"A", _prefixed(b"#", shape) + _array_keys(array).tobytes())
