"""Who a teacher is, so that a ledger knows it again and never answers for another.

An identity is declared, by a name and a version, or exact: what cannot be read exactly
is the object itself, in this process only, and a ledger that lives longer refuses it
before anything is paid. No code is read. Classes and functions of installed packages
count by their names; those of the user may change under the same name, and count as
objects, except in a teacher that is fitted here.
"""

import copyreg
import functools
import inspect
import json
import pickle
import re
import sys
import tempfile
import types
import uuid
import weakref
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

from skadistill._rows._keys import row_keys
from skadistill._utils.display import qualified_name
from skadistill.exceptions import TeacherError

__all__ = [
    "check_identity",
    "classes_suffix",
    "estimator_identity",
    "given_identity",
    "object_identity",
    "training_identity",
]

_IN_PROCESS = re.compile(r"(?:^|:)process-[0-9a-f]{32}")

#: Packages whose classes and functions are known by name wherever they are installed.
_KNOWN = {
    *("numpy", "scipy", "sklearn", "torch", "skorch", "skadistill"),
    *("xgboost", "lightgbm", "catboost", "pandas", "polars"),
}

#: Attributes of estimators that change no answer, or hold an address.
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

_TOKENS: dict[int, tuple[Any, str]] = {}


def given_identity(name, version):
    """Join a name and a version given by the user."""
    name = name.replace("%", "%25").replace("/", "%2F")
    return name if version is None else f"{name}/{version}"


def classes_suffix(classes):
    """Write declared classes for an identity: they say what the columns mean."""
    return "" if classes is None else f":{np.asarray(classes).tolist()!r}"


def object_identity(obj):
    """Name an object that is known by itself, in this process only."""
    owner = obj.__self__ if isinstance(obj, types.MethodType) else obj
    return f"process-{_token_of(owner)}-{qualified_name(obj)}"


def estimator_identity(estimator):
    """Digest the class, the parameters and the fitted attributes of an estimator."""
    return f"{type(estimator).__qualname__}:{_digest(estimator)}"


def training_identity(estimator, X, y, fit_params, *, is_named):
    """Identify a teacher by its parameters and the rows it is fitted on.

    Two folds never share an identity; two searches' candidates with the same teacher
    on the same fold do. What cannot be read of a named teacher is what its name says.
    """
    try:
        rows = blake2b(row_keys(X).tobytes(), digest_size=16).digest()
    except Exception:  # rows only the estimator understands
        rows = X
    contents = [rows, np.asarray(y).tolist(), fit_params, estimator]
    digest = _digest(contents, is_named=is_named, knows_classes=True)
    return f"{type(estimator).__qualname__}:{digest}"


def check_identity(identity, teacher, ledger):
    """Refuse an identity that ends before the ledger does."""
    if not getattr(ledger, "outlives_process", False):
        return
    if _IN_PROCESS.search(identity) is None:
        return
    line = {
        "AsyncTeacher": "AsyncTeacher(ask",
        "BatchTeacher": "BatchTeacher((submit, poll)",
        "EstimatorTeacher": "as_teacher(estimator",
    }.get(type(teacher).__name__, "as_teacher(ask")
    raise TeacherError(
        f"{teacher.display_name} has no name and is known in this process only, so "
        f"that the next one would pay again for the labels in {type(ledger).__name__}; "
        f'name it, as in {line}, name="...", version="1").'
    )


def _token_of(obj):
    """Return a random name that an object keeps while it lives in this process."""
    address = id(obj)
    known = _TOKENS.get(address)
    if known is not None and known[0]() is obj:
        return known[1]
    token = uuid.uuid4().hex
    reference: Any
    try:
        # The address is used again after the object died; the reference tells.
        reference = weakref.ref(obj, lambda _: _TOKENS.pop(address, None))
    except TypeError:
        reference = lambda: obj  # noqa: E731 (kept alive: its address stays its own)
    _TOKENS[address] = reference, token
    return token


def _digest(obj, **options):
    """Digest an object in hexadecimal, marked if it is known in this process only."""
    hasher = blake2b(digest_size=16)
    contents = _Contents(types.SimpleNamespace(write=hasher.update), **options)
    try:
        contents.dump(obj)
    except Exception:  # a cycle, or whatever else its author liked
        return object_identity(obj)
    digest = hasher.hexdigest()
    return f"process-{digest}" if contents.in_process else digest


