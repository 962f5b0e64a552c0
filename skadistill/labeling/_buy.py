"""Buying labels: look up what is known, ask for the rest, record, then use."""

import contextlib
import logging
import time
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from skadistill._interrupts import held_interrupts
from skadistill._rows._containers import copy_rows
from skadistill._rows._keys import row_keys
from skadistill.exceptions import BudgetError, LedgerError, TeacherError
from skadistill.ledger._memory import MemoryLedger
from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._embeddings import raise_without_embeddings
from skadistill.teachers._identity import check_identity

__all__ = ["LabelPurchase", "buy_labels"]

logger = logging.getLogger(__name__)

#: Seconds between looks at a row that somebody else is paying for: first, longest.
_PAUSES = (0.01, 1.0)


@dataclass(frozen=True, eq=False)
class LabelPurchase:
    """What `buy_labels` brought home.

    Attributes
    ----------
    labels : ndarray of float64 of shape (n_samples, n_classes)
        Soft labels; NaN in rows that `max_rows` or the ledger's budget left
        out.
    paid : ndarray of bool of shape (n_samples,)
        The rows the teacher was asked about, one for each distinct content.
    labeled : ndarray of bool of shape (n_samples,)
        The rows that have a label.
    n_paid : int
        Number of rows paid for.
    n_free : int
        Number of rows labeled for nothing: known to the ledger, or equal to a row
        paid for here.
    seconds : float
        Seconds spent in the teacher.
    n_calls : int
        Number of calls to the teacher.
    cost : float
        What the rows paid for cost, as far as the teacher names prices.
    n_refused : int
        Number of distinct rows for which the ledger's budget did not suffice.
    embeddings : ndarray of float32 of shape (n_samples, n_dims) or None
        Embeddings, NaN in rows without one; None where they were not asked for. A
        teacher of whom none is known has ``n_dims`` 0.
    n_embedded : int
        Number of rows asked about for their embedding alone: their label was known.
        They are not among `n_paid`, nor are they in the ledger.
    """

    labels: np.ndarray
    paid: np.ndarray
    labeled: np.ndarray
    n_paid: int
    n_free: int
    seconds: float
    n_calls: int
    cost: float = 0.0
    n_refused: int = 0
    embeddings: np.ndarray | None = None
    n_embedded: int = 0


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
    with_embeddings=False,
):
    """Label the rows of `X`, paying only for distinct rows the ledger lacks.

    The rows are looked up; each distinct unknown one is asked for once, in the
    order in which it first comes; every batch is in the ledger before the next is
    asked. A fault in a batch therefore costs that batch alone, and nothing is ever
    asked again silently. A row that somebody else is paying for through the same
    ledger is waited for. Where the ledger's budget ends, the rest stays without a
    label.

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
        Where labels are looked up and recorded. None: nothing is remembered after
        this purchase.
    batch_size : int or None, default=None
        Rows per call. None: as the teacher has it (``claim_size``), else one
        call.
    max_rows : int or None, default=None
        At most so many rows are paid for; those beyond stay without a label. None:
        no limit.
    on_batch : callable or None, default=None
        Called as ``on_batch(n_paid, n_to_pay)`` each time something was recorded.
    identity : str or None, default=None
        The teacher's identity, where the caller has it already: deriving that of a
        large fitted estimator takes longer than a small purchase. None:
        ``teacher.identity``.
    with_embeddings : bool, default=False
        Whether the teacher's embeddings are bought with the labels and kept beside
        them in the ledger. For a row whose label is known to the ledger and whose
        embedding is not, the embedding is asked for only where the teacher can give
        it alone (``teacher.can_embed_only``); elsewhere it stays NaN, and no label is
        paid twice.

    Returns
    -------
    purchase : LabelPurchase
        Labels, and what they took.

    Raises
    ------
    TeacherError
        If the teacher fails; its attribute ``n_paid`` tells how many rows of this
        purchase had been paid for, recorded and kept before. Before anything is paid:
        if embeddings are wanted of a teacher that gives none, or if the teacher can
        be told from others in this process only and the ledger outlives it.
    BudgetError
        If `batch_size` or `max_rows` is not a count of rows, or the ledger is limited
        in money and the teacher names no price.
    LedgerError
        If the ledger fails. Labels that were paid for and could not be recorded are
        in its attribute ``unrecorded``, as rows of `X` and their labels.

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
    keep = ledger is not None
    classes = np.asarray(classes)
    identity = teacher.identity if identity is None else identity
    check_identity(identity, ledger, teacher.display_name)
    if with_embeddings and not teacher.has_embeddings:
        raise_without_embeddings(teacher.display_name)
    buyer = _Buyer(teacher, X, classes, ledger if keep else MemoryLedger(), identity)
    buyer.with_embeddings = with_embeddings
    todo = buyer.unknown_rows()[:max_rows]
    n_wanted = len(todo)
    if on_batch is not None:
        buyer.on_part = lambda: on_batch(buyer.n_paid, n_wanted)
    try:
        while len(todo):
            step = batch_size or teacher.claim_size or len(todo)
            for start in range(0, len(todo), step):
                buyer.pay(todo[start : start + step])
            todo = buyer.wait_for_others(todo)
        if with_embeddings and teacher.can_embed_only:
            buyer.embed_the_rest(batch_size)
    except TeacherError as error:
        _add_receipt(error, buyer.n_paid, keep)
        raise
    purchase = buyer.purchase()
    _log_purchase(teacher, purchase)
    return purchase


class _Buyer:
    """Where one purchase is made: what is known so far and what it took."""

    def __init__(self, teacher, X, classes, ledger, identity):
        self.teacher = teacher
        self.X = X
        self.classes = classes
        self.ledger = ledger
        self.identity = identity
        self.keys = row_keys(X)
        self.labeled, self.labels = ledger.lookup(self.keys, identity, classes)
        self.paid = np.zeros(len(self.keys), dtype=bool)
        self.refused = np.zeros(len(self.keys), dtype=bool)
        self.n_paid, self.n_calls, self.cost, self.seconds = 0, 0, 0.0, 0.0
        self.n_embedded = 0
        self.with_embeddings = False
        self.pause = _PAUSES[0]
        self.on_part = lambda: None

    def unknown_rows(self):
        """Return the first row of each distinct content without a label."""
        self.unknown = np.flatnonzero(~self.labeled)
        self.first_seen = _first_of_each(self.keys, self.unknown)
        return np.array(list(self.first_seen.values()), dtype=np.intp)

    def pay(self, rows):
        """Ask about those rows of a batch that are ours to pay, and record them."""
        claim = self.ledger.claim(
            self.keys[rows],
            self.identity,
            self.classes,
            max_cost_per_row=self.teacher.max_cost_per_row,
        )
        self.refused[rows[claim.refused]] = True
        rows = rows[claim.granted]
        if not len(rows):
            return
        clock = time.perf_counter()
        # A teacher without embeddings need not know the word.
        extra = {"with_embeddings": True} if self.with_embeddings else {}
        try:
            parts = self.teacher.ask_parts(
                copy_rows(self.X, rows), self.classes, row_numbers=rows, **extra
            )
            # Closed at once where recording fails: calls in flight end with it.
            with contextlib.closing(_as_generator(parts)) as parts:
                for part in parts:
                    with held_interrupts():
                        self._keep(rows[part.rows], part, claim)
                    self.on_part()
        except BaseException as error:
            n_left = int(np.sum(~self.labeled[rows]))
            cost = _fault_cost(
                error, self.teacher.display_name, n_left, claim.max_cost_per_row
            )
            # The first error says more than one about a ledger that is no better.
            with contextlib.suppress(LedgerError):
                self.ledger.release(
                    claim,
                    fault=type(error).__name__,
                    cost=cost,
                    seconds=time.perf_counter() - clock,
                )
            raise
        self.n_calls += 1

    def _keep(self, rows, part, claim):
        """Record one part, then use it."""
        try:
            self.ledger.record(
                self.keys[rows],
                self.identity,
                self.classes,
                part.labels,
                cost=part.cost,
                seconds=part.seconds,
                embeddings=part.embeddings,
                claim=claim,
            )
        except LedgerError as error:
            _add_labels(error, rows, part.labels)
            raise
        self.labels[rows] = part.labels
        self.paid[rows] = self.labeled[rows] = True
        self.n_paid += len(rows)
        self.cost += part.cost or 0.0
        self.seconds += part.seconds

    def embed_the_rest(self, batch_size):
        """Ask for the embeddings of rows whose label came without one."""
        known, _ = self.ledger.lookup_embeddings(self.keys, self.identity)
        first = _first_of_each(self.keys, np.flatnonzero(self.labeled & ~known))
        todo = np.array(list(first.values()), dtype=np.intp)
        step = batch_size or max(1, len(todo))
        for start in range(0, len(todo), step):
            rows = todo[start : start + step]
            clock = time.perf_counter()
            embeddings = self.teacher.embed(copy_rows(self.X, rows), row_numbers=rows)
            seconds = time.perf_counter() - clock
            with held_interrupts():
                self.ledger.record_embeddings(
                    self.keys[rows], self.identity, embeddings, seconds=seconds
                )
            self.n_embedded += len(rows)
            self.n_calls += 1
            self.seconds += seconds

    def wait_for_others(self, rows):
        """Take what others paid for meanwhile; return the rows still open."""
        rows = rows[~self.labeled[rows] & ~self.refused[rows]]
        if not len(rows):
            return rows
        known, labels = self.ledger.lookup(self.keys[rows], self.identity, self.classes)
        self.labels[rows[known]] = labels[known]
        self.labeled[rows[known]] = True
        if not known.any():
            if self.pause == _PAUSES[0]:
                logger.info("waiting for %d rows that others pay for", len(rows))
            time.sleep(self.pause)
            self.pause = min(2 * self.pause, _PAUSES[1])
        return rows[~known]

    def purchase(self):
        """Give rows of equal content the same label and sum up."""
        keys = self.keys[self.unknown].tolist()
        source = np.array([self.first_seen[key] for key in keys], dtype=np.intp)
        self.labels[self.unknown] = self.labels[source]
        self.labeled[self.unknown] = self.labeled[source]
        embeddings = None
        if self.with_embeddings:
            _, embeddings = self.ledger.lookup_embeddings(self.keys, self.identity)
        return LabelPurchase(
            labels=self.labels,
            paid=self.paid,
            labeled=self.labeled,
            n_paid=self.n_paid,
            n_free=int(self.labeled.sum()) - self.n_paid,
            seconds=self.seconds,
            n_calls=self.n_calls,
            cost=self.cost,
            n_refused=int(self.refused.sum()),
            embeddings=embeddings,
            n_embedded=self.n_embedded,
        )


def _fault_cost(error, who, n_left, price):
    """Return what a call without an answer counts; say so where nobody else does."""
    cost = getattr(error, "cost", None)
    if cost is not None:  # a teacher that knows has said it
        return cost
    cost = n_left * (price or 0.0)
    logger.warning(
        "%s: rows left without an answer by %s: %d; they may be billed and count as %g",
        who,
        type(error).__name__,
        n_left,
        cost,
    )
    return cost


def _log_purchase(teacher, purchase):
    """Say what was bought; silent where there was nothing to buy."""
    if not len(purchase.labels):
        return
    logger.info(
        "%s: rows paid %d, free %d, beyond the ledger's budget %d; calls %d, cost %g, "
        "%.2f s",
        teacher.display_name,
        purchase.n_paid,
        purchase.n_free,
        purchase.n_refused,
        purchase.n_calls,
        purchase.cost,
        purchase.seconds,
    )


def _as_generator(parts):
    """Give what a teacher of one's own returns a `close`."""
    return parts if hasattr(parts, "close") else (part for part in parts)


def _first_of_each(keys, rows):
    """Map each distinct key among `rows` to the first row that has it."""
    first: dict[bytes, int] = {}
    for i, key in zip(rows.tolist(), keys[rows].tolist(), strict=True):
        first.setdefault(key, i)
    return first


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


def _add_labels(error, rows, labels):
    """Add to a fault of the ledger the labels that it could not take."""
    error.unrecorded = rows, labels
    error.args = (
        f"{str(error).removesuffix('.')}; labels of {len(rows)} rows just paid for are "
        "in this error's attribute `unrecorded`.",
    )


def _check_count(name, value, smallest):
    """Refuse a count of rows that is not one."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or value < smallest:
        raise BudgetError(
            f"{name} is {value!r}; pass an integer of at least {smallest}, or None."
        )
