"""A ledger that lives as long as the process."""

import itertools
import os
import threading
import uuid
import warnings

import numpy as np

from skadistill._rows._keys import KEY_DTYPE
from skadistill.ledger._base import (
    NO_COUNTS,
    BaseLedger,
    check_width,
    column_order,
    total_summary,
)
from skadistill.ledger._budget import Claim, affordable_rows, check_limits

__all__ = ["LedgerCopyWarning", "MemoryLedger"]

_PROCESS = uuid.uuid4().hex


class LedgerCopyWarning(RuntimeWarning):
    """A ledger in memory is a copy in another process; what it learns stays there."""


class _KeyedArray:
    """Rows of numbers under keys, in the order in which they came."""

    def __init__(self, n_columns, dtype=np.float64):
        self.position: dict[bytes, int] = {}
        self.rows = np.empty((16, n_columns), dtype)

    @property
    def n_columns(self):
        return self.rows.shape[1]

    def positions(self, keys):
        """Return the position of each key, -1 where there is none."""
        position = self.position
        return np.array([position.get(k, -1) for k in keys.tolist()], dtype=np.intp)

    def add(self, keys, rows):
        """Append the rows of keys that are new."""
        new: dict[bytes, int] = {}
        for i, key in enumerate(keys.tolist()):
            if key not in self.position:
                new.setdefault(key, i)
        start = len(self.position)
        if start + len(new) > len(self.rows):
            size = max(2 * len(self.rows), start + len(new))
            grown = np.empty((size, self.n_columns), self.rows.dtype)
            grown[:start] = self.rows[:start]
            self.rows = grown
        self.rows[start : start + len(new)] = rows[list(new.values())]
        # Last, so that a fault above leaves no key without its row.
        self.position.update((key, start + j) for j, key in enumerate(new))

    def contents(self):
        """Return copies of keys and rows, in their order."""
        keys = np.array(list(self.position), dtype=KEY_DTYPE)
        return keys, self.rows[: len(self.position)].copy()

    @classmethod
    def holding(cls, keys, rows):
        """Make one of keys and rows, which become its own."""
        table = cls(0)
        table.position = {key: i for i, key in enumerate(keys.tolist())}
        table.rows = rows
        return table


