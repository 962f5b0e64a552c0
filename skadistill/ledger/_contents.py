"""Labels and embeddings in a SQL ledger: sealed when written, compared when read."""

import numpy as np

from skadistill._rows._keys import KEY_DTYPE
from skadistill.ledger._catalog import (
    all_rows,
    change,
    check_catalog,
    damaged,
    stored_classes,
)
from skadistill.ledger._checks import check_width
from skadistill.ledger._checksums import (
    CHECKSUM_BYTES,
    digest_keys,
    sealed,
    seals_broken,
)
from skadistill.ledger._transaction import CHUNK, chunks, marks

__all__ = [
    "EMBEDDING",
    "LABEL",
    "KeyedReader",
    "check_contents",
    "check_keys_of",
    "drop_damaged_rows",
    "forget_without_label",
    "insert_embeddings",
    "insert_labels",
    "unsealed",
]

LABEL = np.dtype("<f8")
EMBEDDING = np.dtype("<f4")


class KeyedReader:
    """Read the numbers that a table keeps under some keys."""

    def __init__(self, keys, n_columns, dtype):
        self.distinct, self.first, self.inverse = np.unique(
            keys, return_index=True, return_inverse=True
        )
        self.rows = np.empty((len(keys), n_columns), dtype)
        self.known = np.zeros(len(keys), dtype=bool)

    def read(self, db, table, owner):
        """Fill in what a table has under one owner.

        The index alone tells the positions of the rows; then the rows are read, in
        the order of the file.
        """
        column, where = _NAMES[table]
        ids: list[int] = []
        found: list[bytes] = []
        query = f"SELECT id, key FROM {table} WHERE {where} = {db.mark} AND key IN "
        for chunk in chunks(self.distinct):
            for id_, key in db.stream(query + marks(db, chunk), (owner, *chunk)):
                ids.append(id_)
                found.append(key)
        keys = _as_keys(found)
        positions = self.first[np.searchsorted(self.distinct, keys)]
        order = np.argsort(ids)
        query = f"SELECT {column} FROM {table} WHERE id IN "
        for chunk in chunks(np.array(ids, dtype=np.int64)[order]):
            rows = db.stream(f"{query} {marks(db, chunk)} ORDER BY id", chunk)
            block, order = order[: len(chunk)], order[len(chunk) :]
            self.rows[positions[block]] = self._numbers(
                owner, keys[block], [blob for (blob,) in rows]
            )
        self.known[positions] = True

    def _numbers(self, owner, keys, blobs):
        numbers, bad = unsealed(owner, keys, blobs, self.rows.shape[1], self.rows.dtype)
        if len(bad):
            raise damaged(
                f"what it keeps under the key {keys[bad[0]].tobytes().hex()} differs "
                f"from its checksum (rows read {len(keys)}, damaged {len(bad)})",
                _DROP,
            )
        return numbers

    def all(self):
        """Return which keys are known, and their rows."""
        if len(self.distinct) == len(self.rows):
            return self.known, self.rows
        source = self.first[self.inverse]
        return self.known[source], self.rows[source]


def _as_keys(found):
    """Return keys that were read as an array."""
    width = KEY_DTYPE.itemsize
    try:
        data = b"".join(found)
    except TypeError:  # a text or a number
        data = b""
    # Two wrong widths can add up to the right number of bytes.
    if len(data) != len(found) * width or not {width}.issuperset(map(len, found)):
        raise damaged("a key has another width")
    return np.frombuffer(data, KEY_DTYPE)


_DROP = (
    "restore it from a copy, or call drop_damaged() to give such rows up, so that they "
    "can be asked again"
)

#: The column of each table that holds the numbers, and the one that names the owner.
_NAMES = {"labels": ("label", "label_set"), "embeddings": ("embedding", "teacher")}


def unsealed(owner, keys, blobs, n_columns, dtype):
    """Read rows of numbers from bytes, and find those that are damaged."""
    width = n_columns * dtype.itemsize + CHECKSUM_BYTES
    try:
        data = b"".join(blobs)
    except TypeError:  # a text or a number
        data = b""
    if len(blobs) == len(keys) and len(data) == len(blobs) * width and len(blobs):
        table = np.frombuffer(data, np.uint8).reshape(len(blobs), width)
        bad = np.flatnonzero(seals_broken(owner, keys, table))
        numbers = table.view(dtype)[:, :n_columns]
        # Rows of several widths can add up to the right number of bytes, too.
        if not len(bad):
            return numbers, bad
    # The slow way, row by row: answers without a label, and damage.
    numbers = np.full((len(keys), n_columns), np.nan, dtype)
    wrong = list(range(len(blobs), len(keys)))
    for i, blob in enumerate(blobs[: len(keys)]):
        if not isinstance(blob, bytes) or len(blob) not in (width, CHECKSUM_BYTES):
            wrong.append(i)
            continue
        row = np.frombuffer(blob, np.uint8)[np.newaxis]
        if seals_broken(owner, keys[i : i + 1], row)[0]:
            wrong.append(i)
        elif len(blob) == width:
            numbers[i] = row.view(dtype)[0, :n_columns]
    return numbers, np.array(wrong, dtype=np.intp)


