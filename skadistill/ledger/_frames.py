"""A ledger as a table, for people and other programs, and back."""

import json

import numpy as np

from skadistill._rows._keys import KEY_DTYPE
from skadistill._utils.optional import require
from skadistill.exceptions import LedgerError
from skadistill.ledger._budget import check_amount
from skadistill.ledger._catalog import (
    all_rows,
    damaged,
    plain_classes,
    stored_classes,
)
from skadistill.ledger._checks import check_classes, not_probabilities
from skadistill.ledger._contents import EMBEDDING, LABEL, unsealed

__all__ = ["COLUMNS", "calls_in", "table_of"]

#: What each row of the table says.
COLUMNS = (
    "key",
    "teacher",
    "classes",
    "label",
    "embedding",
    "call",
    "paid_at",
    "cost",
    "seconds",
    "model",
)
#: Frames of earlier releases lack them.
_OPTIONAL = ("model",)

_QUERY = """
SELECT labels.key, label_set, label, embedding, labels.payment,
       at, payments.cost / n_rows, payments.seconds / n_rows, model
FROM labels
JOIN label_sets ON label_sets.id = label_set
JOIN payments ON payments.id = labels.payment
LEFT JOIN embeddings
    ON embeddings.teacher = label_sets.teacher AND embeddings.key = labels.key
LEFT JOIN payment_models ON payment_models.payment = labels.payment
ORDER BY labels.id
"""


def table_of(db):
    """Read a whole ledger into a frame with one row per label."""
    pandas = require("pandas", "pandas")
    teachers = {t["id"]: t for t in all_rows(db, "teachers")}
    label_sets = {s["id"]: s for s in all_rows(db, "label_sets")}
    names = ["key", "set", "label", "embedding", "call", *COLUMNS[-4:]]
    frame = pandas.DataFrame(db.rows(_QUERY), columns=names)
    frame["embedding"] = frame["embedding"].astype(object)
    labels, embeddings = [None] * len(frame), [None] * len(frame)
    for number, rows in frame.groupby("set").indices.items():
        label_set = label_sets[number]
        teacher = teachers[label_set["teacher"]]
        n_classes = len(stored_classes(label_set))
        _fill(labels, frame, "label", rows, number, n_classes, LABEL)
        given = rows[frame["embedding"].notna().to_numpy()[rows]]
        width = teacher["n_dims"] or 0
        _fill(embeddings, frame, "embedding", given, teacher["id"], width, EMBEDDING)
    of_row = [label_sets[number] for number in frame["set"]]
    frame["teacher"] = [teachers[s["teacher"]]["identity"] for s in of_row]
    frame["classes"] = [s["classes"] for s in of_row]
    frame["key"] = [key.hex() for key in frame["key"]]
    frame["label"] = pandas.Series(labels, dtype=object)
    frame["embedding"] = pandas.Series(embeddings, dtype=object)
    frame["paid_at"] = pandas.to_datetime(frame["paid_at"], unit="s", utc=True)
    return frame[list(COLUMNS)]


def _fill(values, frame, column, rows, owner, n_columns, dtype):
    """Read what a column holds in some rows under one owner."""
    if not len(rows):
        return
    keys = np.array(frame["key"].iloc[rows].tolist(), KEY_DTYPE)
    blobs = frame[column].iloc[rows].tolist()
    numbers, bad = unsealed(owner, keys, blobs, n_columns, dtype)
    if len(bad):
        raise damaged(
            f"the {column} under the key {keys[bad[0]].tobytes().hex()} differs from "
            "its checksum"
        )
    for row, value in zip(rows, numbers, strict=True):
        values[row] = value


def calls_in(frame):
    """Split a frame into the calls that paid for its rows."""
    present = getattr(frame, "columns", ())
    missing = [n for n in COLUMNS if n not in present and n not in _OPTIONAL]
    if missing:
        raise LedgerError(
            f"the frame lacks the columns {', '.join(map(repr, missing))}; pass one "
            "that LabelLedger.to_frame or to_parquet made."
        )
    frame = frame.reindex(columns=list(COLUMNS)).reset_index(drop=True)
    rows = [_checked_row(i, *row) for i, row in enumerate(frame.to_numpy(object))]
    calls: dict[tuple, list] = {}
    for row in rows:
        # Costs are compared, too: an edited frame may give each row its own.
        together = ["teacher", "classes", "call", "at", "cost", "seconds"]
        together += ["n_dims", "model"]
        calls.setdefault(tuple(row[name] for name in together), []).append(row)
    for same in calls.values():
        first = same[0]
        yield {
            "teacher": first["teacher"],
            "classes": first["classes"],
            "keys": np.array([row["key"] for row in same], KEY_DTYPE),
            "labels": np.array([row["label"] for row in same]),
            "embeddings": [row["embedding"] for row in same],
            "at": first["at"],
            "cost": first["cost"],
            "seconds": first["seconds"],
            "model": first["model"],
        }


def _checked_row(
    i, key, teacher, classes, label, embedding, call, paid_at, cost, seconds, model
):
    """Convert one row of a frame; name it in the error if it cannot be."""
    pandas = require("pandas", "pandas")
    try:
        if not isinstance(teacher, str):
            raise LedgerError(f"the teacher is {teacher!r}, which is not a string")
        if not isinstance(key, str) or len(bytes.fromhex(key)) != KEY_DTYPE.itemsize:
            raise LedgerError(f"the key is {key!r}, which is not one of row_keys")
        listed = json.loads(classes)
        if not isinstance(listed, list):
            raise LedgerError(f"the classes are {classes!r}, which is not a JSON list")
        columns = check_classes(np.array(listed, dtype=object))
        plain_classes(columns)
        numbers = np.array(label, dtype=np.float64)
        if numbers.shape != (len(columns),):
            raise LedgerError(
                f"the label has shape {numbers.shape} for {len(columns)} classes"
            )
        if not_probabilities(numbers[np.newaxis])[0]:
            raise LedgerError(
                f"the label is {numbers.tolist()}, which is neither probabilities nor "
                "all NaN"
            )
        if embedding is not None and not np.isscalar(embedding):
            embedding = np.array(embedding, dtype=np.float32)
            if embedding.ndim != 1 or not np.isfinite(embedding).all():
                raise LedgerError("the embedding is not a list of finite numbers")
        elif embedding is not None and not pandas.isna(embedding):
            raise LedgerError(f"the embedding is {embedding!r}")
        else:
            embedding = None
        return {
            "teacher": teacher,
            "classes": columns,
            "key": bytes.fromhex(key),
            "label": numbers,
            "embedding": embedding,
            "n_dims": None if embedding is None else len(embedding),
            "call": call,
            "at": check_amount(pandas.Timestamp(paid_at).timestamp(), "paid_at"),
            "cost": check_amount(cost, "the cost"),
            "seconds": check_amount(seconds, "seconds"),
            "model": model if isinstance(model, str) else None,
        }
    except (LedgerError, TypeError, ValueError, OverflowError) as error:
        raise LedgerError(
            f"row {i} of the frame cannot be read: {str(error).rstrip('.')}; pass a "
            "frame that LabelLedger.to_frame or to_parquet made."
        ) from error
