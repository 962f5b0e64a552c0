"""The teachers and label sets of a SQL ledger, and the sums kept about them.

Each of their rows ends in a checksum. Rows are read with `_read`, which compares it,
and written with `_write`, which renews it; no other code touches them.
"""

import json
import math

from skadistill.exceptions import LedgerError
from skadistill.ledger._checksums import row_checksum
from skadistill.ledger._counts import NO_COUNTS, column_order
from skadistill.ledger._transaction import insert

__all__ = [
    "COUNTED",
    "LABEL_SET",
    "TEACHER",
    "all_rows",
    "change",
    "check_catalog",
    "class_set",
    "damaged",
    "find_label_set",
    "find_teacher",
    "losses",
    "made_label_set",
    "made_teacher",
    "pay",
    "pay_unanswered",
    "plain_classes",
    "recount",
    "stored_classes",
    "stored_order",
    "teacher_with_id",
]

#: What is counted for a teacher in its row.
COUNTED = ["n_paid", "n_calls", "n_failed", "n_lost", "cost", "seconds"]

#: Columns of the two tables and the types of their values.
TEACHER = {"id": int, "identity": str, "n_dims": int} | {
    name: type(NO_COUNTS[name]) for name in COUNTED
}
LABEL_SET = {
    "id": int,
    "teacher": int,
    "classes": str,
    "class_set": str,
    "n_labels": int,
    "n_no_label": int,
    "key_digest": int,
}
_COLUMNS = {"teachers": TEACHER, "label_sets": LABEL_SET}


def damaged(what, remedy="restore it from a copy"):
    """Make the error for content that is not as it was written."""
    return LedgerError(f"the ledger is damaged or was edited: {what}; {remedy}.")


def find_teacher(db, teacher_id):
    """Return the row of a teacher as a dict, or None."""
    found = _read(db, "teachers", f"WHERE identity = {db.mark}", (teacher_id,))
    return found[0] if found else None


def find_label_set(db, teacher_id, classes):
    """Return the row of a teacher's label set as a dict, or None."""
    teacher = find_teacher(db, teacher_id)
    if teacher is None:
        return None
    found = _read(
        db,
        "label_sets",
        f"WHERE teacher = {db.mark} AND class_set = {db.mark}",
        (teacher["id"], class_set(classes)),
    )
    return found[0] if found else None


def teacher_with_id(db, number):
    """Return the row of a teacher that is there."""
    found = _read(db, "teachers", f"WHERE id = {db.mark}", (number,))
    if not found:
        raise damaged(f"teacher {number} is missing")
    return found[0]


def made_teacher(db, teacher_id):
    """Return the row of a teacher, after inserting it if it is new."""
    teacher = find_teacher(db, teacher_id)
    if teacher is None:
        # A damaged index may hide a teacher whose labels would be paid for again.
        if any(known["identity"] == teacher_id for known in check_catalog(db)[0]):
            raise damaged("an index does not find a teacher that is there")
        blank = dict.fromkeys(COUNTED, 0) | {"identity": teacher_id, "n_dims": None}
        _insert(db, "teachers", blank)
        teacher = find_teacher(db, teacher_id)
    return teacher


def made_label_set(db, teacher_id, classes):
    """Return the row of a label set, after inserting it if it is new."""
    label_set = find_label_set(db, teacher_id, classes)
    if label_set is None:
        teacher = made_teacher(db, teacher_id)["id"]
        wanted = (teacher, class_set(classes))
        known = check_catalog(db)[1]
        if wanted in [(s["teacher"], s["class_set"]) for s in known]:
            raise damaged("an index does not find a set of labels that is there")
        _insert(
            db,
            "label_sets",
            {
                "teacher": teacher,
                "classes": json.dumps(plain_classes(classes)),
                "class_set": wanted[1],
                "n_labels": 0,
                "n_no_label": 0,
                "key_digest": 0,
            },
        )
        label_set = find_label_set(db, teacher_id, classes)
    return label_set


def change(db, table, row, **values):
    """Write new values into a row and renew its checksum."""
    row.update(values)
    values["checksum"] = _checksum(table, row)
    sets = ", ".join(f"{name} = {db.mark}" for name in values)
    db.run(
        f"UPDATE {table} SET {sets} WHERE id = {db.mark}", (*values.values(), row["id"])
    )


def pay(db, teacher, outcome, *, at=None, n_rows=None, **counts):
    """Insert one payment and add it to what is counted for the teacher."""
    change(
        db,
        "teachers",
        teacher,
        **{name: teacher[name] + counts[name] for name in counts},
    )
    if n_rows is None:
        n_rows = sum(counts.get(name, 0) for name in ("n_paid", "n_failed", "n_lost"))
    return insert(
        db,
        "payments",
        teacher=teacher["id"],
        at=db.now() if at is None else at,
        n_rows=n_rows,
        cost=counts.get("cost", 0.0),
        seconds=counts.get("seconds", 0.0),
        outcome=outcome,
    )