def insert_labels(db, label_set, keys, labels, payment):
    """Keep the labels of new keys, and of those answered without one so far."""
    given = ~np.isnan(labels[:, 0]) if labels.shape[1] else np.ones(len(keys), bool)
    owner = label_set["id"]
    if label_set["n_no_label"] and given.any():
        _delete_without_label(db, label_set, keys[given])
    n_labels = label_set["n_labels"]
    digest, n_no_label = label_set["key_digest"], label_set["n_no_label"]
    for kind in (given, ~given):
        if not kind.any():
            continue
        some = keys[kind]
        table = labels[kind] if kind is given else np.empty((len(some), 0), LABEL)
        n_new = db.run_many(
            "INSERT INTO labels (label_set, key, label, payment) "
            f"VALUES ({owner}, {db.mark}, {db.mark}, {payment}) ON CONFLICT DO NOTHING",
            zip(some.tolist(), sealed(owner, some, table), strict=True),
        )
        if n_new < len(some):  # repeats, or labels that were there before
            some = _inserted_keys(db, owner, some, payment, without=kind is not given)
        n_labels += n_new
        n_no_label += 0 if kind is given else n_new
        digest ^= digest_keys(some)
    change(
        db,
        "label_sets",
        label_set,
        n_labels=n_labels,
        n_no_label=n_no_label,
        key_digest=digest,
    )


def _inserted_keys(db, owner, keys, payment, *, without):
    """Return those of some keys that came with a payment."""
    compared = "=" if without else ">"
    new: list[bytes] = []
    for chunk in chunks(np.unique(keys)):
        rows = db.rows(
            f"SELECT key FROM labels WHERE label_set = {db.mark} "
            f"AND payment = {db.mark} AND length(label) {compared} {CHECKSUM_BYTES} "
            f"AND key IN {marks(db, chunk)}",
            (owner, payment, *chunk),
        )
        new.extend(key for (key,) in rows)
    return np.array(new, KEY_DTYPE)


def forget_without_label(db, label_set):
    """Delete the rows that were answered without a label."""
    rows = db.rows(
        f"SELECT key FROM labels WHERE label_set = {db.mark} "
        f"AND length(label) = {CHECKSUM_BYTES}",
        (label_set["id"],),
    )
    return _delete_without_label(
        db, label_set, np.array([key for (key,) in rows], KEY_DTYPE)
    )


def _delete_without_label(db, label_set, keys):
    """Delete those of some rows that were answered without a label."""
    deleted: list[bytes] = []
    for chunk in chunks(np.unique(keys)):
        rows = db.rows(
            f"DELETE FROM labels WHERE label_set = {db.mark} "
            f"AND length(label) = {CHECKSUM_BYTES} "
            f"AND key IN {marks(db, chunk)} RETURNING key",
            (label_set["id"], *chunk),
        )
        deleted.extend(key for (key,) in rows)
    change(
        db,
        "label_sets",
        label_set,
        n_labels=label_set["n_labels"] - len(deleted),
        n_no_label=label_set["n_no_label"] - len(deleted),
        key_digest=label_set["key_digest"] ^ digest_keys(np.array(deleted, KEY_DTYPE)),
    )
    return len(deleted)


def insert_embeddings(db, teacher, keys, embeddings):
    """Keep the embeddings of new keys."""
    n_dims = embeddings.shape[1]
    check_width(embeddings, teacher["n_dims"] or n_dims, teacher["identity"])
    if teacher["n_dims"] is None:
        change(db, "teachers", teacher, n_dims=n_dims)
    table = np.ascontiguousarray(embeddings, EMBEDDING)
    db.run_many(
        "INSERT INTO embeddings (teacher, key, embedding) "
        f"VALUES ({teacher['id']}, {db.mark}, {db.mark}) ON CONFLICT DO NOTHING",
        zip(keys.tolist(), sealed(teacher["id"], keys, table), strict=True),
    )


def check_keys_of(db, label_set):
    """Compare the keys of a label set with the sum that is kept about them.

    Reads the index alone. A key that the index does not find would be paid for
    again, so this comes before the first payment.
    """
    rows = db.rows(
        f"SELECT label_set, key FROM labels WHERE label_set = {db.mark}",
        (label_set["id"],),
    )
    # A scan passes entries between its ends whose number is damaged, a search for
    # their keys does not find them.
    if {owner for owner, _ in rows} - {label_set["id"]}:
        raise damaged(f"an index entry of the label set {label_set['id']} has changed")
    _compare_keys(label_set, [key for _, key in rows])


