"""Tell which open claims of this process are still in use."""

import threading
import uuid
import weakref

__all__ = ["ClaimToken"]


class ClaimToken:
    """Identify an open claim of this process.

    Its name is written beside the claim. As long as a `Claim` refers to the token, and
    its thread runs, labels may still be recorded.
    """

    _open: weakref.WeakValueDictionary = weakref.WeakValueDictionary()

    def __init__(self, label_set, number=None):
        self.label_set = label_set
        self.number = number
        self.name = uuid.uuid4().hex
        self._thread = weakref.ref(threading.current_thread())
        self._open[self.name] = self

    @classmethod
    def is_abandoned(cls, name):
        """Tell whether a claim of this process can no longer be used."""
        if not name:
            return False
        token = cls._open.get(name)
        thread = None if token is None else token._thread()
        return thread is None or not thread.is_alive()

    @classmethod
    def is_of_this_thread(cls, name):
        """Tell whether a claim was made by the calling thread."""
        token = cls._open.get(name)
        return token is not None and token._thread() is threading.current_thread()
