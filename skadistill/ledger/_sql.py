"""What the ledgers in SQLite and in PostgreSQL share: the statements.

They keep to the SQL that both databases know; `Dialect` holds the few words that
differ.
"""

import json
import logging
import math
import time
from abc import ABC, abstractmethod

import numpy as np

from skadistill._optional import require
from skadistill._rows._keys import KEY_DTYPE
from skadistill.exceptions import LedgerError
from skadistill.ledger._base import (
    NO_COUNTS,
    BaseLedger,
    check_embeddings,
    check_labels,
    check_width,
    column_order,
    total_summary,
)
from skadistill.ledger._budget import Claim, affordable_rows
from skadistill.ledger._frames import calls_in, table_of
from skadistill.ledger._process import has_exited, process_name

__all__ = ["SqlLedger", "Transaction"]

logger = logging.getLogger(__name__)

_LABEL = np.dtype("<f8")
_EMBEDDING = np.dtype("<f4")
#: Keys looked up by one statement; all of SQLite's limits are above it.
_CHUNK = 1000


class Transaction(ABC):
    """What the statements of a ledger need from an open transaction.

    Attributes
    ----------
    mark : str
        The placeholder of a value in a statement, as `Dialect.mark`.
    """

    mark: str

    @abstractmethod
    def rows(self, statement, values=()):
        """Run one statement; return the rows that it gives, as a list of tuples."""

    @abstractmethod
    def run(self, statement, values=()):
        """Run one statement; return the number of rows that it changed."""

    @abstractmethod
    def run_many(self, statement, many_values):
        """Run one statement once per entry; return how many rows were changed."""

    def row(self, statement, values=()):
        """Run one statement; return the first row that it gives, or None."""
        found = self.rows(statement, values)
        return found[0] if found else None


