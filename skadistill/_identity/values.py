"""Read values that libraries keep: arrays, tensors, frames, boosted trees.

Each reader takes an object and a function that encodes other objects, and returns
bytes that equal contents share; None if it cannot read the object.
"""

import functools
import json
import sys
import tempfile
from hashlib import blake2b
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

__all__ = ["hashed", "is_net", "prefixed", "read_value", "relevant"]

#: Attributes of installed estimators that change no answer, or hold an address.
_IRRELEVANT = {
    *("n_jobs", "verbose", "verbosity", "memory", "pre_dispatch", "_stop_words_id"),
    *("_metadata_request", "_sklearn_output_config", "_sklearn_version"),
    *("cv_results_", "refit_time_"),
}

#: Attributes of a fitted skorch net that only training reads.
_TRAINING = {
    *("module", "optimizer", "optimizer_", "callbacks", "callbacks_", "history_", "lr"),
    *("max_epochs", "max_epochs_", "batch_size", "batch_size_", "train_split"),
    *("warm_start", "verbose", "device", "compile", "use_caching", "initialized_"),
    *("init_context_", "virtual_params_", "prefixes_", "cuda_dependent_attributes_"),
    *("_modules", "_criteria", "_optimizers", "_params_to_validate", "n_iter_"),
    *("torch_load_kwargs", "lr_schedule", "_n_samples", "seed_", "_moments"),
}
_TRAINING_PREFIXES = ("optimizer__", "callbacks__", "iterator_")


def read_value(obj, encode):
    """Encode an object by the values it holds."""
    if isinstance(obj, np.ndarray):
        return _array(obj, encode)
    if isinstance(obj, np.generic):
        return b"scalar" + _array(np.asarray(obj), encode)
    if isinstance(obj, np.ufunc):
        return b"ufunc" + obj.__name__.encode()
    if sparse.issparse(obj):
        return _sparse(obj, encode)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(obj, torch.Tensor):
        return _tensor(obj.detach(), torch)
    module = type(obj).__module__
    for start, read in _LIBRARIES.items():
        if module.startswith(start):
            return read(obj, encode)
    return None


def relevant(obj, state, users):
    """Return the attributes that an estimator's answers depend on."""
    if isinstance(obj, BaseEstimator) and not users:
        state = {k: v for k, v in state.items() if k not in _IRRELEVANT}
    if hasattr(obj, "module_") and is_net(type(obj)):
        state = {
            name: value
            for name, value in state.items()
            if name not in _TRAINING and not name.startswith(_TRAINING_PREFIXES)
        }
    return state


def is_net(kind):
    """Tell whether a class is a net of skorch, whose pickles hold storages."""
    return any(c.__module__ == "skorch.net" for c in kind.__mro__)


def hashed(data):
    """Hash bytes."""
    return blake2b(data, digest_size=16).digest()


def prefixed(data):
    """Write the length before the bytes, so that no two sequences collide."""
    return b"%d:" % len(data) + data


def _array(array, encode):
    """Encode dtype, shape and values; of structures field by field."""
    dtype, head = array.dtype, repr(array.shape).encode()
    if isinstance(array, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(array)
        plain = np.ma.filled(array, array.dtype.type(0)) if mask.any() else array
        return b"masked" + _array(np.asarray(plain), encode) + _array(mask, encode)
    if dtype.names is not None:
        packed = _packed(dtype)
        if packed is None:
            fields = [_array(array[name], encode) for name in dtype.names]
            return b"fields" + head + repr(dtype.names).encode() + b"".join(fields)
        # A copy without padding, whose bytes are whatever memory held.
        array = array.astype(packed[0])
        head += packed[1]
    elif dtype.hasobject or dtype.kind == "T":
        values = array.ravel().tolist()
        return b"objects" + head + b"".join(map(encode, values))
    elif dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16):
        # Long doubles have padding; two doubles hold the value.
        double = array.astype("c16" if dtype.kind == "c" else "f8")
        rest = (array - double).astype(double.dtype)
        return b"long" + _array(double, encode) + _array(rest, encode)
    else:
        if dtype.byteorder == ">" or (
            dtype.byteorder == "=" and sys.byteorder == "big"
        ):
            array = array.astype(dtype.newbyteorder("<"))
        head += array.dtype.str.encode()
    array = np.ascontiguousarray(array)
    if array.nbytes <= 256:
        return b"array" + prefixed(head) + array.tobytes()
    view = array.reshape(-1).view(np.uint8)
    return b"array" + prefixed(head) + hashed(view)


