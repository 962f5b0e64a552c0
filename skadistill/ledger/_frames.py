"""A ledger as a table, for people and other programs, and back."""

import json

import numpy as np

from skadistill._optional import require
from skadistill._rows._keys import KEY_DTYPE
from skadistill.exceptions import LedgerError

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
)

_QUERY = """
SELECT labels.key, identity, classes, label, embedding, payment,
       at, payments.cost / n_rows, payments.seconds / n_rows
FROM labels
JOIN label_sets ON label_sets.id = label_set
JOIN teachers ON teachers.id = label_sets.teacher
JOIN payments ON payments.id = payment
LEFT JOIN embeddings
    ON embeddings.teacher = teachers.id AND embeddings.key = labels.key
ORDER BY labels.id
"""


def table_of(db):
    """Read a whole ledger into a frame with one row per label.

    Parameters
    ----------
    db : Transaction
        On an open ledger.

    Returns
    -------
    frame : DataFrame
        With the columns `COLUMNS`, in the order in which the labels were paid for.
    """
    pandas = require("pandas", "pandas")
    frame = pandas.DataFrame(db.rows(_QUERY), columns=list(COLUMNS))
    frame["key"] = [key.hex() for key in frame["key"]]
    frame["label"] = [np.frombuffer(blob, "<f8") for blob in frame["label"]]
    frame["embedding"] = pandas.Series(
        [None if b is None else np.frombuffer(b, "<f4") for b in frame["embedding"]],
        dtype=object,
    )
    frame["paid_at"] = pandas.to_datetime(frame["paid_at"], unit="s", utc=True)
    return frame


def calls_in(frame):
    """Split a frame into the calls that paid for its rows.

    Parameters
    ----------
    frame : DataFrame
        As `table_of` makes it, or as it comes back from Parquet.

    Yields
    ------
    call : dict
        ``teacher``, ``classes``, ``keys``, ``labels``, ``embeddings`` (None where a
        row has none), ``at``, ``cost`` and ``seconds`` (of one row).

    Raises
    ------
    LedgerError
        If a column is missing or holds something else.
    """
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise LedgerError(
            f"the frame lacks the columns {', '.join(map(repr, missing))}; pass one "
            "that LabelLedger.to_frame or to_parquet made."
        )
    pandas = require("pandas", "pandas")
    together = ["teacher", "classes", "call"]
    for (teacher, classes, _), rows in frame.groupby(together, sort=False):
        first = rows.iloc[0]
        try:
            yield {
                "teacher": teacher,
                "classes": json.loads(classes),
                "keys": np.array([bytes.fromhex(k) for k in rows["key"]], KEY_DTYPE),
                "labels": np.array(rows["label"].tolist(), dtype=np.float64),
                "embeddings": rows["embedding"].tolist(),
                "at": pandas.Timestamp(first["paid_at"]).timestamp(),
                "cost": float(first["cost"]),
                "seconds": float(first["seconds"]),
            }
        except (TypeError, ValueError) as error:
            raise LedgerError(
                f"a row of the frame under the teacher {teacher!r} cannot be read "
                f"({error}); pass a frame that LabelLedger.to_frame or to_parquet made."
            ) from error
