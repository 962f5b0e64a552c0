"""Bring ledgers of earlier formats up to date, in either database.

``docs/ledger_format.rst`` describes the formats and how to change them.
"""

import json
import logging

import numpy as np

from skadistill._rows._keys import KEY_DTYPE
from skadistill.ledger._catalog import LABEL_SET, TEACHER, change, damaged
from skadistill.ledger._checksums import CHECKSUM_BYTES, digest_keys, sealed
from skadistill.ledger._contents import EMBEDDING, LABEL
from skadistill.ledger._tables import create_tables
from skadistill.ledger._transaction import CHUNK

__all__ = ["FORMAT_VERSION", "migrate"]

logger = logging.getLogger(__name__)

#: What this release writes; it reads every earlier version.
FORMAT_VERSION = 3


def migrate(db, dialect, version):
    """Apply every migration from a version to the newest."""
    for old in range(version, FORMAT_VERSION):
        MIGRATIONS[old](db, dialect)


def _from_1_to_2(db, dialect):
    """Add checksums, what claims have sent, and rows that were lost."""
    for table, column in (
        ("teachers", f"checksum {dialect.number} NOT NULL DEFAULT 0"),
        ("label_sets", f"n_no_label {dialect.number} NOT NULL DEFAULT 0"),
        ("label_sets", f"key_digest {dialect.number} NOT NULL DEFAULT 0"),
        ("label_sets", f"checksum {dialect.number} NOT NULL DEFAULT 0"),
        ("claims", "name TEXT NOT NULL DEFAULT ''"),
        ("claims", f"since {dialect.real} NOT NULL DEFAULT 0"),
        ("claimed_rows", f"sent {dialect.number} NOT NULL DEFAULT 0"),
    ):
        db.run(f"ALTER TABLE {table} ADD COLUMN {column}")
    db.run(create_tables(dialect)[-1])
    # What old claims had sent is not known: all of it may be billed.
    db.run("UPDATE claimed_rows SET sent = 1")
    for number, n_dims in db.rows("SELECT id, n_dims FROM teachers ORDER BY id"):
        _seal(db, "embeddings", "embedding", "teacher", number, n_dims or 0, EMBEDDING)
        _write_checksum(db, "teachers", TEACHER, number)
    for number, classes, n_labels in db.rows(
        "SELECT id, classes, n_labels FROM label_sets ORDER BY id"
    ):
        try:
            n_classes = len(json.loads(classes))
        except (TypeError, ValueError):
            raise damaged(
                f"the classes of the label set {number} are not JSON"
            ) from None
        keys = _seal(db, "labels", "label", "label_set", number, n_classes, LABEL)
        if len(keys) != n_labels:
            raise damaged(
                f"it has {len(keys)} labels instead of {n_labels} in the label set "
                f"{number}"
            )
        db.run(
            f"UPDATE label_sets SET key_digest = {db.mark} WHERE id = {db.mark}",
            (digest_keys(np.array(keys, KEY_DTYPE)), number),
        )
        _write_checksum(db, "label_sets", LABEL_SET, number)


def _from_2_to_3(db, dialect):
    """Give every row of a claim its own price."""
    db.run(
        f"ALTER TABLE claimed_rows ADD COLUMN price {dialect.real} NOT NULL DEFAULT 0"
    )
    db.run(
        "UPDATE claimed_rows SET price = "
        "(SELECT claims.price FROM claims WHERE claims.id = claim)"
    )
    db.run("ALTER TABLE claims DROP COLUMN price")


#: MIGRATIONS[v] makes a version v + 1 of a version v.
MIGRATIONS = {1: _from_1_to_2, 2: _from_2_to_3}


def _seal(db, table, column, where, owner, n_columns, dtype):
    """Append a checksum to every row of numbers under one owner; return the keys.

    A label with another width or with numbers outside [0, 1] was damaged or edited
    before there were checksums. It gets a checksum that does not fit, so that reading
    it is an error and the labels beside it can still be read.
    """
    keys, last, n_bad = [], -(2**63), 0
    size = n_columns * dtype.itemsize
    while True:
        rows = db.rows(
            f"SELECT id, key, {column} FROM {table} WHERE {where} = {db.mark} "
            f"AND id > {db.mark} ORDER BY id LIMIT {10 * CHUNK}",
            (owner, last),
        )
        if not rows:
            break
        last = rows[-1][0]
        for _, key, _ in rows:
            if not isinstance(key, bytes) or len(key) != KEY_DTYPE.itemsize:
                raise damaged(f"a key of {table} has another width")
            keys.append(key)
        whole = [isinstance(r[2], bytes) and len(r[2]) == size for r in rows]
        blank = bytes(size)
        data = b"".join(
            r[2] if ok else blank for r, ok in zip(rows, whole, strict=True)
        )
        numbers = np.frombuffer(data, dtype).reshape(len(rows), n_columns)
        found = np.array([r[1] for r in rows], KEY_DTYPE)
        bad = ~np.array(whole)
        if dtype == LABEL:
            # Format 1 did not demand that they sum to 1. NaN fails both comparisons.
            bad |= ~((numbers >= 0) & (numbers <= 1 + 1e-3)).all(axis=1)
        blobs = [
            blob[:-CHECKSUM_BYTES] + bytes(x ^ 0xFF for x in blob[-CHECKSUM_BYTES:])
            if wrong
            else blob
            for blob, wrong in zip(sealed(owner, found, numbers), bad, strict=True)
        ]
        db.run_many(
            f"UPDATE {table} SET {column} = {db.mark} WHERE id = {db.mark}",
            [(blob, r[0]) for blob, r in zip(blobs, rows, strict=True)],
        )
        n_bad += int(bad.sum())
    if n_bad:
        logger.warning(
            "%d of %d rows of the table %s are damaged or were edited; reading one is "
            "an error, and drop_damaged() gives them up",
            n_bad,
            len(keys),
            table,
        )
    return keys


def _write_checksum(db, table, columns, number):
    """Give a row of the catalog its first checksum."""
    row = db.row(
        f"SELECT {', '.join(columns)} FROM {table} WHERE id = {db.mark}", (number,)
    )
    change(db, table, dict(zip(columns, row, strict=True)))
