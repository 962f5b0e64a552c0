"""What was bought: labels, and their price."""

from dataclasses import dataclass

import numpy as np

__all__ = ["LabelPurchase"]


@dataclass(frozen=True, eq=False)
class LabelPurchase:
    """Hold the labels that `buy_labels` bought or found, and what they cost.

    Attributes
    ----------
    labels : ndarray of float64 of shape (n_samples, n_classes)
        Soft labels; NaN in rows without a label.
    paid : ndarray of bool of shape (n_samples,)
        The rows the teacher was asked about, one for each distinct content; rows
        that it gave no label included.
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
        Number of batches that the teacher was asked about.
    cost : float
        What the rows paid for cost, as far as the teacher names prices.
    n_refused : int
        Number of distinct rows for which the ledger's budget did not suffice.
    embeddings : ndarray of float32 of shape (n_samples, n_dims) or None
        Embeddings, NaN in rows without one; None if they were not asked for. If none
        is known of the teacher, ``n_dims`` is 0.
    n_embedded : int
        Number of rows asked about for their embedding alone: their label was known.
        They are not among `n_paid`, nor are they in the ledger.
    no_label : ndarray of bool of shape (n_samples,) or None
        The rows that the teacher gave no label, here or earlier: it refused them, or
        its answer could not be used. They are paid for and not asked about again.
    n_no_label : int
        Number of distinct rows among them.

    Examples
    --------
    >>> from skadistill.labeling import buy_labels
    >>> def teacher(texts):
    ...     return [None if text == "?" else "ham" for text in texts]
    >>> purchase = buy_labels(teacher, ["hello", "?"], classes=["ham", "spam"])
    >>> purchase.n_paid, purchase.labeled, purchase.n_no_label
    (2, array([ True, False]), 1)
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
    no_label: np.ndarray | None = None
    n_no_label: int = 0
