"""Say what to do if a distiller whose teacher holds a client is pickled."""

import io

from sklearn.base import BaseEstimator

from skadistill._utils.compat import CloudPickler
from skadistill._utils.display import text_of
from skadistill.exceptions import TeacherError

__all__ = ["refusal_to_pickle"]


class _Nowhere(io.RawIOBase):
    """Accept bytes and forget them."""

    def writable(self):
        """Tell that bytes can be written."""
        return True

    def write(self, data):
        """Count the bytes; large arrays come as buffers without a length."""
        return memoryview(data).nbytes


class _Refusal:
    """Raise when it is pickled; shallow and deep copies are allowed."""

    def __init__(self, message):
        self.message = message

    def __deepcopy__(self, memo):
        return self

    def __reduce_ex__(self, protocol):
        raise TeacherError(self.message)


def refusal_to_pickle(teacher):
    """Find out whether a teacher can be pickled."""
    if isinstance(teacher, BaseEstimator) and type(teacher).__module__.startswith(
        "sklearn."
    ):
        return None  # models of scikit-learn can, and may be large
    try:
        CloudPickler(_Nowhere()).dump(teacher)
    except Exception as error:
        reason = " ".join(str(error).split())
        return _Refusal(
            f"the teacher {text_of(teacher):.80} cannot be pickled "
            f"({type(error).__name__}: {reason:.80}); save student_ instead of the "
            "distiller, and run searches in threads, with "
            "joblib.parallel_config(backend='threading')."
        )
    return None
