"""The labels that a ledger holds for some rows, as a table."""

import numpy as np

from skadistill._utils.optional import require

__all__ = ["owned_frame"]


def owned_frame(ledger, keys, teacher_id, classes):
    """Collect the labels of some rows."""
    pandas = require("pandas", "pandas")
    columns: dict[str, list] = {
        "row": [],
        "teacher": [],
        "classes": [],
        "label": [],
        "cost": [],
    }
    for identity, stored in ledger._questions():
        if teacher_id not in (None, identity):
            continue
        if classes is not None and set(stored) != set(classes):
            continue
        wanted = tuple(stored) if classes is None else classes
        known, labels = ledger.lookup(keys, identity, wanted)
        rows = np.flatnonzero(known)
        columns["row"] += rows.tolist()
        columns["teacher"] += [identity] * len(rows)
        columns["classes"] += [wanted] * len(rows)
        columns["label"] += list(labels[rows])
        columns["cost"] += ledger._costs(keys[rows], identity, wanted).tolist()
    return pandas.DataFrame(columns).astype({"row": np.intp, "cost": np.float64})
