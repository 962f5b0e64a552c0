"""The ledger on disk: labels that outlive the process that paid for them.

The statements keep to the SQL that SQLite and PostgreSQL share.
"""

import json
import logging
import math
import os
import time
from typing import Any

import numpy as np

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
from skadistill.ledger._budget import Claim, affordable_rows, check_limits
from skadistill.ledger._frames import calls_in, import_pandas, table_of
from skadistill.ledger._process import is_gone, process_name
from skadistill.ledger._sqlite import LedgerFile

__all__ = ["LabelLedger"]

logger = logging.getLogger(__name__)

_LABEL = np.dtype("<f8")
_EMBEDDING = np.dtype("<f4")
#: Keys looked up by one statement; all of SQLite's limits are above it.
_CHUNK = 1000


class LabelLedger(BaseLedger):
    """Remember paid labels in a file, for good.

    A label is on the disk before anybody uses it. Threads, processes and clones
    share the file: what one paid is free for all, rows that one is paying for are
    not paid again by another, and a budget set here holds for all of them together.

    Parameters
    ----------
    path : str or Path
        The file, by custom ``.sqlite``; a new ledger is made where there is none.
    max_rows : int or None, default=None
        Rows that may be paid for in the ledger's whole life, all teachers together;
        a fit that reaches it ends normally. Rows in flight and rows lost count.
        None: no limit.
    max_cost : float or None, default=None
        Money that may be paid; needs teachers that name a price. None: no limit.
    lease : float, default=3600.0
        Seconds after which rows claimed by a process that cannot be watched (on
        another machine, in another container) are taken for lost. Those of a dead
        process on this machine are taken for lost at once.

    Raises
    ------
    LedgerError
        If the file is no ledger, from a newer release, cut, damaged or not writable.
    BudgetError
        If a limit is no amount.

    See Also
    --------
    MemoryLedger : Lives as long as the process.

    Notes
    -----
    The file is SQLite with a write-ahead log; nothing in it is ever unpickled. Its
    format has a version, and files of every earlier version are read. While the
    ledger is in use, ``-wal`` and ``-shm`` files lie beside it and belong to it.
    SQLite's locks do not work on network file systems: keep the file on a local
    disk.

    A process killed between paying and recording leaves its rows unlabeled: they
    are counted in ``n_lost`` and against the budget, since they may have been
    billed, and are paid for again when they are asked for again.

    Pickling a ledger writes its path and limits, not its labels.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skadistill.ledger import LabelLedger, row_keys
    >>> path = os.path.join(tempfile.mkdtemp(), "labels.sqlite")
    >>> X = np.array([[0.0], [1.0]])
    >>> ledger = LabelLedger(path)
    >>> ledger.record(row_keys(X[:1]), "me", ["a", "b"], [[0.25, 0.75]], cost=0.01)
    >>> ledger.close()
    >>> known, labels = LabelLedger(path).lookup(row_keys(X), "me", ["b", "a"])
    >>> known, labels[0]
    (array([ True, False]), array([0.75, 0.25]))
    """

    outlives_process = True

    def __init__(self, path, *, max_rows=None, max_cost=None, lease=3600.0):
        check_limits(max_rows, max_cost)
        self.path = os.fspath(path)
        self.max_rows = max_rows
        self.max_cost = max_cost
        self.lease = lease
        self._file: Any = LedgerFile(path)
        len(self)  # a file that cannot be used is an error before a label is paid

    def __repr__(self):
        limits = [
            f", {name}={value!r}"
            for name, value in (
                ("max_rows", self.max_rows),
                ("max_cost", self.max_cost),
            )
            if value is not None
        ]
        return f"LabelLedger({self.path!r}{''.join(limits)})"

    def __bool__(self):
        # An empty ledger is a ledger: `ledger or MemoryLedger()` must not drop it.
        return True

    def __len__(self):
        """Return the number of labels, one per teacher, set of classes and row."""
        with self._file.transaction(write=False) as db:
            return db.execute(
                "SELECT coalesce(sum(n_labels), 0) FROM label_sets"
            ).fetchone()[0]

    def close(self):
        """Close the file; it is opened again when it is needed."""
        self._file.close()

    def check(self):
        """Read the whole file, page by page, and count its labels.

        Raises
        ------
        LedgerError
            If anything is damaged or missing. Opening a ledger finds a file that
            was cut; this also finds damage in the middle.
        """
        self._file.check()

    def summary(self):
        """Sum up what was paid.

        Returns
        -------
        summary : dict
            As `BaseLedger.summary` says.
        """
        names = list(NO_COUNTS)[1:]
        with self._file.transaction(write=False) as db:
            rows = db.execute(
                f"SELECT identity, (SELECT coalesce(sum(n_labels), 0) FROM label_sets "
                f"WHERE teacher = teachers.id), {', '.join(names)} FROM teachers "
                "ORDER BY id"
            ).fetchall()
        return total_summary(
            {row[0]: dict(zip(NO_COUNTS, row[1:], strict=True)) for row in rows}
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
        with self._file.transaction(write=False) as db:
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
        with self._file.transaction(write=True) as db:
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
        return self.add_frame(import_pandas().read_parquet(path))

    def _find(self, keys, teacher_id, classes):
        answers = _Answers(keys, len(classes), _LABEL)
        with self._file.transaction(write=False) as db:
            label_set, stored = _label_set(db, teacher_id, classes)
            if label_set is not None:
                answers.read(db, "labels", "label", "label_set", label_set)
        known, labels = answers.all()
        wanted = [_plain(c) for c in classes]
        if stored not in (None, wanted):
            labels = labels[:, column_order(stored, wanted)]
        return known, labels

    def _find_embeddings(self, keys, teacher_id):
        with self._file.transaction(write=False) as db:
            teacher, n_dims = _teacher(db, teacher_id)
            answers = _Answers(keys, n_dims or 0, _EMBEDDING)
            if n_dims:
                answers.read(db, "embeddings", "embedding", "teacher", teacher)
        return answers.all()

    def _store(
        self, keys, teacher_id, classes, labels, embeddings, cost, seconds, claim
    ):
        with self._file.transaction(write=True) as db:
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
        with self._file.transaction(write=True) as db:
            _make_teacher(db, teacher_id)
            _insert_embeddings(db, teacher_id, keys, embeddings)
            teacher, _ = _teacher(db, teacher_id)
            _pay(db, teacher, "paid", n_calls=1, cost=cost, seconds=seconds)

    def _reserve(self, keys, teacher_id, classes, price):
        with self._file.transaction(write=True) as db:
            _expire_stale_claims(db)
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
        n_spent, spent = db.execute(
            "SELECT coalesce(sum(n_paid + n_lost), 0), coalesce(sum(cost), 0) "
            "FROM teachers"
        ).fetchone()
        n_reserved, reserved = db.execute(
            "SELECT coalesce(sum(n_rows), 0), coalesce(sum(n_rows * price), 0) "
            "FROM claims"
        ).fetchone()
        return affordable_rows(
            self.max_rows,
            self.max_cost,
            n_spent=int(n_spent + n_reserved),
            spent=spent + reserved,
            price=price,
        )

    def _end(self, claim, fault, cost, seconds):
        with self._file.transaction(write=True) as db:
            row = db.execute(
                "SELECT teacher, n_rows FROM claims WHERE id = ?", (claim.token,)
            ).fetchone()
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
            query = f"SELECT id, key FROM {table} WHERE {where} = ? AND key IN "
            for id_, key in db.execute(query + _marks(chunk), (value, *chunk)):
                ids.append(id_)
                found.append(key)
        keys = np.frombuffer(b"".join(found), KEY_DTYPE)
        places = self.first[np.searchsorted(self.distinct, keys)]
        order = np.argsort(ids)
        query = f"SELECT {column} FROM {table} WHERE id IN "
        for chunk in _chunks(np.array(ids, dtype=np.int64)[order]):
            rows = db.execute(f"{query} {_marks(chunk)} ORDER BY id", chunk)
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
                f"The ledger is damaged: {len(blobs)} rows hold {len(data)} bytes "
                f"where {n_columns} numbers a row belong; restore it from a copy."
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


def _marks(chunk):
    """Write as many question marks as there are values."""
    return f"({','.join('?' * len(chunk))})"


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
        f"The class {label!r} is of type {type(label).__name__}, which a ledger file "
        "cannot hold; name classes by texts or finite numbers."
    )