class SqlLedger(BaseLedger):
    """Remember paid labels in a SQL database.

    A subclass brings the database: `_transaction`, `close` and `check`, and the
    attribute `lease`.
    """

    lease: float

    @abstractmethod
    def _transaction(self, *, write):
        """Return a context manager that gives a `Transaction`.

        It is committed and on the disk at the end, or undone after an error.
        Writers wait for each other, before they read.
        """

    @abstractmethod
    def close(self):
        """Close this process's connections; they are opened again when needed."""

    @abstractmethod
    def check(self):
        """Read everything and count the labels.

        Raises
        ------
        LedgerError
            If anything is damaged or missing.
        """

    def __bool__(self):
        # An empty ledger is a ledger: `ledger or MemoryLedger()` must not drop it.
        return True

    def __len__(self):
        """Return the number of labels, one per teacher, set of classes and row."""
        with self._transaction(write=False) as db:
            return int(db.row("SELECT coalesce(sum(n_labels), 0) FROM label_sets")[0])

    def summary(self):
        """Sum up what was paid.

        Returns
        -------
        summary : dict
            As `BaseLedger.summary` says.
        """
        names = list(NO_COUNTS)[1:]
        with self._transaction(write=False) as db:
            rows = db.rows(
                f"SELECT identity, (SELECT coalesce(sum(n_labels), 0) FROM label_sets "
                f"WHERE teacher = teachers.id), {', '.join(names)} FROM teachers "
                "ORDER BY id"
            )
        return total_summary(
            {
                identity: {
                    # PostgreSQL sums whole numbers to decimals.
                    name: type(zero)(count)
                    for (name, zero), count in zip(
                        NO_COUNTS.items(), counts, strict=True
                    )
                }
                for identity, *counts in rows
            }
        )

    def to_frame(self):
        """Return everything as a pandas frame, one row a label.

        Returns
        -------
        frame : DataFrame of n_labels rows
            In the order in which they were paid for: ``key`` (of `row_keys`, in
            hexadecimal), ``teacher``, ``classes`` (a JSON list), ``label`` (an
            array of float64, one a class), ``embedding`` (an array of float32 or
            None), ``call`` (a number for each call to the teacher), ``paid_at``, and
            the row's share of the call's ``cost`` and ``seconds``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        with self._transaction(write=False) as db:
            return table_of(db)

    def to_parquet(self, path):
        """Write everything to a Parquet file, with the columns of `to_frame`.

        Parameters
        ----------
        path : str or Path
            Where to.
        """
        self.to_frame().to_parquet(path, index=False)

    def add_frame(self, frame):
        """Add the labels of a frame, all of them or, after an error, none.

        A label that is here already stays as it is, and costs nothing again.

        Parameters
        ----------
        frame : DataFrame
            With the columns of `to_frame`.

        Returns
        -------
        n_added : int
            Number of labels that were new.

        Raises
        ------
        LedgerError
            If the frame is no such frame.
        """
        with self._transaction(write=True) as db:
            return sum(_add_call(db, **call) for call in calls_in(frame))

    def add_parquet(self, path):
        """Add the labels of a Parquet file that `to_parquet` wrote.

        Parameters
        ----------
        path : str or Path
            Where it is.

        Returns
        -------
        n_added : int
            Number of labels that were new.
        """
        return self.add_frame(require("pandas", "pandas").read_parquet(path))

    def _find(self, keys, teacher_id, classes):
        answers = _Answers(keys, len(classes), _LABEL)
        with self._transaction(write=False) as db:
            label_set, stored = _label_set(db, teacher_id, classes)
            if label_set is not None:
                answers.read(db, "labels", "label", "label_set", label_set)
        known, labels = answers.all()
        wanted = [_plain(c) for c in classes]
        if stored not in (None, wanted):
            labels = labels[:, column_order(stored, wanted)]
        return known, labels

    def _find_embeddings(self, keys, teacher_id):
        with self._transaction(write=False) as db:
            teacher, n_dims = _teacher(db, teacher_id)
            answers = _Answers(keys, n_dims or 0, _EMBEDDING)
            if n_dims:
                answers.read(db, "embeddings", "embedding", "teacher", teacher)
        return answers.all()

    def _store(
        self, keys, teacher_id, classes, labels, embeddings, cost, seconds, claim
    ):
        with self._transaction(write=True) as db:
            label_set, stored = _made_label_set(db, teacher_id, classes)
            teacher, _ = _teacher(db, teacher_id)
            if embeddings is not None:
                _insert_embeddings(db, teacher_id, keys, embeddings)
            counts = {"n_paid": len(keys), "cost": cost, "seconds": seconds}
            payment = _pay(db, teacher, "paid", n_calls=1, **counts)
            labels = labels[:, column_order([_plain(c) for c in classes], stored)]
            _insert_labels(db, label_set, keys, labels, payment)
            if claim is not None:
                _take_from_claim(db, claim.token, label_set, keys)

    def _store_embeddings(self, keys, teacher_id, embeddings, cost, seconds):
        with self._transaction(write=True) as db:
            _make_teacher(db, teacher_id)
            _insert_embeddings(db, teacher_id, keys, embeddings)
            teacher, _ = _teacher(db, teacher_id)
            _pay(db, teacher, "paid", n_calls=1, cost=cost, seconds=seconds)

    def _reserve(self, keys, teacher_id, classes, price):
        with self._transaction(write=True) as db:
            _expire_claims(db)
            label_set, _ = _made_label_set(db, teacher_id, classes)
            teacher, _ = _teacher(db, teacher_id)
            taken = _present(db, label_set, keys, ("labels", "claimed_rows"))
            free = np.array([key not in taken for key in keys.tolist()], dtype=bool)
            granted = free & (np.cumsum(free) <= self._affordable(db, price))
            token = None
            if granted.any():
                expires = time.time() + self.lease
                token = _insert_claim(
                    db, label_set, teacher, keys[granted], expires, price or 0.0
                )
        return Claim(granted, free & ~granted, price, token)

    def _affordable(self, db, price):
        """Count the rows that the budget still pays for."""
        n_spent, spent = db.row(
            "SELECT coalesce(sum(n_paid + n_lost), 0), coalesce(sum(cost), 0) "
            "FROM teachers"
        )
        n_reserved, reserved = db.row(
            "SELECT coalesce(sum(n_rows), 0), coalesce(sum(n_rows * price), 0) "
            "FROM claims"
        )
        return affordable_rows(
            self.max_rows,
            self.max_cost,
            n_spent=int(n_spent + n_reserved),
            spent=spent + reserved,
            price=price,
        )

    def _end(self, claim, fault, cost, seconds):
        with self._transaction(write=True) as db:
            row = db.row(
                f"SELECT teacher, n_rows FROM claims WHERE id = {db.mark}",
                (claim.token,),
            )
            if row is None:
                return
            if fault is not None:
                counts = {"n_failed": row[1], "cost": cost, "seconds": seconds}
                _pay(db, row[0], fault, **counts)
            _drop_claim(db, claim.token)


class _Answers:
    """Collect what a lookup finds for some keys.

    Each distinct key is looked up once, and in ascending order: neighbors share
    pages of the file. What is found goes to the first place of its key, and from
    there to the others.
    """

    def __init__(self, keys, n_columns, dtype):
        self.distinct, self.first, self.inverse = np.unique(
            keys, return_index=True, return_inverse=True
        )
        self.rows = np.empty((len(keys), n_columns), dtype)
        self.known = np.zeros(len(keys), dtype=bool)

    def read(self, db, table, column, where, value):
        """Fill in the rows that one table has under `where` = `value`.

        First where the rows are, from the index alone; then the rows, in the order
        in which they lie in the file.
        """
        ids, found = [], []
        for chunk in _chunks(self.distinct):
            query = f"SELECT id, key FROM {table} WHERE {where} = {db.mark} AND key IN "
            for id_, key in db.rows(query + _marks(db, chunk), (value, *chunk)):
                ids.append(id_)
                found.append(key)
        keys = np.frombuffer(b"".join(found), KEY_DTYPE)
        places = self.first[np.searchsorted(self.distinct, keys)]
        order = np.argsort(ids)
        query = f"SELECT {column} FROM {table} WHERE id IN "
        for chunk in _chunks(np.array(ids, dtype=np.int64)[order]):
            rows = db.rows(f"{query} {_marks(db, chunk)} ORDER BY id", chunk)
            block = places[order[: len(chunk)]]
            self.rows[block] = self._numbers([blob for (blob,) in rows])
            order = order[len(chunk) :]
        self.known[places] = True

    def _numbers(self, blobs):
        """Read rows of numbers from their bytes."""
        data = b"".join(blobs)
        n_columns = self.rows.shape[1]
        if len(data) != len(blobs) * n_columns * self.rows.itemsize:
            raise LedgerError(
                f"the ledger is damaged: {len(blobs)} rows hold {len(data)} bytes "
                f"instead of {n_columns} numbers each; restore it from a copy."
            )
        return np.frombuffer(data, self.rows.dtype).reshape(len(blobs), n_columns)

    def all(self):
        """Return which keys are known, and their rows."""
        if len(self.distinct) == len(self.rows):
            return self.known, self.rows
        source = self.first[self.inverse]
        return self.known[source], self.rows[source]


def _chunks(values):
    """Cut an array into lists that one statement can hold."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK].tolist()


