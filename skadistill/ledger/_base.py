"""The memory of every label ever paid for."""

from abc import ABC, abstractmethod

import numpy as np

from skadistill._rows._keys import KEY_DTYPE
from skadistill.exceptions import LedgerError

__all__ = ["BaseLedger"]

#: What a ledger counts for each teacher.
NO_COUNTS = {
    "n_labels": 0,
    "n_paid": 0,
    "n_calls": 0,
    "n_failed": 0,
    "n_lost": 0,
    "cost": 0.0,
    "seconds": 0.0,
}


class BaseLedger(ABC):
    """Remember paid labels by row content and teacher; the contract of every ledger.

    A ledger only remembers, and says how much more may be spent. It never asks a
    teacher, and never answers for another teacher, for another set of classes or for
    a row it has not seen. A subclass stores and finds (`_store`, `_find`,
    `_store_embeddings`, `_find_embeddings`, `_reserve`, `_end`); the checks are done
    here, once for all ledgers.

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
    """

    max_rows: int | None = None
    max_cost: float | None = None
    outlives_process: bool = False

    def __sklearn_clone__(self):
        return self

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
            Which rows have a label.
        labels : ndarray of float64 of shape (n_samples, n_classes)
            To the last bit as recorded, columns in the order of `classes`; NaN
            where unknown.
        """
        keys = _checked_keys(keys)
        classes = _checked_classes(classes)
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
            To the last bit as recorded; NaN where unknown. A teacher of whom no
            embedding was ever recorded has ``n_dims`` 0.
        """
        keys = _checked_keys(keys)
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
        """Remember labels that were paid for.

        A row that already has a label keeps its first one, so that a label never
        changes under a fit that uses it; the second payment is counted. The same
        holds for embeddings, each apart from its label: a row whose label came
        without an embedding may be given one later.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_samples,)
            Keys made by `row_keys`.
        teacher_id : str
            The teacher's identity.
        classes : array-like of shape (n_classes,)
            What the columns mean.
        labels : ndarray of shape (n_samples, n_classes)
            Checked probabilities.
        cost : float or None, default=None
            What these rows cost together, in the user's money.
        seconds : float or None, default=None
            How long the teacher took for them together.
        embeddings : array-like of shape (n_samples, n_dims) or None, default=None
            What else the teacher said about the rows; kept as float32. All
            embeddings of one teacher have the same ``n_dims``.
        claim : Claim or None, default=None
            The claim under which the rows were paid for; they leave it.

        Raises
        ------
        LedgerError
            If keys, classes, labels and embeddings do not fit together.
        """
        keys = _checked_keys(keys)
        classes = _checked_classes(classes)
        labels = check_labels(labels, len(keys), len(classes))
        if embeddings is not None:
            embeddings = check_embeddings(embeddings, len(keys))
        self._store(
            keys,
            teacher_id,
            classes,
            labels,
            embeddings,
            cost or 0.0,
            seconds or 0.0,
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
        keys = _checked_keys(keys)
        embeddings = check_embeddings(embeddings, len(keys))
        self._store_embeddings(
            keys, teacher_id, embeddings, cost or 0.0, seconds or 0.0
        )

    def claim(self, keys, teacher_id, classes, *, max_cost_per_row=None):
        """Reserve rows before paying for them, as far as the budget goes.

        Nobody else is granted the same rows until they are recorded or the claim is
        ended with `release`, and what is reserved counts as spent. Release a claim
        of which rows were not recorded.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_samples,)
            Keys made by `row_keys`, all different.
        teacher_id : str
            The teacher's identity.
        classes : array-like of shape (n_classes,)
            The columns that will be asked for.
        max_cost_per_row : float or None, default=None
            What one row can cost at most. None: not known, which a ledger with
            `max_cost` refuses.

        Returns
        -------
        claim : Claim
            ``granted`` and ``refused``; rows in neither got a label meanwhile, or
            somebody else is paying for them: look them up again.

        Raises
        ------
        BudgetError
            If the ledger has a `max_cost` and there is no price.
        """
        keys = _checked_keys(keys)
        return self._reserve(
            keys, teacher_id, _checked_classes(classes), max_cost_per_row
        )

    def release(self, claim, *, fault=None, cost=None, seconds=None):
        """End a claim; rows of it that were not recorded are free again.

        Parameters
        ----------
        claim : Claim
            As `claim` returned it. Ending one twice changes nothing.
        fault : str or None, default=None
            The name of the error that kept the rows from being answered; they are
            then counted in ``n_failed``.
        cost : float or None, default=None
            What the fault cost, in the user's money.
        seconds : float or None, default=None
            How long it took.
        """
        self._end(claim, fault, cost or 0.0, seconds or 0.0)

    @property
    def n_paid(self):
        """Number of rows paid for, a row paid twice counted twice."""
        return self.summary()["n_paid"]

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
            ``n_labels`` (distinct), ``n_paid`` (rows, repeats counted), ``n_calls``
            (batches recorded), ``n_failed`` (rows that came to a fault),
            ``n_lost`` (rows whose buyer died before it recorded them), ``cost``,
            ``seconds``; and ``teachers``, the same seven for each identity.
        """


def total_summary(teachers):
    """Add up what each teacher was paid.

    Parameters
    ----------
    teachers : dict of dict
        Counts for each identity.

    Returns
    -------
    summary : dict
        Totals, and ``teachers``.

    Examples
    --------
    >>> from skadistill.ledger._base import NO_COUNTS, total_summary
    >>> total_summary({"a": NO_COUNTS | {"n_paid": 2}, "b": NO_COUNTS})["n_paid"]
    2
    """
    total = {
        name: sum((counts[name] for counts in teachers.values()), start=zero)
        for name, zero in NO_COUNTS.items()
    }
    return {**total, "teachers": teachers}


def column_order(stored, wanted):
    """Return where among the stored classes each wanted one is.

    Parameters
    ----------
    stored, wanted : sequence of n_classes labels
        The same classes in two orders.

    Returns
    -------
    order : list of int
        ``table[:, order]`` has the wanted columns.

    Examples
    --------
    >>> from skadistill.ledger._base import column_order
    >>> column_order(["a", "b", "c"], ["c", "a", "b"])
    [2, 0, 1]
    """
    position = {c: i for i, c in enumerate(stored)}
    return [position[c] for c in wanted]


def check_width(embeddings, n_dims, teacher_id):
    """Refuse embeddings of another width than those of the same teacher before.

    Parameters
    ----------
    embeddings : ndarray of shape (n_samples, n_new_dims)
        The new ones.
    n_dims : int
        The width of those recorded before.
    teacher_id : str
        The teacher's identity, for the message.

    Raises
    ------
    LedgerError
        If they differ.
    """
    if embeddings.shape[1] != n_dims:
        raise LedgerError(
            f"embeddings have {embeddings.shape[1]} columns where those recorded of "
            f"{teacher_id!r} have {n_dims}; give a teacher whose embeddings have "
            "changed a new version."
        )


def check_labels(labels, n_samples, n_classes):
    """Return labels as float64, one finite row a key.

    Parameters
    ----------
    labels : array-like of shape (n_samples, n_classes)
        Checked probabilities.
    n_samples, n_classes : int
        The shape they must have.

    Returns
    -------
    labels : ndarray of float64 of shape (n_samples, n_classes)
        The same.

    Raises
    ------
    LedgerError
        If they have another shape or are not finite.
    """
    labels = np.asarray(labels, dtype=np.float64)
    if labels.shape != (n_samples, n_classes):
        raise LedgerError(
            f"labels have shape {labels.shape} where there are {n_samples} keys and "
            f"{n_classes} classes; pass one row a key and one column a class."
        )
    if not np.isfinite(labels).all():
        raise LedgerError(
            f"labels hold {labels[~np.isfinite(labels)][0]}; record answers that were "
            "checked, as BaseTeacher.ask returns them."
        )
    return labels


def check_embeddings(embeddings, n_samples):
    """Return embeddings as float32, one finite row a key.

    Parameters
    ----------
    embeddings : array-like of shape (n_samples, n_dims)
        Numbers.
    n_samples : int
        How many rows there must be.

    Returns
    -------
    embeddings : ndarray of float32 of shape (n_samples, n_dims)
        The same.

    Raises
    ------
    LedgerError
        If they have another shape or are not finite.
    """
    embeddings = np.asarray(embeddings, dtype=np.float32)
    if embeddings.ndim != 2 or len(embeddings) != n_samples or embeddings.shape[1] == 0:
        raise LedgerError(
            f"embeddings have shape {embeddings.shape} where there are {n_samples} "
            "keys; pass one row of numbers per key."
        )
    if not np.isfinite(embeddings).all():
        raise LedgerError(
            f"embeddings hold {embeddings[~np.isfinite(embeddings)][0]}; record finite "
            "numbers (float32 ends at 3.4e38)."
        )
    return embeddings


def _checked_keys(keys):
    """Refuse keys that `row_keys` did not make."""
    keys = np.asarray(keys)
    if keys.dtype != KEY_DTYPE or keys.ndim != 1:
        raise LedgerError(
            f"keys have dtype {keys.dtype} and shape {keys.shape}; pass what row_keys "
            "returns, one key a row."
        )
    return keys


def _checked_classes(classes):
    """Return the classes as a tuple of plain values, refusing repeats."""
    classes = tuple(np.asarray(classes).tolist())
    if len(set(classes)) != len(classes):
        raise LedgerError(
            f"classes are {list(classes)!r}, with repeats; name every column once."
        )
    return classes
