"""The contract of every ledger."""

import math
from abc import ABC, abstractmethod

import numpy as np

from skadistill._interrupts import held_interrupts
from skadistill._rows._keys import row_keys
from skadistill.exceptions import BudgetError, LedgerError
from skadistill.ledger._budget import check_amount
from skadistill.ledger._checks import (
    check_classes,
    check_embeddings,
    check_keys,
    check_labels,
)
from skadistill.ledger._owned import owned_frame

__all__ = ["BaseLedger"]


class BaseLedger(ABC):
    """Remember paid labels by row content and teacher; the contract of every ledger.

    A ledger only remembers, and says how much more may be spent. It never asks a
    teacher, and never answers for another teacher, for another set of classes or for
    a row it has not seen. A subclass writes eight methods: `_find`,
    `_find_embeddings`, `_store`, `_store_embeddings`, `_reserve`, `_end`, `summary`
    and ``__len__``. The checks are done here, once for all ledgers. The other methods
    may be left as they are.

    Clones share a ledger: ``clone`` returns it.

    Attributes
    ----------
    max_rows : int or None
        Rows that may be paid for in the ledger's whole life, all teachers together;
        None: no limit.
    max_cost : float or None
        Money that may be paid in its whole life; None: no limit.
    outlives_process : bool
        Whether its labels are still there when the process has ended. A teacher must
        then be known again by the next one.

    See Also
    --------
    MemoryLedger : Lives as long as the process.
    LabelLedger : Lives in a file.
    skadistill.testing.check_ledger : Checks a ledger of your own.

    Examples
    --------
    >>> from skadistill.ledger import BaseLedger, MemoryLedger
    >>> isinstance(MemoryLedger(), BaseLedger)
    True
    """

    max_rows: int | None = None
    max_cost: float | None = None
    outlives_process: bool = False

    def __sklearn_clone__(self):
        return self

    def __bool__(self):
        # An empty ledger is a ledger: `ledger or MemoryLedger()` must not drop it.
        return True

    def lookup(self, keys, teacher_id, classes):
        """Find the labels already paid for.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_samples,)
            Keys made by `row_keys`.
        teacher_id : str
            The teacher's identity.
        classes : array-like of shape (n_classes,)
            The columns wanted, in any order. Labels paid under another *set* of
            classes are not known here: the teacher was asked another question.

        Returns
        -------
        known : ndarray of bool of shape (n_samples,)
            Which rows were answered.
        labels : ndarray of float64 of shape (n_samples, n_classes)
            To the last bit as recorded, columns in the order of `classes`; NaN in
            rows that are not known, and in those answered without a label.

        Raises
        ------
        LedgerError
            If what is found is damaged.
        """
        keys = check_keys(keys)
        classes = check_classes(classes)
        known, labels = self._find(keys, teacher_id, classes)
        labels[~known] = np.nan
        return known, labels

    def lookup_embeddings(self, keys, teacher_id):
        """Find the embeddings that came with labels already paid for.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_samples,)
            Keys made by `row_keys`.
        teacher_id : str
            The teacher's identity. The classes do not matter: an embedding is the
            same whatever was asked.

        Returns
        -------
        known : ndarray of bool of shape (n_samples,)
            Which rows have an embedding.
        embeddings : ndarray of float32 of shape (n_samples, n_dims)
            To the last bit as recorded; NaN in rows that are not known. ``n_dims``
            is 0 if no embedding of the teacher was ever recorded.
        """
        keys = check_keys(keys)
        known, embeddings = self._find_embeddings(keys, teacher_id)
        embeddings[~known] = np.nan
        return known, embeddings

    def record(
        self,
        keys,
        teacher_id,
        classes,
        labels,
        *,
        cost=None,
        seconds=None,
        embeddings=None,
        claim=None,
    ):
        """Remember answers that were paid for.

        A row that already has a label keeps its first one, so that a label never
        changes under a fit that uses it; the second payment is counted. The same
        holds for embeddings, each apart from its label: a row whose label came
        without an embedding may be given one later. A row whose labels are all NaN
        was answered without a label: it is known, and a later label replaces it.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_samples,)
            Keys made by `row_keys`.
        teacher_id : str
            The teacher's identity.
        classes : array-like of shape (n_classes,)
            What the columns mean.
        labels : ndarray of shape (n_samples, n_classes)
            Probabilities; a row of NaN: asked, paid, no label.
        cost : float, Decimal or None, default=None
            What these rows cost together, in the user's money.
        seconds : float or None, default=None
            How long the teacher took for them together.
        embeddings : array-like of shape (n_samples, n_dims) or None, default=None
            What else the teacher said about the rows; kept as float32. All
            embeddings of one teacher have the same ``n_dims``.
        claim : Claim or None, default=None
            The claim under which the rows were paid for; they leave it, and its
            lease begins again. Rows of it that were counted as lost meanwhile are
            so no longer.

        Raises
        ------
        LedgerError
            If keys, classes, labels and embeddings do not fit together, or a cost is
            not an amount.
        """
        keys = check_keys(keys)
        classes = check_classes(classes)
        labels = check_labels(labels, len(keys), len(classes))
        if embeddings is not None:
            embeddings = check_embeddings(embeddings, len(keys))
        self._store(
            keys,
            teacher_id,
            classes,
            labels,
            embeddings,
            _amount(cost, "cost"),
            _amount(seconds, "seconds"),
            claim,
        )

    def record_embeddings(
        self, keys, teacher_id, embeddings, *, cost=None, seconds=None
    ):
        """Remember embeddings that came without labels.

        No label was paid for: ``n_paid`` stays, and `max_rows` is not touched; the
        call, its cost and its seconds are counted.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_samples,)
            Keys made by `row_keys`.
        teacher_id : str
            The teacher's identity.
        embeddings : array-like of shape (n_samples, n_dims)
            What the teacher said about the rows; kept as float32. A row that has one
            keeps it.
        cost : float or None, default=None
            What they cost together, in the user's money.
        seconds : float or None, default=None
            How long they took together.

        Raises
        ------
        LedgerError
            If keys and embeddings do not fit together, or the embeddings have
            another width than those before.
        """
        keys = check_keys(keys)
        embeddings = check_embeddings(embeddings, len(keys))
        self._store_embeddings(
            keys,
            teacher_id,
            embeddings,
            _amount(cost, "cost"),
            _amount(seconds, "seconds"),
        )

    def claim(self, keys, teacher_id, classes, *, max_cost_per_row=None):
        """Reserve rows before paying for them, as far as the budget goes.

        Nobody else is granted the same rows until they are recorded or the claim
        ends, and what is reserved counts as spent. Recording rows returns what was
        reserved for them beyond their cost. Release a claim if some of its rows will
        not be recorded. A claim also ends when nothing refers to the `Claim` any
        more, with its thread or process, and when its thread claims a row of it
        again.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_samples,)
            Keys made by `row_keys`, all different.
        teacher_id : str
            The teacher's identity.
        classes : array-like of shape (n_classes,)
            The columns that will be asked for.
        max_cost_per_row : float, Decimal or None, default=None
            What one row can cost at most. None: not known, which a ledger with
            `max_cost` refuses.

        Returns
        -------
        claim : Claim
            ``granted``, ``refused`` and ``waiting``; rows in none of them got a label
            meanwhile, or somebody else is paying for them: look them up again.

        Raises
        ------
        BudgetError
            If the ledger has a `max_cost` and there is no price, or the price is not
            an amount.
        """
        keys, classes = check_keys(keys), check_classes(classes)
        if max_cost_per_row is not None:
            max_cost_per_row = check_amount(
                max_cost_per_row, "max_cost_per_row", BudgetError
            )
        claim = None
        try:
            # Ctrl-C after the reservation would leave a claim that nobody knows.
            with held_interrupts():
                claim = self._reserve(keys, teacher_id, classes, max_cost_per_row)
        except BaseException:
            if claim is not None:
                self.release(claim)
            raise
        return claim

    def sending(self, claim, keys):
        """Mark rows of a claim as sent, just before a teacher is called about them.

        If the process is killed, or its lease ends, rows that are marked and were
        not recorded count as lost, with their cost; the others are free again and
        cost nothing. Until they are recorded or the claim is released, the ledger
        keeps the claim's lease from ending.

        Parameters
        ----------
        claim : Claim
            As `claim` returned it.
        keys : ndarray of dtype V16 and shape (n_rows,)
            Rows granted by it that are about to be sent.

        Returns
        -------
        held : ndarray of bool of shape (n_rows,)
            Which of them the claim still holds. The others were freed meanwhile,
            and somebody else may be paying for them: do not send them.
        """
        return self._send(claim, check_keys(keys))

    def renew(self, claim):
        """Let the lease of a claim begin again.

        Recording rows of it and `sending` do so, too.

        Parameters
        ----------
        claim : Claim
            As `claim` returned it.

        Returns
        -------
        open : bool
            Whether the claim is still open.
        """
        return self._renew(claim)

    def release(self, claim, *, fault=None, cost=None, seconds=None):
        """End a claim; rows of it that were not recorded are free again.

        Parameters
        ----------
        claim : Claim
            As `claim` returned it. Ending one twice changes nothing.
        fault : str or None, default=None
            The name of the error that kept the rows from being answered; they are
            then counted in ``n_failed``.
        cost : float, Decimal or None, default=None
            What the fault cost, in the user's money.
        seconds : float or None, default=None
            How long it took.
        """
        self._end(claim, fault, _amount(cost, "cost"), _amount(seconds, "seconds"))

    def claims(self):
        """List the open claims: who is paying for rows, since when and until when.

        Returns
        -------
        claims : list of dict
            For each ``owner`` (a text), ``teacher`` (its identity), ``n_rows`` (not
            answered yet), ``n_sent`` (of these, sent to the teacher), ``since`` and
            ``until`` (datetime in UTC; None: as long as the owner runs).
        """
        return self._open_claims()

    def free_claims(self, owner=None):
        """End open claims by hand, whoever holds them.

        For claims whose owner will not come back. Rows that were sent count as lost,
        since they may be billed. The labels of an owner that does come back are
        still recorded.

        Parameters
        ----------
        owner : str or None, default=None
            Only claims of this owner, as `claims` names it. None: all claims.

        Returns
        -------
        n_rows : int
            Number of rows that are free again.
        """
        return self._free(owner)

    def write_off(self, teacher_id=None):
        """Set the cost of lost rows to nothing, once the bill shows that it was.

        Parameters
        ----------
        teacher_id : str or None, default=None
            Only what this teacher's claims lost. None: of all teachers.

        Returns
        -------
        written_off : dict
            ``n_rows`` that no longer count as lost, and the ``cost`` that they had
            counted as.
        """
        n_rows, cost = self._write_off(teacher_id)
        return {"n_rows": n_rows, "cost": cost}

    def forget_no_label(self, teacher_id=None):
        """Forget answers without a label, so that their rows are asked about again.

        What was paid for them stays counted.

        Parameters
        ----------
        teacher_id : str or None, default=None
            Only answers of this teacher. None: of all teachers.

        Returns
        -------
        n_rows : int
            Number of answers forgotten.

        Raises
        ------
        LedgerError
            If this kind of ledger cannot forget.
        """
        return self._forget(teacher_id)

    def labels_for(self, X, teacher_id=None, classes=None):
        """Return the labels that are owned for some rows.

        Parameters
        ----------
        X : container of n_samples rows
            As a teacher is asked about them.
        teacher_id : str or None, default=None
            Only labels of this teacher. None: of all teachers.
        classes : array-like of shape (n_classes,) or None, default=None
            Only labels over this set of classes, in this order. None: all.

        Returns
        -------
        owned : DataFrame
            One row per label: ``row`` (its position in `X`), ``teacher`` (the
            identity), ``classes`` (a tuple), ``label`` (an array of float64 with one
            probability per class; NaN: answered without a label) and ``cost`` (the
            row's share of what its call cost; NaN if this is not known).

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> from skadistill.ledger import MemoryLedger, row_keys
        >>> ledger, X = MemoryLedger(), ["good", "bad", "fine"]
        >>> ledger.record(
        ...     row_keys(X[:1]), "me", ["neg", "pos"], [[0.25, 0.75]], cost=0.5)
        >>> ledger.labels_for(X)[["row", "teacher", "label", "cost"]]
           row teacher         label  cost
        0    0      me  [0.25, 0.75]   0.5
        """
        classes = None if classes is None else check_classes(classes)
        return owned_frame(self, row_keys(X), teacher_id, classes)

    @property
    def n_paid(self):
        """Number of rows paid for; a row paid for twice is counted twice."""
        return self.summary()["n_paid"]

    def _send(self, claim, keys):
        """Mark rows as sent; return which ones the claim holds."""
        return np.ones(len(keys), dtype=bool)

    def _renew(self, claim):
        """Let a lease begin again; return whether the claim is open."""
        return True

    def _open_claims(self):
        """Return what `claims` returns."""
        return []

    def _free(self, owner):
        """End claims; return the number of rows."""
        return 0

    def _write_off(self, teacher_id):
        """Return how many lost rows were written off, and their cost."""
        return 0, 0.0

    def _forget(self, teacher_id):
        """Delete answers without a label; return their number."""
        raise LedgerError(
            f"{type(self).__name__} cannot forget answers without a label; write its "
            "method _forget."
        )

    def _questions(self):
        """List the pairs of a teacher's identity and the classes it was asked for."""
        raise LedgerError(
            f"{type(self).__name__} cannot list its teachers; write its method "
            "_questions."
        )

    def _costs(self, keys, teacher_id, classes):
        """Return what each of some known rows cost."""
        return np.full(len(keys), math.nan)

    @abstractmethod
    def _find(self, keys, teacher_id, classes):
        """Return known and labels (any value where unknown); arguments are checked."""

    @abstractmethod
    def _find_embeddings(self, keys, teacher_id):
        """Return known and embeddings (any value where unknown); keys are checked."""

    @abstractmethod
    def _store(
        self, keys, teacher_id, classes, labels, embeddings, cost, seconds, claim
    ):
        """Keep labels and embeddings of new keys, count all; arguments are checked.

        All or nothing: a fault, such as embeddings of another width than before,
        leaves the ledger as it was.
        """

    @abstractmethod
    def _store_embeddings(self, keys, teacher_id, embeddings, cost, seconds):
        """Keep embeddings of new keys, count the call; arguments are checked."""

    @abstractmethod
    def _reserve(self, keys, teacher_id, classes, price):
        """Return a Claim; arguments are checked."""

    @abstractmethod
    def _end(self, claim, fault, cost, seconds):
        """Drop a claim and count its fault, if any."""

    @abstractmethod
    def __len__(self):
        """Return the number of labels, one per teacher, set of classes and row."""

    @abstractmethod
    def summary(self):
        """Sum up what was paid.

        Returns
        -------
        summary : dict
            ``n_labels`` (distinct), ``n_no_label`` (distinct rows answered without a
            label), ``n_paid`` (rows, repeats counted), ``n_calls`` (batches
            recorded), ``n_failed`` (rows that came to a fault), ``n_lost`` (rows sent
            under a claim that ended before they were recorded), ``cost``,
            ``seconds``; and ``teachers``, the same eight for each identity.
        """


def _amount(value, name):
    """Return a checked amount; None is 0."""
    return 0.0 if value is None else check_amount(value, name)