class _Contents(pickle.Pickler):
    """Write what equal contents share, whatever their layout, in place of a pickle."""

    def __init__(self, file, *, is_named=False, knows_classes=False):
        super().__init__(file, protocol=4)
        self.fast = True  # shared references are not contents
        self.options = {"is_named": is_named, "knows_classes": knows_classes}
        self.in_process = False

    def persistent_id(self, obj):
        """Write sets, which have no order."""
        if type(obj) not in (set, frozenset):
            return None
        digests = sorted(_digest(item, **self.options) for item in obj)
        self.in_process |= any(d.startswith("process-") for d in digests)
        return type(obj).__name__, digests

    def reducer_override(self, obj):
        """Write everything but plain values and containers."""
        if obj is _value:
            return NotImplemented
        is_routine = inspect.isroutine(obj) and not isinstance(obj, types.MethodType)
        if is_routine or isinstance(obj, type | np.ufunc):
            return self.named(obj)
        if isinstance(obj, np.ndarray | np.generic):
            return _value, (type(obj).__name__, *_array(np.asarray(obj)))
        if sparse.issparse(obj):
            return _value, _sparse(obj)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.Tensor):
            return _value, _tensor(obj.detach(), torch)
        kind = type(obj)
        if not (self.options["knows_classes"] or _is_installed(kind.__module__)):
            return self.unreadable(obj)
        if torch is not None and isinstance(obj, torch.nn.Module):
            return _value, (kind, _module(obj, vars(torch.nn.Module())))
        for start, read in _LIBRARIES.items():
            if kind.__module__.startswith(start) and (value := read(obj)) is not None:
                return _value, (kind, value)
        if isinstance(obj, BaseEstimator) or _is_net(kind):
            return _value, (kind, _relevant(obj))
        try:  # what a pickle would keep
            registered = copyreg.dispatch_table.get(kind)  # patterns of `re`
            return registered(obj) if registered else obj.__reduce_ex__(4)
        except Exception:  # a socket, a generator, a client
            return self.unreadable(obj)

    def named(self, obj):
        """Write a class or a function by name, if that says what it does."""
        owner = getattr(obj, "__self__", None)
        if isinstance(obj, type) and self.options["knows_classes"]:
            owner, is_known = None, True
        else:
            is_known = _is_installed(getattr(obj, "__module__", None) or "builtins")
        if not is_known or not isinstance(owner, types.ModuleType | None):
            return self.unreadable(obj)
        name = obj.__name__ if isinstance(obj, np.ufunc) else qualified_name(obj)
        return self.unreadable(obj) if "<lambda>" in name else (_value, ("name", name))

    def unreadable(self, obj):
        """Write an object by itself, or by its type if a name says what it is."""
        if self.options["is_named"]:
            return _value, ("named", qualified_name(obj))
        self.in_process = True
        return _value, ("object", object_identity(obj))


def _value(*parts):
    """Stand for what is written in place of an object."""


def _is_net(kind):
    return any(c.__module__ == "skorch.net" for c in kind.__mro__)


def _relevant(estimator):
    """Return the attributes that an estimator's answers depend on, by name."""
    state = {k: v for k, v in vars(estimator).items() if k not in _IRRELEVANT}
    if _is_net(type(estimator)) and hasattr(estimator, "module_"):
        state = {
            name: value
            for name, value in state.items()
            if name not in _TRAINING and not name.startswith(_TRAINING_PREFIXES)
        }
    return sorted(state.items())


def _module(module, machinery):
    """Return weights, submodules and other attributes of a torch module, by name."""
    state = {
        name: value
        for name, value in vars(module).items()
        if name not in machinery or (name.endswith("_hooks") and value)
    }
    for name in ("_parameters", "_buffers", "_modules"):
        state[name] = dict(getattr(module, name))
    return sorted(state.items())


def _array(array):
    """Return dtype, shape and values; of structures field by field."""
    dtype = array.dtype
    if dtype.names is not None:  # without padding, whose bytes are chance
        return dtype.names, [_array(array[name]) for name in dtype.names]
    if dtype.hasobject or dtype.kind == "T":
        return "objects", array.shape, array.ravel().tolist()
    if (dtype.kind in "fc" and dtype.itemsize not in (2, 4, 8, 16)) or dtype == "g":
        return "long", array.shape, [*map(repr, array.ravel())]  # padded, too
    array = np.ascontiguousarray(array.astype(dtype.newbyteorder("<"), copy=False))
    data = blake2b(array.reshape(-1).view(np.uint8), digest_size=16).digest()
    return array.dtype.str, array.shape, data


def _sparse(matrix):
    """Return the places and values of a sparse matrix; predicting may sort them."""
    name = type(matrix).__name__
    matrix = matrix.tocsr(copy=True) if matrix.ndim == 2 else matrix.tocoo(copy=True)
    matrix.sum_duplicates()
    coo = matrix.tocoo()
    places = [_array(np.asarray(c, dtype=np.int64)) for c in coo.coords]
    return name, matrix.shape, places, _array(coo.data)


def _tensor(tensor, torch):
    """Return dtype, shape and values, wherever they are stored."""
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    flat = tensor.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    values = _array(flat.view(torch.uint8).numpy())
    return str(tensor.dtype), tuple(tensor.shape), values


@functools.cache
def _is_installed(module):
    """Tell whether a module is part of an installed package, rather than the user's."""
    top = module.partition(".")[0]
    if top in ("__main__", "__mp_main__"):
        return False
    if top in _KNOWN or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & {*Path(file).parts})


def _neighbors_tree(tree):
    """Return a KDTree or BallTree without the counters that a query moves."""
    if not hasattr(tree, "get_tree_stats"):
        return None
    state = tree.__getstate__()
    return [type(tree), *state[:7], *state[11:]]


def _lightgbm(booster):
    """Return a booster's trees as the library writes them."""
    if not hasattr(booster, "model_to_string"):
        return None
    text = booster.model_to_string(num_iteration=-1)
    return [text, booster.best_iteration, booster.pandas_categorical]


def _xgboost(booster):
    """Return a booster's trees as the library writes them."""
    return booster.save_raw("ubj") if hasattr(booster, "save_raw") else None


def _catboost(model):
    """Return a model's trees; its binary form moves when it is read from a file."""
    if not hasattr(model, "save_model") or not model.is_fitted():
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.json")
            model.save_model(str(file), format="json")
            parts = json.loads(file.read_bytes())
        parts.pop("model_info", None)  # a random number and the time of the fit
        trees = json.dumps(parts, sort_keys=True)
    except Exception:  # not every model can be written so
        trees = model._serialize_model()
    return [trees, list(model.classes_)]


_LIBRARIES = {
    # Warnings that a bunch remembers are lost on the way through a file.
    "sklearn.utils._bunch": dict,
    "sklearn.neighbors.": _neighbors_tree,
    "xgboost.": _xgboost,
    "lightgbm.": _lightgbm,
    "catboost.": _catboost,
}