def _compare_keys(label_set, found):
    """Raise an error unless the keys found are those that were inserted."""
    keys = _as_keys(found)
    if len(keys) != label_set["n_labels"]:
        raise damaged(
            f"it has {len(keys)} labels instead of {label_set['n_labels']} in the "
            f"label set {label_set['id']}"
        )
    if digest_keys(keys) != label_set["key_digest"]:
        raise damaged(f"keys of the label set {label_set['id']} have changed")


def _damaged_rows(db, table, owner, n_columns, dtype):
    """Read a table under one owner; return its keys and the ids of damaged rows."""
    column, where = _NAMES[table]
    keys: list = []
    bad_ids: list[int] = []
    last = -(2**63)
    while True:
        rows = db.rows(
            f"SELECT id, key, {column} FROM {table} WHERE {where} = {db.mark} "
            f"AND id > {db.mark} ORDER BY id LIMIT {10 * CHUNK}",
            (owner, last),
        )
        if not rows:
            return keys, bad_ids
        last = rows[-1][0]
        whole = [r for r in rows if isinstance(r[1], bytes) and len(r[1]) == 16]
        bad_ids += [r[0] for r in rows if r not in whole] if whole != rows else []
        found = np.frombuffer(b"".join(r[1] for r in whole), KEY_DTYPE)
        _, bad = unsealed(owner, found, [r[2] for r in whole], n_columns, dtype)
        bad_ids += [whole[i][0] for i in bad]
        keys += [r[1] for r in rows]


def check_contents(db):
    """Read every label, embedding and sum, and compare them with each other."""
    teachers, label_sets = check_catalog(db)
    n_labels = 0
    for label_set in label_sets:
        n_columns = len(stored_classes(label_set))
        keys, bad = _damaged_rows(db, "labels", label_set["id"], n_columns, LABEL)
        if bad:
            raise damaged(
                f"{len(bad)} of {len(keys)} labels in the label set {label_set['id']} "
                "differ from their checksum",
                _DROP,
            )
        _compare_keys(label_set, keys)
        n_labels += len(keys)
    if n_labels != db.row("SELECT count(*) FROM labels")[0]:
        raise damaged("some labels belong to no label set")
    for teacher in teachers:
        _, bad = _damaged_rows(
            db, "embeddings", teacher["id"], teacher["n_dims"] or 0, EMBEDDING
        )
        if bad:
            raise damaged(f"{len(bad)} embeddings differ from their checksum", _DROP)
        _compare_counts(db, teacher)


def _compare_counts(db, teacher):
    """Compare what is counted for a teacher with its payments."""
    # One statement, so that it sees one moment while others record.
    *counted, n_paid, n_calls, n_lost, cost = db.row(
        "SELECT "
        "coalesce(sum(CASE WHEN payments.outcome = 'paid' THEN n_rows ELSE 0 END), 0), "
        "coalesce(sum(CASE WHEN payments.outcome = 'paid' THEN 1 ELSE 0 END), 0), "
        "coalesce(sum(CASE WHEN payments.outcome = 'lost' THEN n_rows ELSE 0 END), 0), "
        "coalesce(sum(payments.cost), 0), max(teachers.n_paid), max(teachers.n_calls), "
        "max(teachers.n_lost), max(teachers.cost) "
        "FROM teachers LEFT JOIN payments ON payments.teacher = teachers.id "
        f"WHERE teachers.id = {db.mark}",
        (teacher["id"],),
    )
    kept = [n_paid, n_calls, n_lost, cost]
    if not np.allclose([float(c) for c in counted], kept, rtol=1e-9, atol=1e-9):
        raise damaged(
            f"the payments of the teacher {teacher['identity']!r} do not add up to "
            "what is counted for it"
        )


def drop_damaged_rows(db):
    """Delete labels and embeddings that differ from their checksum."""
    n_dropped = 0
    for label_set in all_rows(db, "label_sets"):
        n_columns = len(stored_classes(label_set))
        _, bad = _damaged_rows(db, "labels", label_set["id"], n_columns, LABEL)
        _delete(db, "labels", bad)
        n_dropped += len(bad)
        rows = db.rows(
            f"SELECT key, length(label) FROM labels WHERE label_set = {db.mark}",
            (label_set["id"],),
        )
        change(
            db,
            "label_sets",
            label_set,
            n_labels=len(rows),
            n_no_label=sum(length == CHECKSUM_BYTES for _, length in rows),
            key_digest=digest_keys(np.array([key for key, _ in rows], KEY_DTYPE)),
        )
    for teacher in all_rows(db, "teachers"):
        _, bad = _damaged_rows(
            db, "embeddings", teacher["id"], teacher["n_dims"] or 0, EMBEDDING
        )
        _delete(db, "embeddings", bad)
    return n_dropped


def _delete(db, table, ids):
    """Delete rows by their numbers."""
    db.run_many(f"DELETE FROM {table} WHERE id = {db.mark}", [(i,) for i in ids])
