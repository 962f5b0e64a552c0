"""The memory of every label ever paid for."""

import itertools
import os
import threading
import uuid
import warnings
from abc import ABC, abstractmethod

import numpy as np

from skadistill.exceptions import LedgerError
from skadistill.teachers._budget import Claim, affordable_rows, check_limits
from skadistill.teachers._rows import KEY_DTYPE

__all__ = ["BaseLedger", "LedgerCopyWarning", "MemoryLedger"]

#: What a ledger counts for each teacher.
NO_COUNTS = {
    "n_labels": 0,
    "n_paid": 0,
    "n_calls": 0,
    "n_failed": 0,
    "n_lost": 0,
    "cost": 0.0,
    "seconds": 0.0,
}

_PROCESS = uuid.uuid4().hex


class LedgerCopyWarning(RuntimeWarning):
    """A ledger in memory is a copy in another process; what it learns stays there."""


class BaseLedger(ABC):
    """Remember paid labels by row content and teacher; the contract of every ledger.

    A ledger only remembers, and says how much more may be spent. It never asks a
    teacher, and never answers for another teacher, for another set of classes or for
    a row it has not seen. A subclass stores and finds (`_store`, `_find`,
    `_store_embeddings`, `_find_embeddings`, `_reserve`, `_end`); the checks are done
    here, once for all ledgers.

    Clones share a ledger: ``clone`` returns it.

    Attributes
    ----------
    max_rows : int or None
        Rows that may be paid for in the ledger's whole life, all teachers together;
        None: no limit.
    max_cost : float or None
        Money that may be paid in its whole life; None: no limit.

    See Also
    --------
    MemoryLedger : Lives as long as the process.
    LabelLedger : Lives in a file.
    """

    max_rows: int | None = None
    max_cost: float | None = None

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

    def lookup_embeddings(self, keys, teacher_id):
        """Find the embeddings that came with labels already paid for.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_rows,)
            Keys made by `row_keys`.
        teacher_id : str
            The teacher's identity. The classes do not matter: an embedding is the
            same whatever was asked.

        Returns
        -------
        known : ndarray of bool of shape (n_rows,)
            Which rows have an embedding.
        embeddings : ndarray of float32 of shape (n_rows, n_dims)
            To the last bit as recorded; NaN where unknown. A teacher of whom no
            embedding was ever recorded has ``n_dims`` 0.
        """
        keys = _checked_keys(keys)
        known, embeddings = self._find_embeddings(keys, teacher_id)
        embeddings[~known] = np.nan
        return known, embeddings

    def record(
        self,
        keys,
        teacher_id,
        classes,
        labels,
        *,
        cost=None,
        seconds=None,
        embeddings=None,
        claim=None,
    ):
        """Remember labels that were paid for.

        A row that already has a label keeps its first one, so that a label never
        changes under a fit that uses it; the second payment is counted. The same
        holds for embeddings, each apart from its label: a row whose label came
        without an embedding may be given one later.

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
        embeddings : array-like of shape (n_rows, n_dims) or None, default=None
            What else the teacher said about the rows; kept as float32. All
            embeddings of one teacher have the same ``n_dims``.
        claim : Claim or None, default=None
            The claim under which the rows were paid for; they leave it.

        Raises
        ------
        LedgerError
            If keys, classes, labels and embeddings do not fit together.
        """
        keys = _checked_keys(keys)
        classes = _checked_classes(classes)
        labels = check_labels(labels, len(keys), len(classes))
        if embeddings is not None:
            embeddings = check_embeddings(embeddings, len(keys))
        self._store(
            keys,
            teacher_id,
            classes,
            labels,
            embeddings,
            cost or 0.0,
            seconds or 0.0,
            claim,
        )

    def record_embeddings(
        self, keys, teacher_id, embeddings, *, cost=None, seconds=None
    ):
        """Remember embeddings that came without labels.

        No label was paid for: ``n_paid`` stays, and `max_rows` is not touched; the
        call, its cost and its seconds are counted.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_rows,)
            Keys made by `row_keys`.
        teacher_id : str
            The teacher's identity.
        embeddings : array-like of shape (n_rows, n_dims)
            What the teacher said about the rows; kept as float32. A row that has one
            keeps it.
        cost : float or None, default=None
            What they cost together, in the user's money.
        seconds : float or None, default=None
            How long they took together.

        Raises
        ------
        LedgerError
            If keys and embeddings do not fit together, or the embeddings have
            another width than those before.
        """
        keys = _checked_keys(keys)
        embeddings = check_embeddings(embeddings, len(keys))
        self._store_embeddings(
            keys, teacher_id, embeddings, cost or 0.0, seconds or 0.0
        )

    def claim(self, keys, teacher_id, classes, *, price=None):
        """Reserve rows before paying for them, as far as the budget goes.

        Nobody else is granted the same rows until they are recorded or the claim is
        ended with `release`, and what is reserved counts as spent. Release a claim
        of which rows were not recorded.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_rows,)
            Keys made by `row_keys`, all different.
        teacher_id : str
            The teacher's identity.
        classes : array-like of shape (n_classes,)
            The columns that will be asked for.
        price : float or None, default=None
            What one row can cost at most. None: not known, which a ledger with
            `max_cost` refuses.

        Returns
        -------
        claim : Claim
            ``granted`` and ``refused``; rows in neither got a label meanwhile, or
            somebody else is paying for them: look them up again.

        Raises
        ------
        BudgetError
            If the ledger has a `max_cost` and there is no price.
        """
        keys = _checked_keys(keys)
        return self._reserve(keys, teacher_id, _checked_classes(classes), price)

    def release(self, claim, *, fault=None, cost=None, seconds=None):
        """End a claim; rows of it that were not recorded are free again.

        Parameters
        ----------
        claim : Claim
            As `claim` returned it. Ending one twice changes nothing.
        fault : str or None, default=None
            The name of the error that kept the rows from being answered; they are
            then counted in ``n_failed``.
        cost : float or None, default=None
            What the fault cost, in the user's money.
        seconds : float or None, default=None
            How long it took.
        """
        self._end(claim, fault, cost or 0.0, seconds or 0.0)

    @property
    def n_paid(self):
        """Number of rows paid for, a row paid twice counted twice."""
        return self.summary()["n_paid"]

    @abstractmethod
    def _find(self, keys, teacher_id, classes):
        """Return known and labels (any value where unknown); arguments are checked."""

    @abstractmethod
    def _find_embeddings(self, keys, teacher_id):
        """Return known and embeddings (any value where unknown); keys are checked."""

    @abstractmethod
    def _store(
        self, keys, teacher_id, classes, labels, embeddings, cost, seconds, claim
    ):
        """Keep labels and embeddings of new keys, count all; arguments are checked.

        All or nothing: a fault, such as embeddings of another width than before,
        leaves the ledger as it was.
        """

    @abstractmethod
    def _store_embeddings(self, keys, teacher_id, embeddings, cost, seconds):
        """Keep embeddings of new keys, count the call; arguments are checked."""

    @abstractmethod
    def _reserve(self, keys, teacher_id, classes, price):
        """Return a Claim; arguments are checked."""

    @abstractmethod
    def _end(self, claim, fault, cost, seconds):
        """Drop a claim and count its fault, if any."""

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
            (batches recorded), ``n_failed`` (rows that came to a fault),
            ``n_lost`` (rows whose buyer died before it recorded them), ``cost``,
            ``seconds``; and ``teachers``, the same seven for each identity.
        """


class _Shelf:
    """Rows of numbers under keys, in the order in which they came."""

    def __init__(self, n_columns, dtype=np.float64):
        self.place: dict[bytes, int] = {}
        self.rows = np.empty((16, n_columns), dtype)

    @property
    def n_columns(self):
        return self.rows.shape[1]

    def positions(self, keys):
        """Return the position of each key, -1 where there is none."""
        place = self.place
        return np.array([place.get(k, -1) for k in keys.tolist()], dtype=np.intp)

    def add(self, keys, rows):
        """Append the rows of keys that are new."""
        new: dict[bytes, int] = {}
        for i, key in enumerate(keys.tolist()):
            if key not in self.place:
                new.setdefault(key, i)
        start = len(self.place)
        if start + len(new) > len(self.rows):
            size = max(2 * len(self.rows), start + len(new))
            grown = np.empty((size, self.n_columns), self.rows.dtype)
            grown[:start] = self.rows[:start]
            self.rows = grown
        self.rows[start : start + len(new)] = rows[list(new.values())]
        # Last, so that a fault above leaves no key without its row.
        self.place.update((key, start + j) for j, key in enumerate(new))

    def contents(self):
        """Return copies of keys and rows, in their order."""
        keys = np.array(list(self.place), dtype=KEY_DTYPE)
        return keys, self.rows[: len(self.place)].copy()

    @classmethod
    def holding(cls, keys, rows):
        """Make a shelf of keys and rows, which become its own."""
        shelf = cls(0)
        shelf.place = {key: i for i, key in enumerate(keys.tolist())}
        shelf.rows = rows
        return shelf


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
    >>> from skadistill.teachers import MemoryLedger, row_keys
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
        self._labels = {}  # (teacher_id, set of classes): (order of classes, shelf)
        self._embeddings = {}  # teacher_id: shelf
        self._counts = {}
        self._claims = {}  # token: ((teacher_id, set of classes), keys, price)
        self._tokens = itertools.count()
        self._home = _here()
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
                    (teacher_id, classes, *shelf.contents())
                    for (teacher_id, _), (classes, shelf) in self._labels.items()
                ],
                "embeddings": [
                    (teacher_id, *shelf.contents())
                    for teacher_id, shelf in self._embeddings.items()
                ],
                "counts": {k: dict(v) for k, v in self._counts.items()},
                "home": self._home,
                "warned": self._warned,
            }

    def __setstate__(self, state):
        MemoryLedger.__init__(
            self, max_rows=state["max_rows"], max_cost=state["max_cost"]
        )
        for teacher_id, classes, keys, rows in state["labels"]:
            question = (teacher_id, frozenset(classes))
            self._labels[question] = (tuple(classes), _Shelf.holding(keys, rows))
        for teacher_id, keys, rows in state["embeddings"]:
            self._embeddings[teacher_id] = _Shelf.holding(keys, rows)
        self._counts = {k: dict(v) for k, v in state["counts"].items()}
        self._home, self._warned = tuple(state["home"]), state["warned"]

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
            found = self._labels.get((teacher_id, frozenset(classes)))
            if found is None:
                return np.zeros(len(keys), dtype=bool), labels
            stored, shelf = found
            where = shelf.positions(keys)
            known = where >= 0
            labels[known] = shelf.rows[where[known]][:, column_order(stored, classes)]
        return known, labels

    def _find_embeddings(self, keys, teacher_id):
        self._warn_if_copied()
        with self._lock:
            shelf = self._embeddings.get(teacher_id, _Shelf(0, np.float32))
            where = shelf.positions(keys)
            known = where >= 0
            embeddings = np.empty((len(keys), shelf.n_columns), np.float32)
            embeddings[known] = shelf.rows[where[known]]
        return known, embeddings

    def _store(
        self, keys, teacher_id, classes, labels, embeddings, cost, seconds, claim
    ):
        self._warn_if_copied()
        with self._lock:
            if embeddings is not None:
                self._shelve_embeddings(keys, teacher_id, embeddings)
            stored, shelf = self._labels.setdefault(
                (teacher_id, frozenset(classes)), (classes, _Shelf(len(classes)))
            )
            shelf.add(keys, labels[:, column_order(classes, stored)])
            self._count(
                teacher_id, n_paid=len(keys), n_calls=1, cost=cost, seconds=seconds
            )
            self._let_go(claim, keys.tolist())

    def _store_embeddings(self, keys, teacher_id, embeddings, cost, seconds):
        self._warn_if_copied()
        with self._lock:
            self._shelve_embeddings(keys, teacher_id, embeddings)
            self._count(teacher_id, n_calls=1, cost=cost, seconds=seconds)

    def _shelve_embeddings(self, keys, teacher_id, embeddings):
        """Keep the embeddings of new keys."""
        shelf = self._embeddings.setdefault(
            teacher_id, _Shelf(embeddings.shape[1], np.float32)
        )
        check_width(embeddings, shelf.n_columns, teacher_id)
        shelf.add(keys, embeddings)

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
        """Take answered rows out of their claim."""
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
            return sum(len(shelf.place) for _, shelf in self._labels.values())

    def __bool__(self):
        # An empty ledger is a ledger: `ledger or MemoryLedger()` must not drop it.
        return True

    def summary(self):
        """Sum up what was paid.

        Returns
        -------
        summary : dict
            As `BaseLedger.summary` says; ``n_lost`` is 0, as nobody survives to see
            it.
        """
        with self._lock:
            teachers = {
                teacher_id: {**NO_COUNTS, **counts}
                for teacher_id, counts in self._counts.items()
            }
            for (teacher_id, _), (_, shelf) in self._labels.items():
                teachers[teacher_id]["n_labels"] += len(shelf.place)
        return total_summary(teachers)


def total_summary(teachers):
    """Add up what each teacher was paid.

    Parameters
    ----------
    teachers : dict of dict
        Counts for each identity.

    Returns
    -------
    summary : dict
        Totals, and ``teachers``.

    Examples
    --------
    >>> from skadistill.teachers._ledger import NO_COUNTS, total_summary
    >>> total_summary({"a": NO_COUNTS | {"n_paid": 2}, "b": NO_COUNTS})["n_paid"]
    2
    """
    total = {
        name: sum((counts[name] for counts in teachers.values()), start=zero)
        for name, zero in NO_COUNTS.items()
    }
    return {**total, "teachers": teachers}


def _here():
    """Name this process; the process id alone is used again, and survives a fork."""
    return (_PROCESS, os.getpid())


def column_order(stored, wanted):
    """Return where among the stored classes each wanted one is.

    Parameters
    ----------
    stored, wanted : sequence of n_classes labels
        The same classes in two orders.

    Returns
    -------
    order : list of int
        ``table[:, order]`` has the wanted columns.

    Examples
    --------
    >>> from skadistill.teachers._ledger import column_order
    >>> column_order(["a", "b", "c"], ["c", "a", "b"])
    [2, 0, 1]
    """
    position = {c: i for i, c in enumerate(stored)}
    return [position[c] for c in wanted]


def check_width(embeddings, n_dims, teacher_id):
    """Refuse embeddings of another width than those of the same teacher before.

    Parameters
    ----------
    embeddings : ndarray of shape (n_rows, n_new_dims)
        The new ones.
    n_dims : int
        The width of those recorded before.
    teacher_id : str
        The teacher's identity, for the message.

    Raises
    ------
    LedgerError
        If they differ.
    """
    if embeddings.shape[1] != n_dims:
        raise LedgerError(
            f"embeddings have {embeddings.shape[1]} columns where those recorded of "
            f"{teacher_id!r} have {n_dims}; give a teacher whose embeddings have "
            "changed a new version."
        )


def check_labels(labels, n_rows, n_classes):
    """Return labels as float64, one finite row a key.

    Parameters
    ----------
    labels : array-like of shape (n_rows, n_classes)
        Checked probabilities.
    n_rows, n_classes : int
        The shape they must have.

    Returns
    -------
    labels : ndarray of float64 of shape (n_rows, n_classes)
        The same.

    Raises
    ------
    LedgerError
        If they have another shape or are not finite.
    """
    labels = np.asarray(labels, dtype=np.float64)
    if labels.shape != (n_rows, n_classes):
        raise LedgerError(
            f"labels have shape {labels.shape} where there are {n_rows} keys and "
            f"{n_classes} classes; pass one row a key and one column a class."
        )
    if not np.isfinite(labels).all():
        raise LedgerError(
            f"labels hold {labels[~np.isfinite(labels)][0]}; record answers that were "
            "checked, as BaseTeacher.ask returns them."
        )
    return labels


def check_embeddings(embeddings, n_rows):
    """Return embeddings as float32, one finite row a key.

    Parameters
    ----------
    embeddings : array-like of shape (n_rows, n_dims)
        Numbers.
    n_rows : int
        How many rows there must be.

    Returns
    -------
    embeddings : ndarray of float32 of shape (n_rows, n_dims)
        The same.

    Raises
    ------
    LedgerError
        If they have another shape or are not finite.
    """
    embeddings = np.asarray(embeddings, dtype=np.float32)
    if embeddings.ndim != 2 or len(embeddings) != n_rows or embeddings.shape[1] == 0:
        raise LedgerError(
            f"embeddings have shape {embeddings.shape} where there are {n_rows} keys; "
            "pass one row of numbers a key."
        )
    if not np.isfinite(embeddings).all():
        raise LedgerError(
            f"embeddings hold {embeddings[~np.isfinite(embeddings)][0]}; record finite "
            "numbers (float32 ends at 3.4e38)."
        )
    return embeddings


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