def _marks(db, values):
    """Write a list of as many placeholders as there are values."""
    return f"({', '.join([db.mark] * len(values))})"


def _plain(label):
    """Return a class as JSON can hold it; equal classes give equal values."""
    if isinstance(label, bool):
        return int(label)
    if isinstance(label, float) and label.is_integer():
        return int(label)
    if isinstance(label, str | int) or (
        isinstance(label, float) and math.isfinite(label)
    ):
        return label
    raise LedgerError(
        f"the class {label!r} is of type {type(label).__name__}, which a ledger file "
        "cannot hold; name classes by texts or finite numbers."
    )


def _class_set(classes):
    """Write a set of classes as one text; equal sets give equal texts."""
    return json.dumps(sorted(json.dumps(_plain(c)) for c in classes))


def _insert(db, table, **values):
    """Insert one row; return the id that the database gave it."""
    marks = _marks(db, values)
    return db.row(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES {marks} RETURNING id",
        tuple(values.values()),
    )[0]


def _label_set(db, teacher_id, classes):
    """Return the number and the stored order of a teacher's set of classes."""
    row = db.row(
        "SELECT label_sets.id, classes FROM label_sets JOIN teachers "
        f"ON teachers.id = teacher WHERE identity = {db.mark} "
        f"AND class_set = {db.mark}",
        (teacher_id, _class_set(classes)),
    )
    return (None, None) if row is None else (row[0], json.loads(row[1]))