def _sparse(matrix, encode):
    """Encode a sparse matrix; predicting may sort its indices in place."""
    matrix = matrix.tocsr(copy=True) if matrix.ndim == 2 else matrix.tocoo()
    matrix.sum_duplicates()
    head = f"sparse{type(matrix).__name__}{matrix.shape}".encode()
    coo = matrix.tocoo()
    places = [_array(np.asarray(c, dtype=np.int64), encode) for c in coo.coords]
    return head + b"".join(places) + _array(coo.data, encode)


def _tensor(tensor, torch):
    """Encode dtype, shape and values, wherever they are stored."""
    head = f"tensor{tensor.dtype}{tuple(tensor.shape)}".encode()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    flat = tensor.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    values = flat.view(torch.uint8).numpy()
    return head + hashed(np.ascontiguousarray(values))


@functools.lru_cache(maxsize=256)
def _packed(dtype):
    """Return dtype and name without padding; None if fields are to be read singly."""
    fields = [(name, dtype.fields[name][0]) for name in dtype.names]
    if any(field.kind not in "biufSUmM" or field.itemsize > 8 for _, field in fields):
        return None
    packed = np.dtype([(name, field.newbyteorder("<")) for name, field in fields])
    return packed, repr(packed.descr).encode()


def _bunch(bunch, encode):
    """Encode what a bunch holds; warnings that it remembers are lost on the way."""
    return b"bunch" + encode(dict(bunch))


def _neighbors_tree(tree, encode):
    """Encode a KDTree or BallTree without the counters that a query moves."""
    if not hasattr(tree, "get_tree_stats"):
        return None
    state = tree.__getstate__()
    return b"tree" + encode(type(tree)) + encode([*state[:7], *state[11:]])


def _pandas(obj, encode):
    """Encode names, index and columns; not the blocks they are stored in."""
    if hasattr(obj, "columns"):
        columns = [np.asarray(obj.iloc[:, i]) for i in range(obj.shape[1])]
        names = [np.asarray(obj.columns), np.asarray(obj.index)]
        return b"frame" + encode([*names, [*map(str, obj.dtypes)], columns])
    if hasattr(obj, "to_numpy") and hasattr(obj, "dtype"):
        index = np.asarray(getattr(obj, "index", None))
        values = np.asarray(obj)
        name = getattr(obj, "name", None)
        return b"series" + encode([name, str(obj.dtype), index, values])
    return None


def _polars(obj, encode):
    """Encode a frame or a column of polars by its values."""
    if hasattr(obj, "to_dict") and hasattr(obj, "schema"):
        columns = obj.to_dict(as_series=False)
        return b"frame" + encode([str(obj.schema), columns])
    if hasattr(obj, "to_list"):
        return b"series" + encode([obj.name, str(obj.dtype), obj.to_list()])
    return None


def _xgboost(booster, encode):
    """Encode a booster's trees as the library writes them."""
    if not hasattr(booster, "save_raw"):
        return None
    return b"xgboost" + hashed(booster.save_raw(raw_format="ubj"))


def _lightgbm(booster, encode):
    """Encode a booster's trees as the library writes them."""
    if not hasattr(booster, "model_to_string"):
        return None
    text = booster.model_to_string(num_iteration=-1)
    more = [booster.best_iteration, booster.pandas_categorical]
    return b"lightgbm" + hashed(text.encode()) + encode(more)


def _catboost(model, encode):
    """Encode a model's trees; its binary form moves when it is read from a file."""
    if not hasattr(model, "save_model") or not model.is_fitted():
        return None
    return b"catboost" + encode([_catboost_trees(model), list(model.classes_)])


def _memorized(function, encode):
    """Encode a function that joblib caches, without the cache."""
    return encode(function.func) if hasattr(function, "func") else None


def _catboost_trees(model):
    """Return trees and borders as text; the binary form if there are texts in it."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.json")
            model.save_model(str(file), format="json")
            parts = json.loads(file.read_bytes())
    except Exception:  # not every model can be written so
        return model._serialize_model()
    parts.pop("model_info", None)  # a random number and the time of the fit
    return json.dumps(parts, sort_keys=True)


_LIBRARIES = {
    "sklearn.utils._bunch": _bunch,
    "sklearn.neighbors.": _neighbors_tree,
    "pandas.": _pandas,
    "polars.": _polars,
    "xgboost.": _xgboost,
    "lightgbm.": _lightgbm,
    "catboost.": _catboost,
    "joblib.": _memorized,
}
