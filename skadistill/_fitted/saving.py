"""Pickle a distiller whose teacher is a local function, or say why it cannot be."""

import io
import pickle

from sklearn.base import BaseEstimator

from skadistill._utils.compat import CloudPickler
from skadistill._utils.display import text_of
from skadistill.exceptions import TeacherError

__all__ = ["picklable", "unpacked"]

#: What may be, or hold, a function that pickle cannot find by its name.
HOLDERS = (
    "teacher",
    "teacher_",
    "query_strategy",
    "stopping_criterion",
    "objective",
    "objective_",
)


class _Nowhere(io.RawIOBase):
    """Accept bytes and forget them."""

    def writable(self):
        """Tell that bytes can be written."""
        return True

    def write(self, data):
        """Count the bytes; large arrays come as buffers without a length."""
        return memoryview(data).nbytes


class _ByValue:
    """Hold an object that cloudpickle can write and pickle cannot."""

    def __init__(self, obj):
        self.obj = obj

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        file = io.BytesIO()
        CloudPickler(file).dump(self.obj)
        return pickle.loads, (file.getvalue(),)


class _Refusal:
    """Raise when it is pickled; shallow and deep copies are allowed."""

    def __init__(self, message):
        self.message = message

    def __deepcopy__(self, memo):
        return self

    def __reduce_ex__(self, protocol):
        raise TeacherError(self.message)


def picklable(state):
    """Return a state in which local functions are written by value."""
    if state.get("teacher") is None:
        state = state | {"teacher_": None} if "teacher_" in state else state
    packed = {}
    for name in HOLDERS:
        value = state.get(name)
        if value is None or isinstance(value, str) or id(value) in packed:
            continue
        if isinstance(value, BaseEstimator) and type(value).__module__.startswith(
            "sklearn."
        ):
            continue  # models of scikit-learn can be pickled, and may be large
        if _fault(pickle.Pickler, value) is None:
            continue
        fault = _fault(CloudPickler, value)
        if fault is not None:
            return {"_refusal": _Refusal(_reason(name, value, fault))} | state
        packed[id(value)] = _ByValue(value)
    return {name: packed.get(id(value), value) for name, value in state.items()}


def unpacked(state):
    """Return the state that a copy gets, in which everything is what it was."""
    return {
        name: value.obj if isinstance(value, _ByValue) else value
        for name, value in state.items()
        if name != "_refusal"
    }


def _fault(pickler, value):
    """Return why a pickler cannot write an object; None if it can."""
    try:
        pickler(_Nowhere()).dump(value)
    except Exception as error:
        return error
    return None


def _reason(name, value, error):
    """Say what cannot be pickled and what to do."""
    reason = " ".join(str(error).split())
    what = "the teacher" if name.startswith("teacher") else name
    return (
        f"{what} {text_of(value):.80} cannot be pickled "
        f"({type(error).__name__}: {reason:.80}); save student_ instead of the "
        "distiller, or set its teacher to None before, and run searches in threads, "
        "with joblib.parallel_config(backend='threading')."
    )
