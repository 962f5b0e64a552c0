"""Buying labels: look up what is known, ask for the rest, record, then use."""

import time
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from skadistill.exceptions import BudgetError, TeacherError
from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._ledger import MemoryLedger
from skadistill.teachers._rows import count_rows, row_keys, take_rows

__all__ = ["Purchase", "buy_labels"]


@dataclass(frozen=True, eq=False)
class Purchase:
    """What `buy_labels` brought home.

    Attributes
    ----------
    labels : ndarray of float64 of shape (n_rows, n_classes)
        Soft labels; NaN in rows that `max_rows` left out.
    paid : ndarray of bool of shape (n_rows,)
        The rows the teacher was asked about, one for each distinct content.
    labeled : ndarray of bool of shape (n_rows,)
        The rows that have a label.
    n_paid : int
        Number of rows paid for.
    n_free : int
        Number of rows labelled for nothing: known to the ledger, or equal to a row
        paid for here.
    seconds : float
        Seconds spent in the teacher.
    n_calls : int
        Number of calls to the teacher.
    """

    labels: np.ndarray
    paid: np.ndarray
    labeled: np.ndarray
    n_paid: int
    n_free: int
    seconds: float
    n_calls: int


def buy_labels(
    teacher,
    X,
    *,
    classes,
    ledger=None,
    batch_size=None,
    max_rows=None,
    on_batch=None,
    identity=None,
):
    """Label the rows of `X`, paying only for distinct rows the ledger lacks.

    The rows are looked up; each distinct unknown one is asked for once, in the
    order in which it first comes; every batch is in the ledger before the next is
    asked. A fault in a batch therefore costs that batch alone, and nothing is ever
    asked again silently.

    Parameters
    ----------
    teacher : BaseTeacher, estimator or callable
        Ready to be asked.
    X : container of n_rows rows
        Array, sparse matrix, pandas or polars frame, tensor, or list of texts; the
        teacher receives batches in the same container.
    classes : array-like of shape (n_classes,)
        The columns wanted.
    ledger : BaseLedger or None, default=None
        Where labels are looked up and recorded. None: nothing is remembered after
        this purchase.
    batch_size : int or None, default=None
        Rows per call. None: one call.
    max_rows : int or None, default=None
        At most so many rows are paid for; those beyond stay without a label. None:
        no limit.
    on_batch : callable or None, default=None
        Called as ``on_batch(n_paid, n_to_pay)`` after each batch is recorded.
    identity : str or None, default=None
        The teacher's identity, where the caller has it already: deriving that of a
        large fitted estimator takes longer than a small purchase. None:
        ``teacher.identity``.

    Returns
    -------
    purchase : Purchase
        Labels, and what they took.

    Raises
    ------
    TeacherError
        If the teacher fails; its attribute ``n_paid`` tells how many rows of this
        purchase had been paid for, recorded and kept before.
    BudgetError
        If `batch_size` or `max_rows` is not a count of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.teachers import MemoryLedger, buy_labels
    >>> def teacher(X):
    ...     return (X[:, 0] > 0).astype(int)
    >>> ledger, X = MemoryLedger(), np.array([[1.0], [-1.0], [1.0]])
    >>> first = buy_labels(teacher, X, classes=[0, 1], ledger=ledger)
    >>> first.n_paid, first.n_free, first.paid
    (2, 1, array([ True,  True, False]))
    >>> buy_labels(teacher, X, classes=[0, 1], ledger=ledger).n_paid
    0
    """
    teacher = as_teacher(teacher)
    _check_count("batch_size", batch_size, smallest=1)
    _check_count("max_rows", max_rows, smallest=0)
    keep = ledger is not None
    ledger = ledger if keep else MemoryLedger()
    classes = np.asarray(classes)
    identity = teacher.identity if identity is None else identity
    keys = row_keys(X)
    labeled, labels = ledger.lookup(keys, identity, classes)

    first_seen: dict[bytes, int] = {}
    unknown = np.flatnonzero(~labeled)
    unknown_keys = keys[unknown].tolist()
    for i, key in zip(unknown.tolist(), unknown_keys, strict=True):
        first_seen.setdefault(key, i)
    wanted = np.fromiter(first_seen.values(), dtype=np.intp, count=len(first_seen))
    wanted = wanted[:max_rows]

    paid = np.zeros(count_rows(X), dtype=bool)
    n_paid, n_calls, seconds = 0, 0, 0.0
    step = batch_size or max(1, len(wanted))
    for start in range(0, len(wanted), step):
        rows = wanted[start : start + step]
        clock = time.perf_counter()
        try:
            answer = teacher.ask(take_rows(X, rows), classes, row_numbers=rows)
        except TeacherError as error:
            _add_receipt(error, n_paid, keep)
            raise
        took = time.perf_counter() - clock
        ledger.record(keys[rows], identity, classes, answer, seconds=took)
        labels[rows] = answer
        paid[rows] = labeled[rows] = True
        n_paid += len(rows)
        n_calls += 1
        seconds += took
        if on_batch is not None:
            on_batch(n_paid, len(wanted))

    source = np.array([first_seen[key] for key in unknown_keys], dtype=np.intp)
    labels[unknown] = labels[source]
    labeled[unknown] = labeled[source]
    n_free = int(labeled.sum()) - n_paid
    return Purchase(labels, paid, labeled, n_paid, n_free, seconds, n_calls)


def _add_receipt(error, n_paid, keep):
    """Add to a fault how many labels were paid for before it and where they are."""
    error.n_paid = n_paid
    if n_paid == 0:
        receipt = "no label had been paid for in this purchase"
    else:
        labels = "the label" if n_paid == 1 else f"the {n_paid} labels"
        verb = "is" if n_paid == 1 else "are"
        fate = "kept in the ledger" if keep else "lost for want of a ledger"
        receipt = f"{labels} paid for before it {verb} {fate}"
    error.args = (f"{str(error).removesuffix('.')}; {receipt}.",)


def _check_count(name, value, smallest):
    """Refuse a count of rows that is not one."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or value < smallest:
        raise BudgetError(
            f"{name} is {value!r}; pass an integer of at least {smallest}, or None."
        )
