"""The memory of every label ever paid for."""

import os
import threading
import uuid
import warnings
from abc import ABC, abstractmethod

import numpy as np

from skadistill.exceptions import LedgerError
from skadistill.teachers._rows import KEY_DTYPE

__all__ = ["BaseLedger", "LedgerCopyWarning", "MemoryLedger"]

_PROCESS = uuid.uuid4().hex


class LedgerCopyWarning(RuntimeWarning):
    """A ledger in memory is a copy in another process; what it learns stays there."""


class BaseLedger(ABC):
    """Remember paid labels by row content and teacher; the contract of every ledger.

    A ledger only remembers. It never asks a teacher, never decides what may be
    spent, and never answers for another teacher, for another set of classes or for
    a row it has not seen. A subclass stores and finds (`_store`, `_find`); the
    checks and the order of columns are done here, once for all ledgers.

    Clones share a ledger: ``clone`` returns it.

    See Also
    --------
    MemoryLedger : Lives as long as the process.
    """

    def __sklearn_clone__(self):
        return self

    def lookup(self, keys, teacher_id, classes):
        """Find the labels already paid for.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_rows,)
            Keys made by `row_keys`.
        teacher_id : str
            The teacher's identity.
        classes : array-like of shape (n_classes,)
            The columns wanted, in any order. Labels paid under another *set* of
            classes are not known here: the teacher was asked another question.

        Returns
        -------
        known : ndarray of bool of shape (n_rows,)
            Which rows have a label.
        labels : ndarray of float64 of shape (n_rows, n_classes)
            To the last bit as recorded, columns in the order of `classes`; NaN
            where unknown.
        """
        keys = _checked_keys(keys)
        classes = _checked_classes(classes)
        known, labels = self._find(keys, teacher_id, classes)
        labels[~known] = np.nan
        return known, labels

    def record(self, keys, teacher_id, classes, labels, *, cost=None, seconds=None):
        """Remember labels that were paid for.

        A row that already has a label keeps its first one, so that a label never
        changes under a fit that uses it; the second payment is counted.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_rows,)
            Keys made by `row_keys`.
        teacher_id : str
            The teacher's identity.
        classes : array-like of shape (n_classes,)
            What the columns mean.
        labels : ndarray of shape (n_rows, n_classes)
            Checked probabilities.
        cost : float or None, default=None
            What these rows cost together, in the user's money.
        seconds : float or None, default=None
            How long the teacher took for them together.

        Raises
        ------
        LedgerError
            If keys, classes and labels do not fit together.
        """
        keys = _checked_keys(keys)
        classes = _checked_classes(classes)
        labels = np.asarray(labels, dtype=np.float64)
        if labels.shape != (len(keys), len(classes)):
            raise LedgerError(
                f"labels have shape {labels.shape} where there are {len(keys)} keys "
                f"and {len(classes)} classes; pass one row a key and one column a "
                "class."
            )
        if not np.isfinite(labels).all():
            raise LedgerError(
                f"labels hold {labels[~np.isfinite(labels)][0]}; record answers that "
                "were checked, as BaseTeacher.ask returns them."
            )
        self._store(keys, teacher_id, classes, labels, cost or 0.0, seconds or 0.0)

    @property
    def n_paid(self):
        """Number of rows paid for, a row paid twice counted twice."""
        return self.summary()["n_paid"]

    @abstractmethod
    def _find(self, keys, teacher_id, classes):
        """Return known and labels (any value where unknown); arguments are checked."""

    @abstractmethod
    def _store(self, keys, teacher_id, classes, labels, cost, seconds):
        """Keep the labels of new keys, count all; arguments are checked."""

    @abstractmethod
    def __len__(self):
        """Return the number of labels, one per teacher, set of classes and row."""

    @abstractmethod
    def summary(self):
        """Sum up what was paid.

        Returns
        -------
        summary : dict
            ``n_labels`` (distinct), ``n_paid`` (rows, repeats counted), ``n_calls``
            (batches recorded), ``cost``, ``seconds``; and ``teachers``, the same
            five for each identity.
        """


class _Shelf:
    """The labels of one teacher over one set of classes."""

    def __init__(self, classes):
        self.classes = classes
        self.place: dict[bytes, int] = {}
        self.labels = np.empty((16, len(classes)))

    def add(self, keys, labels):
        """Append the labels of keys that are new."""
        new: dict[bytes, int] = {}
        for i, key in enumerate(keys):
            if key not in self.place:
                new.setdefault(key, i)
        start = len(self.place)
        if start + len(new) > len(self.labels):
            size = max(2 * len(self.labels), start + len(new))
            grown = np.empty((size, self.labels.shape[1]))
            grown[:start] = self.labels[:start]
            self.labels = grown
        self.labels[start : start + len(new)] = labels[list(new.values())]
        # Last, so that a fault above leaves no key without its label.
        self.place.update((key, start + j) for j, key in enumerate(new))