def pay_unanswered(db, teacher, unanswered):
    """Count rows of calls that may be billed and brought no answer."""
    if unanswered is not None:
        n_rows, most = unanswered
        pay(db, teacher, "unanswered", n_rows=n_rows, cost=most)


def losses(db):
    """Sum up the answers that may be billed and did not arrive."""
    # The rest is added up by itself: a difference would keep a rounding error.
    found = db.rows(
        "SELECT teacher, "
        "sum(CASE WHEN outcome = 'unanswered' THEN n_rows ELSE 0 END), "
        "sum(CASE WHEN outcome IN ('lost', 'unanswered') THEN cost ELSE 0 END), "
        "sum(CASE WHEN outcome IN ('lost', 'unanswered') THEN 0 ELSE cost END) "
        "FROM payments GROUP BY teacher"
    )
    return {
        teacher: {
            "n_unanswered": int(n_unanswered),
            "max_lost_cost": float(most),
            "cost": float(cost),
        }
        for teacher, n_unanswered, most, cost in found
        if most or n_unanswered
    }


def recount(db, teacher, **counts):
    """Add to a teacher's counts, and take its cost from the payments.

    Taking one cost away from a sum would leave its rounding error behind.
    """
    costs = db.rows(
        f"SELECT cost FROM payments WHERE teacher = {db.mark}", (teacher["id"],)
    )
    values = {name: teacher[name] + counts[name] for name in counts}
    values["cost"] = math.fsum(cost for (cost,) in costs)
    change(db, "teachers", teacher, **values)


def all_rows(db, table):
    """Read a table of the catalog in the order of its numbers."""
    return _read(db, table, "ORDER BY id", ())


def check_catalog(db):
    """Read all teachers and label sets and compare what they say of each other."""
    teachers, label_sets = all_rows(db, "teachers"), all_rows(db, "label_sets")
    numbers = {t["id"] for t in teachers}
    if len(numbers) < len(teachers) or any(
        s["teacher"] not in numbers for s in label_sets
    ):
        raise damaged("a teacher is missing")
    last = db.row("SELECT max(label_set) FROM labels")[0]
    if last is not None and last > max((s["id"] for s in label_sets), default=0):
        raise damaged("a set of labels is missing")
    return teachers, label_sets


def class_set(classes):
    """Write a set of classes as one text; equal sets give equal texts."""
    return json.dumps(sorted(json.dumps(c) for c in plain_classes(classes)))


def plain_classes(classes):
    """Return classes as JSON can hold them; equal classes give equal values."""
    return [_plain(c) for c in classes]


def stored_classes(label_set):
    """Return the classes of a label set in the order of its columns."""
    return json.loads(label_set["classes"])


def stored_order(label_set, classes):
    """Return where among the stored columns each wanted one is."""
    stored, wanted = stored_classes(label_set), plain_classes(classes)
    return None if stored == wanted else column_order(stored, wanted)


def _plain(label):
    """Return a class as JSON can hold it."""
    if isinstance(label, bool):
        return int(label)
    if isinstance(label, float) and label.is_integer():
        return int(label)
    if isinstance(label, str | int) or (
        isinstance(label, float) and math.isfinite(label)
    ):
        return label
    raise LedgerError(
        f"the class {label!r} is of type {type(label).__name__}, which a ledger in SQL "
        "cannot hold; name classes by texts or finite numbers."
    )


def _read(db, table, condition, values):
    """Read rows, convert their values and compare their checksums."""
    columns = _COLUMNS[table]
    found = db.rows(
        f"SELECT {', '.join(columns)}, checksum FROM {table} {condition}", values
    )
    rows = []
    for *stored, checksum in found:
        try:
            row = {
                name: None if value is None else kind(value)
                for (name, kind), value in zip(columns.items(), stored, strict=True)
            }
        except (TypeError, ValueError) as error:
            raise damaged(f"a row of {table} holds something else ({error})") from None
        if _checksum(table, row) != checksum:
            raise damaged(f"row {row['id']} of {table} differs from its checksum")
        rows.append(row)
    return rows


def _insert(db, table, row):
    """Insert a row and give it the checksum that its number belongs to."""
    # The number is known only after the insertion.
    row["id"] = insert(db, table, checksum=0, **row)
    change(db, table, row)


def _checksum(table, row):
    columns = _COLUMNS[table]
    return row_checksum(
        *(None if row[n] is None else kind(row[n]) for n, kind in columns.items())
    )
