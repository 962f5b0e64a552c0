"""The contract of every ledger."""

import math
from abc import abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skadistill._rows._keys import KEY_DTYPE, row_keys
from skadistill._utils.interrupts import held_interrupts
from skadistill.exceptions import LedgerError
from skadistill.ledger._checks import (
    check_classes,
    check_embeddings,
    check_keys,
    check_labels,
)
from skadistill.ledger._claiming import Claiming, amount_or_zero, with_unanswered
from skadistill.ledger._owned import owned_frame

__all__ = ["BaseLedger"]


class BaseLedger(Claiming):
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
        Money that may be paid in its whole life, answers that were lost counted at
        the most that they can have cost; None: no limit.
    outlives_process : bool
        Whether its labels are still there when the process has ended. A teacher must
        then be known again by the next one.

    See Also
    --------
    MemoryLedger : Lives as long as the process.
    LabelLedger : Lives in a file.
    skadistill.testing.check_ledger : Checks a custom ledger.

    Examples
    --------
    >>> from skadistill.ledger import BaseLedger, MemoryLedger
    >>> isinstance(MemoryLedger(), BaseLedger)
    True
    """

    max_rows: int | None = None
    max_cost: float | None = None
    outlives_process: bool = False

    def __sklearn_clone__(self) -> Self:
        return self

    def __bool__(self) -> bool:
        # An empty ledger is a ledger: `ledger or MemoryLedger()` must not drop it.
        return True

    def lookup(
        self, keys: NDArray[Any], teacher_id: str, classes: Any
    ) -> tuple[Any, ...]:
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

    def lookup_embeddings(self, keys: NDArray[Any], teacher_id: str) -> tuple[Any, ...]:
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
        keys: NDArray[Any],
        teacher_id: str,
        classes: Any,
        labels: NDArray[Any],
        *,
        cost: Any = None,
        seconds: float | None = None,
        embeddings: Any = None,
        claim: Any = None,
        paid: bool = True,
        model: str | None = None,
        unanswered: tuple[Any, ...] | None = None,
    ) -> None:
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
        paid : bool, default=True
            Whether the rows count as paid; answers that came with those to another
            question do not.
        model : str or None, default=None
            Which model answered, as its endpoint says, see `models`.
        unanswered : tuple of (int, float) or None, default=None
            Earlier calls about these rows that may be billed and brought no answer,
            for example because the connection broke: their number of rows, and what
            they cost at most.

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
        if model is not None and not isinstance(model, str):
            raise LedgerError(f"model is {model!r}; pass a string, or None.")
        cost, seconds = amount_or_zero(cost, "cost"), amount_or_zero(seconds, "seconds")
        cost, extra = with_unanswered(self._store, cost, unanswered)
        # Ctrl-C half way would leave a label that is not counted, or the reverse.
        with held_interrupts():
            self._store(
                keys,
                teacher_id,
                classes,
                labels,
                embeddings,
                cost,
                seconds,
                claim,
                len(keys) if paid else 0,
                model,
                **extra,
            )

    def record_embeddings(
        self,
        keys: NDArray[Any],
        teacher_id: str,
        embeddings: Any,
        *,
        cost: float | None = None,
        seconds: float | None = None,
    ) -> None:
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
        cost, seconds = amount_or_zero(cost, "cost"), amount_or_zero(seconds, "seconds")
        with held_interrupts():
            self._store_embeddings(keys, teacher_id, embeddings, cost, seconds)

    def forget_no_label(self, teacher_id: str | None = None) -> int:
        """Forget answers without a label, so that their rows are asked about again.

        The payments for them stay counted.

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
        with held_interrupts():
            return self._forget(teacher_id)

    def labels_for(
        self, X: Any, teacher_id: str | None = None, classes: Any = None
    ) -> Any:
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

    def models(self, teacher_id: str | None = None) -> dict[str, Any]:
        """Count the paid rows that each model answered, as their endpoints said.

        The name under which a teacher asks may be an alias: what answers behind it
        can change, and with it the labels.

        Parameters
        ----------
        teacher_id : str or None, default=None
            Only answers of this teacher. None: of all teachers.

        Returns
        -------
        counts : dict
            Number of rows for each model, in the order in which they were first heard
            of. Answers of teachers that do not say who answers are not in it.

        Examples
        --------
        >>> from skadistill.ledger import MemoryLedger, row_keys
        >>> ledger = MemoryLedger()
        >>> keys = row_keys(["good", "bad"])
        >>> ledger.record(keys, "me", [0, 1], [[0, 1], [1, 0]], model="small-2026-11")
        >>> ledger.models("me")
        {'small-2026-11': 2}
        """
        return self._models(teacher_id)

    @property
    def n_paid(self) -> Any:
        """Number of rows paid for; a row paid for twice is counted twice."""
        return self.summary()["n_paid"]

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

    def _models(self, teacher_id):
        """Return what `models` returns."""
        return {}

    def _costs(self, keys, teacher_id, classes):
        """Return what each of some known rows cost."""
        return np.full(len(keys), math.nan)

    def _keys_in_order(self, teacher_id, classes, n_keys=None):
        """Return the first keys with an answer, in the order in which they were paid.

        Empty if the order is not known.
        """
        return np.empty(0, KEY_DTYPE)

    @abstractmethod
    def _find(self, keys, teacher_id, classes):
        """Return known and labels (any value where unknown); arguments are checked."""

    @abstractmethod
    def _find_embeddings(self, keys, teacher_id):
        """Return known and embeddings (any value where unknown); keys are checked."""

    @abstractmethod
    def _store(
        self,
        keys,
        teacher_id,
        classes,
        labels,
        embeddings,
        cost,
        seconds,
        claim,
        n_paid,
        model=None,
        unanswered=None,
    ):
        """Keep labels and embeddings of new keys, count all; arguments are checked.

        All or nothing: a fault, such as embeddings of another width than before,
        leaves the ledger as it was.
        """

    @abstractmethod
    def _store_embeddings(self, keys, teacher_id, embeddings, cost, seconds):
        """Keep embeddings of new keys, count the call; arguments are checked."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of labels, one per teacher, set of classes and row."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Return totals of rows, calls, money and time.

        Returns
        -------
        summary : dict
            ``n_labels`` (distinct), ``n_no_label`` (distinct rows answered without a
            label), ``n_paid`` (rows, repeats counted), ``n_calls`` (batches
            recorded), ``n_failed`` (rows that came to a fault), ``n_lost`` (rows sent
            under a claim that ended before they were recorded), ``n_unanswered``
            (rows of other calls that may be billed and brought no answer), ``cost``
            (of the answers), ``lost_cost`` (about what lost and unanswered rows cost:
            each the mean price of those that were answered), ``max_lost_cost`` (what
            they cost at most, which is what counts against `max_cost`), ``seconds``;
            and ``teachers``, the same for each identity.
        """
