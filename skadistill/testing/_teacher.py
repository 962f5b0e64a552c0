"""The contract of a teacher, as checks."""

from typing import Any

import numpy as np
from sklearn.base import clone

from skadistill._rows._containers import count_rows, take_rows
from skadistill.ledger import row_keys
from skadistill.teachers import as_teacher
from skadistill.testing._strategy import check_that

__all__ = ["check_teacher"]

# The same product in float32 differs by this much between sizes of batches.
ROUNDING = 1e-5


def check_teacher(teacher: Any, X: Any, classes: Any) -> None:
    """Check that a teacher keeps the contract that the ledger relies on.

    It is asked about all rows of `X` three times, which may be billed: pass few rows.

    - Answers: probabilities of the classes, one row for each row asked about, or a
      row of NaN for a missing label; without rows, nothing is asked.
    - Rows: what it says about a row depends neither on the other rows asked about
      nor on their order, since labels are recorded row by row.
    - Identity: a string that stays the same, in clones too; otherwise labels would be
      paid for again.
    - The rows are not written to.

    Parameters
    ----------
    teacher : estimator, callable or BaseTeacher
        Fitted, or needing no fit.
    X : container of n_samples rows
        Two rows or more, not all alike.
    classes : array-like of shape (n_classes,)
        The classes, sorted.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says how.
    TeacherError
        If an answer is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.testing import check_teacher
    >>> def teacher(X):
    ...     return np.c_[X[:, 0] < 0, X[:, 0] >= 0].astype(float)
    >>> check_teacher(teacher, np.array([[-1.0], [0.5], [2.0]]), classes=[0, 1])
    """
    teacher, n_samples = as_teacher(teacher), count_rows(X)
    keys, order = list(row_keys(X)), np.arange(n_samples)[::-1]
    identity = teacher.identity
    check_that(isinstance(identity, str) and identity, "its identity is not a string")
    labels = teacher.ask(X, classes)
    check_that(list(row_keys(X)) == keys, "it writes into the rows")
    check_that(
        np.allclose(
            labels,
            teacher.ask(take_rows(X, order), classes)[order],
            atol=ROUNDING,
            equal_nan=True,
        ),
        "it answers otherwise when the rows come in another order",
    )
    half = n_samples // 2
    parts = [
        teacher.ask(take_rows(X, rows), classes)
        for rows in (np.arange(half), np.arange(half, n_samples))
    ]
    check_that(
        np.allclose(labels, np.concatenate(parts), atol=ROUNDING, equal_nan=True),
        "it answers otherwise when it is asked about fewer rows at once",
    )
    none = teacher.ask(take_rows(X, np.arange(0)), classes)
    check_that(
        none.shape == (0, len(classes)),
        f"asked about no row, it answers with shape {none.shape}",
    )
    for copy, what in [(teacher, "answering"), (clone(teacher), "cloning")]:
        check_that(copy.identity == identity, f"its identity changes by {what}")