def _class_set(classes):
    """Write a set of classes as one text; equal sets give equal texts."""
    return json.dumps(sorted(json.dumps(_plain(c)) for c in classes))


def _label_set(db, teacher_id, classes):
    """Return the number and the stored order of a teacher's set of classes."""
    row = db.execute(
        "SELECT label_sets.id, classes FROM label_sets JOIN teachers "
        "ON teachers.id = teacher WHERE identity = ? AND class_set = ?",
        (teacher_id, _class_set(classes)),
    ).fetchone()
    return (None, None) if row is None else (row[0], json.loads(row[1]))


def _teacher(db, teacher_id):
    """Return a teacher's number and the width of its embeddings."""
    return db.execute(
        "SELECT id, n_dims FROM teachers WHERE identity = ?", (teacher_id,)
    ).fetchone() or (None, None)


def _make_teacher(db, teacher_id):
    """Make room for a teacher, where it is new."""
    db.execute(
        "INSERT INTO teachers (identity) VALUES (?) ON CONFLICT DO NOTHING",
        (teacher_id,),
    )


def _made_label_set(db, teacher_id, classes):
    """Return a label set, after making it where it is new."""
    label_set, stored = _label_set(db, teacher_id, classes)
    if label_set is None:
        _make_teacher(db, teacher_id)
        teacher, _ = _teacher(db, teacher_id)
        stored = [_plain(c) for c in classes]
        label_set = db.execute(
            "INSERT INTO label_sets (teacher, classes, class_set) VALUES (?, ?, ?)",
            (teacher, json.dumps(stored), _class_set(classes)),
        ).lastrowid
    return label_set, stored