def _teacher(db, teacher_id):
    """Return a teacher's number and the width of its embeddings."""
    return db.row(
        f"SELECT id, n_dims FROM teachers WHERE identity = {db.mark}", (teacher_id,)
    ) or (None, None)


def _make_teacher(db, teacher_id):
    """Insert a teacher unless it is there."""
    db.run(
        f"INSERT INTO teachers (identity) VALUES ({db.mark}) ON CONFLICT DO NOTHING",
        (teacher_id,),
    )


def _made_label_set(db, teacher_id, classes):
    """Return a label set, after making it where it is new."""
    label_set, stored = _label_set(db, teacher_id, classes)
    if label_set is None:
        _make_teacher(db, teacher_id)
        teacher, _ = _teacher(db, teacher_id)
        stored = [_plain(c) for c in classes]
        label_set = _insert(
            db,
            "label_sets",
            teacher=teacher,
            classes=json.dumps(stored),
            class_set=_class_set(classes),
        )
    return label_set, stored


def _blobs(table, dtype):
    """Cut a table into the bytes of its rows."""
    data = np.ascontiguousarray(table, dtype).tobytes()
    width = table.shape[1] * dtype.itemsize
    return (data[i : i + width] for i in range(0, len(table) * width, width))


def _insert_labels(db, label_set, keys, labels, payment):
    """Keep the labels of new keys; return their number."""
    rows = zip(keys.tolist(), _blobs(labels, _LABEL), strict=True)
    n_new = db.run_many(
        "INSERT INTO labels (label_set, key, label, payment) "
        f"VALUES ({label_set}, {db.mark}, {db.mark}, {payment}) "
        "ON CONFLICT DO NOTHING",
        rows,
    )
    db.run(
        f"UPDATE label_sets SET n_labels = n_labels + {db.mark} WHERE id = {db.mark}",
        (n_new, label_set),
    )
    return n_new


def _insert_embeddings(db, teacher_id, keys, embeddings):
    """Keep the embeddings of new keys of a teacher that is there."""
    teacher, n_dims = _teacher(db, teacher_id)
    check_width(embeddings, n_dims or embeddings.shape[1], teacher_id)
    db.run(
        f"UPDATE teachers SET n_dims = {db.mark} WHERE id = {db.mark}",
        (embeddings.shape[1], teacher),
    )
    rows = zip(keys.tolist(), _blobs(embeddings, _EMBEDDING), strict=True)
    db.run_many(
        "INSERT INTO embeddings (teacher, key, embedding) "
        f"VALUES ({teacher}, {db.mark}, {db.mark}) ON CONFLICT DO NOTHING",
        rows,
    )


def _pay(db, teacher, outcome, *, at=None, **counts):
    """Write down one payment and add it to the teacher's counts; return its number."""
    changes = ", ".join(f"{name} = {name} + {db.mark}" for name in counts)
    db.run(
        f"UPDATE teachers SET {changes} WHERE id = {db.mark}",
        (*counts.values(), teacher),
    )
    n_rows = sum(
        v for name, v in counts.items() if name in ("n_paid", "n_failed", "n_lost")
    )
    return _insert(
        db,
        "payments",
        teacher=teacher,
        at=time.time() if at is None else at,
        n_rows=n_rows,
        cost=counts.get("cost", 0.0),
        seconds=counts.get("seconds", 0.0),
        outcome=outcome,
    )


