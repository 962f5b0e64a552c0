"""The tables of a SQL ledger, in the words of SQLite and of PostgreSQL.

``docs/ledger_format.rst`` describes them and how to change them.
"""

from dataclasses import dataclass

__all__ = ["FORMAT_VERSION", "POSTGRESQL", "SQLITE", "Dialect", "create_tables"]

#: What this release reads and writes.
FORMAT_VERSION = 3


@dataclass(frozen=True)
class Dialect:
    """Words that differ between two databases."""

    mark: str
    number: str
    new_id: str
    never_reused_id: str
    real: str
    binary: str
    clustered: str


SQLITE = Dialect(
    mark="?",
    number="INTEGER",
    new_id="INTEGER PRIMARY KEY",
    never_reused_id="INTEGER PRIMARY KEY AUTOINCREMENT",
    real="REAL",
    binary="BLOB",
    clustered=" WITHOUT ROWID",
)

POSTGRESQL = Dialect(
    mark="%s",
    number="BIGINT",
    new_id="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    never_reused_id="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    real="DOUBLE PRECISION",
    binary="BYTEA",
    clustered="",
)


def create_tables(dialect):
    """Write the statements that create the tables of an empty ledger."""
    d = dialect
    return [
        # n_dims is the width of the embeddings; NULL before the first.
        f"""CREATE TABLE teachers (
    id {d.new_id},
    identity TEXT NOT NULL UNIQUE,
    n_dims {d.number},
    n_paid {d.number} NOT NULL DEFAULT 0,
    n_calls {d.number} NOT NULL DEFAULT 0,
    n_failed {d.number} NOT NULL DEFAULT 0,
    n_lost {d.number} NOT NULL DEFAULT 0,
    cost {d.real} NOT NULL DEFAULT 0,
    seconds {d.real} NOT NULL DEFAULT 0,
    checksum {d.number} NOT NULL
)""",
        # One teacher and one set of classes. classes is a JSON list in the order of
        # the columns; class_set is the same sorted, so that equal sets are equal.
        # n_labels counts the rows of `labels`, n_no_label those without a label;
        # key_digest sums up their keys.
        f"""CREATE TABLE label_sets (
    id {d.new_id},
    teacher {d.number} NOT NULL REFERENCES teachers (id),
    classes TEXT NOT NULL,
    class_set TEXT NOT NULL,
    n_labels {d.number} NOT NULL DEFAULT 0,
    n_no_label {d.number} NOT NULL DEFAULT 0,
    key_digest {d.number} NOT NULL DEFAULT 0,
    checksum {d.number} NOT NULL,
    UNIQUE (teacher, class_set)
)""",
        # One call: when (seconds since 1970, UTC), for how many rows, at what cost.
        # outcome is 'paid', 'lost', 'written off' or the name of an error.
        f"""CREATE TABLE payments (
    id {d.new_id},
    teacher {d.number} NOT NULL REFERENCES teachers (id),
    at {d.real} NOT NULL,
    n_rows {d.number} NOT NULL,
    cost {d.real} NOT NULL,
    seconds {d.real} NOT NULL,
    outcome TEXT NOT NULL
)""",
        # label and embedding hold little-endian numbers and 8 bytes of checksum; a
        # row that was answered without a label holds the checksum alone.
        f"""CREATE TABLE labels (
    id {d.new_id},
    label_set {d.number} NOT NULL REFERENCES label_sets (id),
    key {d.binary} NOT NULL,
    label {d.binary} NOT NULL,
    payment {d.number} NOT NULL REFERENCES payments (id),
    UNIQUE (label_set, key)
)""",
        f"""CREATE TABLE embeddings (
    id {d.new_id},
    teacher {d.number} NOT NULL REFERENCES teachers (id),
    key {d.binary} NOT NULL,
    embedding {d.binary} NOT NULL,
    UNIQUE (teacher, key)
)""",
        # Rows being paid for now. n_rows counts those not yet answered; price is
        # what a row costs at most. sent is 1 from just before the teacher is called
        # about it.
        f"""CREATE TABLE claims (
    id {d.never_reused_id},
    teacher {d.number} NOT NULL REFERENCES teachers (id),
    owner TEXT NOT NULL,
    expires {d.real} NOT NULL,
    n_rows {d.number} NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    since {d.real} NOT NULL DEFAULT 0
)""",
        f"""CREATE TABLE claimed_rows (
    label_set {d.number} NOT NULL REFERENCES label_sets (id),
    key {d.binary} NOT NULL,
    claim {d.number} NOT NULL REFERENCES claims (id),
    sent {d.number} NOT NULL DEFAULT 0,
    price {d.real} NOT NULL DEFAULT 0,
    PRIMARY KEY (label_set, key)
){d.clustered}""",
        # Rows that were sent under a claim that ended without their answer.
        f"""CREATE TABLE lost_rows (
    claim {d.number} NOT NULL,
    key {d.binary} NOT NULL,
    payment {d.number} NOT NULL REFERENCES payments (id),
    price {d.real} NOT NULL,
    PRIMARY KEY (claim, key)
){d.clustered}""",
        # Which model answered in a call, as the endpoint says.
        f"""CREATE TABLE payment_models (
    payment {d.number} PRIMARY KEY,
    model TEXT NOT NULL
)""",
    ]