class MemoryLedger(BaseLedger):
    """Remember paid labels for as long as the process lives.

    Safe to share between threads, between clones, and between fits: a search with
    several candidates pays each distinct row once.

    Parameters
    ----------
    max_rows : int or None, default=None
        Rows that may be paid for in the ledger's whole life, all teachers together;
        a fit that reaches it ends normally. None: no limit.
    max_cost : float or None, default=None
        Money that may be paid; needs teachers that name a price. None: no limit.

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
    >>> from skadistill.ledger import MemoryLedger, row_keys
    >>> ledger = MemoryLedger()
    >>> X = np.array([[0.0], [1.0]])
    >>> ledger.record(row_keys(X[:1]), "me", ["a", "b"], [[0.25, 0.75]])
    >>> known, labels = ledger.lookup(row_keys(X), "me", ["b", "a"])
    >>> known, labels[0], len(ledger)
    (array([ True, False]), array([0.75, 0.25]), 1)
    """

    def __init__(self, *, max_rows=None, max_cost=None):
        check_limits(max_rows, max_cost)
        self.max_rows = max_rows
        self.max_cost = max_cost
        self._labels = {}  # (teacher_id, set of classes): (order of classes, table)
        self._embeddings = {}  # teacher_id: table
        self._counts = {}
        self._claims = {}  # token: ((teacher_id, set of classes), keys, price)
        self._tokens = itertools.count()
        self._process = _this_process()
        self._warned = False
        self._lock = threading.RLock()

    def __getstate__(self):
        with self._lock:
            # Copies: another thread may record while the state is being written.
            # Claims stay here with their buyers.
            return {
                "max_rows": self.max_rows,
                "max_cost": self.max_cost,
                "labels": [
                    (teacher_id, classes, *table.contents())
                    for (teacher_id, _), (classes, table) in self._labels.items()
                ],
                "embeddings": [
                    (teacher_id, *table.contents())
                    for teacher_id, table in self._embeddings.items()
                ],
                "counts": {k: dict(v) for k, v in self._counts.items()},
                "process": self._process,
                "warned": self._warned,
            }

    def __setstate__(self, state):
        MemoryLedger.__init__(
            self, max_rows=state["max_rows"], max_cost=state["max_cost"]
        )
        for teacher_id, classes, keys, rows in state["labels"]:
            question = (teacher_id, frozenset(classes))
            self._labels[question] = (tuple(classes), _KeyedArray.holding(keys, rows))
        for teacher_id, keys, rows in state["embeddings"]:
            self._embeddings[teacher_id] = _KeyedArray.holding(keys, rows)
        self._counts = {k: dict(v) for k, v in state["counts"].items()}
        self._process, self._warned = tuple(state["process"]), state["warned"]

    def __repr__(self):
        summary = self.summary()
        return (
            f"MemoryLedger(<{summary['n_labels']} labels of "
            f"{len(summary['teachers'])} teachers>)"
        )

    def _warn_if_copied(self):
        """Warn once, before anything is paid, if this is a copy elsewhere."""
        if self._process != _this_process() and not self._warned:
            self._warned = True
            warnings.warn(
                "this MemoryLedger is a copy, in another process than its original, of "
                f"{len(self)} labels: what is paid here is not remembered there, so "
                "rows can be paid for again; share a ledger on disk between "
                "processes, or use joblib's threading backend.",
                LedgerCopyWarning,
                stacklevel=4,
            )

    def _find(self, keys, teacher_id, classes):
        self._warn_if_copied()
        labels = np.empty((len(keys), len(classes)))
        with self._lock:
            found = self._labels.get((teacher_id, frozenset(classes)))
            if found is None:
                return np.zeros(len(keys), dtype=bool), labels
            stored, table = found
            where = table.positions(keys)
            known = where >= 0
            labels[known] = table.rows[where[known]][:, column_order(stored, classes)]
        return known, labels

    def _find_embeddings(self, keys, teacher_id):
        self._warn_if_copied()
        with self._lock:
            table = self._embeddings.get(teacher_id, _KeyedArray(0, np.float32))
            where = table.positions(keys)
            known = where >= 0
            embeddings = np.empty((len(keys), table.n_columns), np.float32)
            embeddings[known] = table.rows[where[known]]
        return known, embeddings

    def _store(
        self, keys, teacher_id, classes, labels, embeddings, cost, seconds, claim
    ):
        self._warn_if_copied()
        with self._lock:
            if embeddings is not None:
                self._add_embeddings(keys, teacher_id, embeddings)
            stored, table = self._labels.setdefault(
                (teacher_id, frozenset(classes)), (classes, _KeyedArray(len(classes)))
            )
            table.add(keys, labels[:, column_order(classes, stored)])
            self._count(
                teacher_id, n_paid=len(keys), n_calls=1, cost=cost, seconds=seconds
            )
            self._let_go(claim, keys.tolist())

    def _store_embeddings(self, keys, teacher_id, embeddings, cost, seconds):
        self._warn_if_copied()
        with self._lock:
            self._add_embeddings(keys, teacher_id, embeddings)
            self._count(teacher_id, n_calls=1, cost=cost, seconds=seconds)

    def _add_embeddings(self, keys, teacher_id, embeddings):
        """Keep the embeddings of new keys."""
        table = self._embeddings.setdefault(
            teacher_id, _KeyedArray(embeddings.shape[1], np.float32)
        )
        check_width(embeddings, table.n_columns, teacher_id)
        table.add(keys, embeddings)

    def _count(self, teacher_id, **amounts):
        """Add amounts to what is counted for a teacher."""
        counts = self._counts.setdefault(teacher_id, dict(NO_COUNTS))
        for name, amount in amounts.items():
            counts[name] += amount

    def _reserve(self, keys, teacher_id, classes, price):
        self._warn_if_copied()
        question = (teacher_id, frozenset(classes))
        with self._lock:
            known, _ = self._find(keys, teacher_id, classes)
            claimed = {
                key
                for where, claim_keys, _ in self._claims.values()
                if where == question
                for key in claim_keys
            }
            free = ~known & [key not in claimed for key in keys.tolist()]
            granted = free & (np.cumsum(free) <= self._affordable(price))
            token = next(self._tokens)
            held = set(keys[granted].tolist())
            self._claims[token] = (question, held, price or 0.0)
        return Claim(granted, free & ~granted, price, token)

    def _affordable(self, price):
        """Count the rows that the budget still pays for, those reserved apart."""
        summary = self.summary()
        reserved = [(len(keys), price) for _, keys, price in self._claims.values()]
        return affordable_rows(
            self.max_rows,
            self.max_cost,
            n_spent=summary["n_paid"] + sum(n for n, _ in reserved),
            spent=summary["cost"] + sum(n * price for n, price in reserved),
            price=price,
        )

    def _let_go(self, claim, keys):
        """Remove answered rows from their claim."""
        if claim is not None and claim.token in self._claims:
            held = self._claims[claim.token][1]
            held.difference_update(keys)
            if not held:
                del self._claims[claim.token]

    def _end(self, claim, fault, cost, seconds):
        with self._lock:
            ended = self._claims.pop(claim.token, None)
            if ended is not None and fault is not None:
                (teacher_id, _), keys, _ = ended
                self._count(teacher_id, n_failed=len(keys), cost=cost, seconds=seconds)

    def __len__(self):
        """Return the number of labels, one per teacher, set of classes and row."""
        with self._lock:
            return sum(len(table.position) for _, table in self._labels.values())

    def __bool__(self):
        # An empty ledger is a ledger: `ledger or MemoryLedger()` must not drop it.
        return True

    def summary(self):
        """Sum up what was paid.

        Returns
        -------
        summary : dict
            As `BaseLedger.summary` says; ``n_lost`` is 0, as nothing outlives its
            process to see it.
        """
        with self._lock:
            teachers = {
                teacher_id: {**NO_COUNTS, **counts}
                for teacher_id, counts in self._counts.items()
            }
            for (teacher_id, _), (_, table) in self._labels.items():
                teachers[teacher_id]["n_labels"] += len(table.position)
        return total_summary(teachers)


def _this_process():
    """Name this process; the process id alone is used again, and survives a fork."""
    return (_PROCESS, os.getpid())