def _blobs(table, dtype):
    """Cut a table into the bytes of its rows."""
    data = np.ascontiguousarray(table, dtype).tobytes()
    width = table.shape[1] * dtype.itemsize
    return (data[i : i + width] for i in range(0, len(table) * width, width))


def _insert_labels(db, label_set, keys, labels, payment):
    """Keep the labels of new keys; return their number."""
    rows = zip(keys.tolist(), _blobs(labels, _LABEL), strict=True)
    n_new = db.executemany(
        "INSERT INTO labels (label_set, key, label, payment) "
        f"VALUES ({label_set}, ?, ?, {payment}) ON CONFLICT DO NOTHING",
        rows,
    ).rowcount
    db.execute(
        "UPDATE label_sets SET n_labels = n_labels + ? WHERE id = ?",
        (max(n_new, 0), label_set),
    )
    return n_new


def _insert_embeddings(db, teacher_id, keys, embeddings):
    """Keep the embeddings of new keys of a teacher that is there."""
    teacher, n_dims = _teacher(db, teacher_id)
    check_width(embeddings, n_dims or embeddings.shape[1], teacher_id)
    db.execute(
        "UPDATE teachers SET n_dims = ? WHERE id = ?", (embeddings.shape[1], teacher)
    )
    rows = zip(keys.tolist(), _blobs(embeddings, _EMBEDDING), strict=True)
    db.executemany(
        "INSERT INTO embeddings (teacher, key, embedding) "
        f"VALUES ({teacher}, ?, ?) ON CONFLICT DO NOTHING",
        rows,
    )


def _pay(db, teacher, outcome, *, at=None, **counts):
    """Write down one payment and add it to the teacher's counts; return its number."""
    changes = ", ".join(f"{name} = {name} + ?" for name in counts)
    db.execute(
        f"UPDATE teachers SET {changes} WHERE id = ?", (*counts.values(), teacher)
    )
    n_rows = sum(
        v for name, v in counts.items() if name in ("n_paid", "n_failed", "n_lost")
    )
    return db.execute(
        "INSERT INTO payments (teacher, at, n_rows, cost, seconds, outcome) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            teacher,
            time.time() if at is None else at,
            n_rows,
            counts.get("cost", 0.0),
            counts.get("seconds", 0.0),
            outcome,
        ),
    ).lastrowid


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
            rows = db.execute(
                f"SELECT key FROM {table} WHERE label_set = ? AND key IN "
                + _marks(chunk),
                (label_set, *chunk),
            )
            taken.update(key for (key,) in rows)
    return taken


def _insert_claim(db, label_set, teacher, keys, expires, price):
    """Reserve rows for this process; return the claim's number."""
    token = db.execute(
        "INSERT INTO claims (teacher, owner, expires, n_rows, price) "
        "VALUES (?, ?, ?, ?, ?)",
        (teacher, process_name(), expires, len(keys), price),
    ).lastrowid
    db.executemany(
        f"INSERT INTO claimed_rows (label_set, key, claim) VALUES ({label_set}, ?, ?)",
        ((key, token) for key in sorted(keys.tolist())),
    )
    return token


def _take_from_claim(db, token, label_set, keys):
    """Take answered rows out of their claim."""
    n_answered = db.executemany(
        "DELETE FROM claimed_rows WHERE label_set = ? AND key = ? AND claim = ?",
        ((label_set, key, token) for key in keys.tolist()),
    ).rowcount
    db.execute(
        "UPDATE claims SET n_rows = n_rows - ? WHERE id = ?",
        (max(n_answered, 0), token),
    )
    db.execute("DELETE FROM claims WHERE id = ? AND n_rows = 0", (token,))


def _drop_claim(db, token):
    """Remove a claim and what is left in it."""
    db.execute("DELETE FROM claimed_rows WHERE claim = ?", (token,))
    db.execute("DELETE FROM claims WHERE id = ?", (token,))


def _expire_stale_claims(db):
    """End the claims of dead processes and expired ones; what they held is lost."""
    claims = db.execute(
        "SELECT id, teacher, owner, expires, n_rows, price FROM claims"
    ).fetchall()
    for token, teacher, owner, expires, n_rows, price in claims:
        gone = is_gone(owner)
        if gone or (gone is None and expires < time.time()):
            if n_rows:
                cost = n_rows * price
                _pay(db, teacher, "lost", n_lost=n_rows, cost=cost)
                logger.warning(
                    "rows that the process %r was paying for when it ended: %d; they "
                    "may be billed, count as %g and can be asked again",
                    owner,
                    n_rows,
                    cost,
                )
            _drop_claim(db, token)