def _add_call(db, teacher, classes, keys, labels, embeddings, at, cost, seconds):
    """Take over what another ledger paid in one call; return how much was new."""
    labels = check_labels(labels, len(keys), len(classes))
    label_set, stored = _made_label_set(db, teacher, classes)
    number, _ = _teacher(db, teacher)
    given = np.array([e is not None for e in embeddings])
    if given.any():
        table = check_embeddings([e for e in embeddings if e is not None], given.sum())
        _insert_embeddings(db, teacher, keys[given], table)
    here = _present(db, label_set, keys, ("labels",))
    new = np.array([key not in here for key in keys.tolist()])
    n_new = int(new.sum())
    if n_new:
        amounts = {"n_paid": n_new, "cost": n_new * cost, "seconds": n_new * seconds}
        payment = _pay(db, number, "paid", at=at, n_calls=1, **amounts)
        labels = labels[new][:, column_order([_plain(c) for c in classes], stored)]
        _insert_labels(db, label_set, keys[new], labels, payment)
    return n_new


def _present(db, label_set, keys, tables):
    """Return the keys that are in any of the tables."""
    taken: set[bytes] = set()
    for chunk in _chunks(np.unique(keys)):
        for table in tables:
            rows = db.rows(
                f"SELECT key FROM {table} WHERE label_set = {db.mark} AND key IN "
                + _marks(db, chunk),
                (label_set, *chunk),
            )
            taken.update(key for (key,) in rows)
    return taken


def _insert_claim(db, label_set, teacher, keys, expires, price):
    """Reserve rows for this process; return the claim's number."""
    token = _insert(
        db,
        "claims",
        teacher=teacher,
        owner=process_name(),
        expires=expires,
        n_rows=len(keys),
        price=price,
    )
    db.run_many(
        "INSERT INTO claimed_rows (label_set, key, claim) "
        f"VALUES ({label_set}, {db.mark}, {db.mark})",
        [(key, token) for key in sorted(keys.tolist())],
    )
    return token


def _take_from_claim(db, token, label_set, keys):
    """Take answered rows out of their claim."""
    n_answered = db.run_many(
        f"DELETE FROM claimed_rows WHERE label_set = {db.mark} AND key = {db.mark} "
        f"AND claim = {db.mark}",
        [(label_set, key, token) for key in keys.tolist()],
    )
    db.run(
        f"UPDATE claims SET n_rows = n_rows - {db.mark} WHERE id = {db.mark}",
        (n_answered, token),
    )
    db.run(f"DELETE FROM claims WHERE id = {db.mark} AND n_rows = 0", (token,))


def _drop_claim(db, token):
    """Remove a claim and what is left in it."""
    db.run(f"DELETE FROM claimed_rows WHERE claim = {db.mark}", (token,))
    db.run(f"DELETE FROM claims WHERE id = {db.mark}", (token,))


def _expire_claims(db):
    """End the claims of exited processes and those past their lease.

    The rows that such a claim still holds are counted as lost.
    """
    claims = db.rows("SELECT id, teacher, owner, expires, n_rows, price FROM claims")
    for token, teacher, owner, expires, n_rows, price in claims:
        exited = has_exited(owner)
        if exited or (exited is None and expires < time.time()):
            if n_rows:
                cost = n_rows * price
                _pay(db, teacher, "lost", n_lost=n_rows, cost=cost)
                logger.warning(
                    "%d claimed rows have no label, and the claiming process %r has "
                    "exited or its lease is over; they may be billed, count as %g and "
                    "can be asked again",
                    n_rows,
                    owner,
                    cost,
                )
            _drop_claim(db, token)
