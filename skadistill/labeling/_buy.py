"""Buy labels: look up known ones, ask for the rest, record them, then return them."""

import itertools
import logging
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skadistill._utils.interrupts import explained_interrupts
from skadistill.exceptions import BudgetError, JobPendingError, TeacherError
from skadistill.labeling._buyer import Buyer
from skadistill.labeling._job_buyer import (
    JobBuyer,
    answers_later,
    check_remembers_jobs,
)
from skadistill.ledger._memory import MemoryLedger
from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._embeddings import raise_without_embeddings
from skadistill.teachers._identity import check_identity

__all__ = ["buy_labels"]

logger = logging.getLogger(__name__)


def _answers_kept(*args, ledger=None, **params):
    """Say what an interrupted purchase has kept, and how to go on."""
    if ledger is None:
        return "Interrupted: without a ledger, the answers so far are lost."
    return (
        f"Interrupted: the answers so far are kept in {ledger!r}; call buy_labels "
        "again with it, and only the others are paid for."
    )


@explained_interrupts(_answers_kept)
def buy_labels(
    teacher: Any,
    X: Any,
    *,
    classes: ArrayLike,
    ledger: Any = None,
    batch_size: int | None = None,
    max_rows: int | None = None,
    identity: str | None = None,
    with_embeddings: bool = False,
    first_size: int | None = None,
    row_numbers: ArrayLike | None = None,
) -> Any:
    """Label the rows of `X`, paying only for distinct rows the ledger lacks.

    The rows are looked up; each distinct unknown one is asked about once, in the
    order in which it first comes; every batch is in the ledger before the next is
    asked. A fault in a batch therefore costs that batch alone, and nothing is ever
    asked again silently. A row that another process is paying for through the same
    ledger is waited for. When the ledger's budget is spent, the rest stays without a
    label. A row that the teacher gave no label is known as such and not asked again.

    Parameters
    ----------
    teacher : BaseTeacher, estimator or callable
        Ready to be asked.
    X : container of n_samples rows
        Array, sparse matrix, pandas or polars frame, tensor, or list of texts; the
        teacher receives batches in the same container.
    classes : array-like of shape (n_classes,)
        The columns wanted.
    ledger : BaseLedger or None, default=None
        The ledger in which labels are looked up and recorded. None: nothing is kept
        after this purchase.
    batch_size : int or None, default=None
        Rows bought together. None: the teacher's ``claim_size``, else all.
    max_rows : int or None, default=None
        The most rows to pay for; those beyond stay without a label. None: no limit.
    identity : str or None, default=None
        The teacher's identity, if the caller has it already: deriving that of a
        large fitted estimator takes longer than a small purchase. None:
        ``teacher.identity``.
    with_embeddings : bool, default=False
        Whether the teacher's embeddings are bought with the labels and kept beside
        them in the ledger. For a row whose label is known to the ledger and whose
        embedding is not, the embedding is asked for only if the teacher can give it
        alone (``teacher.can_embed_only``); else it stays NaN, and no label is paid
        twice.
    first_size : int or None, default=None
        Rows of the first batch, if it should be smaller than the others: an answer
        that cannot be used then costs these rows only. None: like the others.
    row_numbers : array-like of int of shape (n_samples,) or None, default=None
        The numbers of the rows in messages. None: their positions in `X`.

    Returns
    -------
    purchase : LabelPurchase
        The labels, and what they cost, as attributes:

        keys : ndarray of shape (n_samples,)
            The keys of the rows in the ledger.
        labels : ndarray of float64 of shape (n_samples, n_classes)
            Soft labels; NaN in rows without a label.
        paid, labeled : ndarray of bool of shape (n_samples,)
            The rows the teacher was asked about, one for each distinct content, rows
            that it gave no label included; and the rows that have a label.
        n_paid, n_free : int
            Number of rows paid for, and of rows labeled at no cost: known to the
            ledger, or equal to a row paid for here.
        cost, seconds, n_calls : float, float, int
            What the rows paid for cost, as far as the teacher names prices; seconds
            spent in the teacher; batches that it was asked about.
        n_refused : int
            Number of distinct rows that the ledger's budget did not suffice for.
        embeddings : ndarray of float32 of shape (n_samples, n_dims) or None
            Embeddings, NaN in rows without one; None if they were not asked for. If
            none is known of the teacher, ``n_dims`` is 0.
        n_embedded : int
            Number of rows asked about for their embedding alone: their label was
            known. They are not among `n_paid`, nor are they in the ledger.
        no_label, n_no_label : ndarray of bool of shape (n_samples,) or None, int
            The rows that the teacher gave no label, here or earlier: it refused them,
            or its answer could not be used. They are paid for and not asked about
            again. The number counts distinct rows.

    Raises
    ------
    TeacherError
        If the teacher fails; its attribute ``n_paid`` tells how many rows of this
        purchase had been paid for, recorded and kept before. If embeddings are wanted
        of a teacher that gives none, before anything is paid.
    JobPendingError
        If a teacher that answers later, such as `BatchTeacher`, has not finished;
        the same purchase, made later, collects the answers. Its attribute ``purchase``
        holds what is there so far.
    BudgetError
        If `batch_size` or `max_rows` is not a number of rows, or the ledger is limited
        in money and the teacher names no price.
    LedgerError
        If the ledger fails. Labels that were paid for and could not be recorded are
        in its attribute ``unrecorded``, as rows of `X` and their labels.

    Warns
    -----
    TeacherWarning
        If another model than before has answered, as the endpoint says; labels are
        recorded by then.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.labeling import buy_labels
    >>> from skadistill.ledger import MemoryLedger
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
    teacher._check_parameters()
    if hasattr(teacher, "buy"):  # a teacher made of others
        return teacher.buy(
            buy_labels,
            X,
            classes=classes,
            ledger=ledger,
            identity=identity,
            batch_size=batch_size,
            max_rows=max_rows,
            with_embeddings=with_embeddings,
            first_size=first_size,
            row_numbers=row_numbers,
        )
    keep = ledger is not None
    identity = teacher.identity if identity is None else identity
    check_identity(identity, teacher, ledger)
    if with_embeddings and not teacher.has_embeddings:
        raise_without_embeddings(teacher.display_name)
    make = Buyer
    if answers_later(teacher):
        check_remembers_jobs(teacher, keep)
        make, first_size = JobBuyer, None  # a small first job would take its time
    buyer = make(
        teacher, X, np.asarray(classes), ledger if keep else MemoryLedger(), identity
    )
    buyer.with_embeddings = with_embeddings
    if row_numbers is not None:
        buyer.row_numbers = np.asarray(row_numbers)
    todo = buyer.unknown_rows()[:max_rows]
    try:
        while len(todo):
            step = batch_size or teacher.claim_size or len(todo)
            n_granted = 0
            for batch in _batches(todo, step, first_size):
                n_granted += buyer.pay(batch)
            first_size = None
            todo = buyer.open_rows(todo, progress=n_granted > 0)
        if with_embeddings and teacher.can_embed_only:
            buyer.embed_the_rest(batch_size)
    except TeacherError as error:
        _add_receipt(error, buyer.n_paid, keep)
        if isinstance(error, JobPendingError):
            error.purchase = buyer.purchase()
        raise
    purchase = buyer.purchase()
    _log_purchase(teacher, purchase)
    buyer.warn_of_models()
    return purchase


def _log_purchase(teacher, purchase):
    """Log what was bought; silent if there was nothing to buy."""
    if not len(purchase.labels):
        return
    logger.info(
        "%s: rows paid %d, free %d, without a label %d, beyond the ledger's budget %d; "
        "calls %d, cost %g, %.2f s",
        teacher.display_name,
        purchase.n_paid,
        purchase.n_free,
        purchase.n_no_label,
        purchase.n_refused,
        purchase.n_calls,
        purchase.cost,
        purchase.seconds,
    )
    n_new = int((purchase.paid & purchase.no_label).sum())
    if n_new:
        logger.warning(
            "%s returned no label for %d of %d rows (billed; will not be retried)",
            teacher.display_name,
            n_new,
            purchase.n_paid,
        )


def _add_receipt(error, n_paid, keep):
    """Add to a fault how many answers were paid for so far, and what holds them."""
    error.n_paid = n_paid
    if n_paid == 0:
        receipt = "nothing was billed"
    else:
        labels = "the answer" if n_paid == 1 else f"the {n_paid} answers"
        verb = "is" if n_paid == 1 else "are"
        fate = "kept in the ledger" if keep else "lost without a ledger"
        receipt = f"{labels} paid for so far {verb} {fate}"
    error.args = (f"{str(error).removesuffix('.')}; {receipt}.",)


def _check_count(name, value, smallest):
    """Raise if a number of rows is not one."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or value < smallest:
        raise BudgetError(
            f"{name} is {value!r}; pass an integer of at least {smallest}, or None."
        )


def _batches(rows, size, first_size):
    """Cut rows into batches, the first one perhaps smaller."""
    first = size if first_size is None else min(size, first_size)
    bounds = [0, *range(first, len(rows), size), len(rows)]
    return [rows[start:stop] for start, stop in itertools.pairwise(bounds)]