class MemoryLedger(BaseLedger):
    """Remember paid labels for as long as the process lives.

    Safe to share between threads, between clones, and between fits: a search with
    several candidates pays each distinct row once.

    Notes
    -----
    A ledger in memory cannot be seen from another process. Pickling makes a copy;
    so do joblib's worker processes (``n_jobs=2``) and a fork. Such a copy answers
    from what was known when it was made, but what it learns is lost with its
    process, and rows are silently paid again elsewhere; its first use there raises
    a `LedgerCopyWarning`. Loading it and predicting stays silent. To share labels
    between jobs, use threads (``joblib.parallel_config(backend="threading")``) or
    a ledger on disk.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.teachers import MemoryLedger, row_keys
    >>> ledger = MemoryLedger()
    >>> X = np.array([[0.0], [1.0]])
    >>> ledger.record(row_keys(X[:1]), "me", ["a", "b"], [[0.25, 0.75]])
    >>> known, labels = ledger.lookup(row_keys(X), "me", ["b", "a"])
    >>> known, labels[0], len(ledger)
    (array([ True, False]), array([0.75, 0.25]), 1)
    """

    def __init__(self):
        self._shelves = {}
        self._counts = {}
        self._home = _here()
        self._warned = False
        self._lock = threading.RLock()

    def __getstate__(self):
        with self._lock:
            state = self.__dict__.copy()
            del state["_lock"]
            # Copies of the containers: another thread may record while they are
            # being written.
            state["_counts"] = {k: dict(v) for k, v in self._counts.items()}
            state["_shelves"] = {
                k: (s.classes, dict(s.place), s.labels[: len(s.place)].copy())
                for k, s in self._shelves.items()
            }
        return state

    def __setstate__(self, state):
        shelves = {}
        for key, (classes, place, labels) in state["_shelves"].items():
            shelf = _Shelf(classes)
            shelf.place, shelf.labels = place, labels
            shelves[key] = shelf
        self.__dict__.update(state, _shelves=shelves, _lock=threading.RLock())

    def __repr__(self):
        summary = self.summary()
        return (
            f"MemoryLedger(<{summary['n_labels']} labels of "
            f"{len(summary['teachers'])} teachers>)"
        )

    def _warn_if_copied(self):
        """Warn once, before anything is paid, if this is a copy elsewhere."""
        if self._home != _here() and not self._warned:
            self._warned = True
            warnings.warn(
                "This MemoryLedger is a copy in another process than its original's, "
                f"with {len(self)} labels: what is paid here is not remembered there, "
                "so rows can be paid for again; share a ledger on disk between "
                "processes, or use joblib's threading backend.",
                LedgerCopyWarning,
                stacklevel=4,
            )

    def _find(self, keys, teacher_id, classes):
        self._warn_if_copied()
        labels = np.empty((len(keys), len(classes)))
        with self._lock:
            shelf = self._shelves.get((teacher_id, frozenset(classes)))
            if shelf is None:
                return np.zeros(len(keys), dtype=bool), labels
            place = shelf.place
            where = np.array([place.get(k, -1) for k in keys.tolist()], dtype=np.intp)
            known = where >= 0
            position = {c: i for i, c in enumerate(shelf.classes)}
            order = [position[c] for c in classes]
            labels[known] = shelf.labels[where[known]][:, order]
        return known, labels

    def _store(self, keys, teacher_id, classes, labels, cost, seconds):
        self._warn_if_copied()
        with self._lock:
            shelf = self._shelves.setdefault(
                (teacher_id, frozenset(classes)), _Shelf(classes)
            )
            position = {c: i for i, c in enumerate(classes)}
            shelf.add(keys.tolist(), labels[:, [position[c] for c in shelf.classes]])
            counts = self._counts.setdefault(
                teacher_id, {"n_paid": 0, "n_calls": 0, "cost": 0.0, "seconds": 0.0}
            )
            counts["n_paid"] += len(keys)
            counts["n_calls"] += 1
            counts["cost"] += cost
            counts["seconds"] += seconds

    def __len__(self):
        """Return the number of labels, one per teacher, set of classes and row."""
        with self._lock:
            return sum(len(shelf.place) for shelf in self._shelves.values())

    def __bool__(self):
        # An empty ledger is a ledger: `ledger or MemoryLedger()` must not drop it.
        return True

    def summary(self):
        """Sum up what was paid.

        Returns
        -------
        summary : dict
            ``n_labels`` (distinct), ``n_paid`` (rows, repeats counted), ``n_calls``
            (batches recorded), ``cost``, ``seconds``; and ``teachers``, the same
            five for each identity.
        """
        with self._lock:
            teachers = {
                teacher_id: {"n_labels": 0, **counts}
                for teacher_id, counts in self._counts.items()
            }
            for (teacher_id, _), shelf in self._shelves.items():
                teachers[teacher_id]["n_labels"] += len(shelf.place)
        total = {
            key: sum((t[key] for t in teachers.values()), start=zero)
            for key, zero in [
                ("n_labels", 0),
                ("n_paid", 0),
                ("n_calls", 0),
                ("cost", 0.0),
                ("seconds", 0.0),
            ]
        }
        return {**total, "teachers": teachers}


def _here():
    """Name this process; the process id alone is used again, and survives a fork."""
    return (_PROCESS, os.getpid())


def _checked_keys(keys):
    """Refuse keys that `row_keys` did not make."""
    keys = np.asarray(keys)
    if keys.dtype != KEY_DTYPE or keys.ndim != 1:
        raise LedgerError(
            f"keys have dtype {keys.dtype} and shape {keys.shape}; pass what row_keys "
            "returns, one key a row."
        )
    return keys


def _checked_classes(classes):
    """Return the classes as a tuple of plain values, refusing repeats."""
    classes = tuple(np.asarray(classes).tolist())
    if len(set(classes)) != len(classes):
        raise LedgerError(
            f"classes are {list(classes)!r}, with repeats; name every column once."
        )
    return classes
