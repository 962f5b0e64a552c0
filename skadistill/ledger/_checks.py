"""Checks of what is recorded in a ledger."""

import numpy as np

from skadistill._rows._keys import KEY_DTYPE
from skadistill.exceptions import LedgerError

__all__ = [
    "check_classes",
    "check_embeddings",
    "check_keys",
    "check_labels",
    "check_width",
    "not_probabilities",
]

#: How far a row of probabilities may miss the sum 1, as for a teacher's answers.
_SUM_TOLERANCE = 1e-3


def check_keys(keys):
    """Raise an error for keys that `row_keys` did not make."""
    keys = np.asarray(keys)
    if keys.dtype != KEY_DTYPE or keys.ndim != 1:
        raise LedgerError(
            f"keys have dtype {keys.dtype} and shape {keys.shape}; pass what row_keys "
            "returns, one key per row."
        )
    return keys


def check_classes(classes):
    """Return classes as a tuple of plain values."""
    classes = tuple(np.asarray(classes).tolist())
    if len(set(classes)) != len(classes):
        raise LedgerError(
            f"classes are {list(classes)!r}, with repeats; name every column once."
        )
    return classes


def check_labels(labels, n_samples, n_classes):
    """Return labels as float64."""
    labels = np.asarray(labels, dtype=np.float64)
    if labels.shape != (n_samples, n_classes):
        raise LedgerError(
            f"labels have shape {labels.shape} for {n_samples} keys and {n_classes} "
            "classes; pass one row per key and one column per class."
        )
    wrong = np.flatnonzero(not_probabilities(labels))
    if len(wrong):
        raise LedgerError(
            f"row {wrong[0]} of the labels is {labels[wrong[0]].tolist()}; record "
            "probabilities that sum to 1, as BaseTeacher.ask returns them, or a row of "
            "NaN for an answer without a label."
        )
    return labels


def not_probabilities(labels):
    """Find rows that are neither probabilities nor all NaN."""
    if labels.size == 0:
        return np.zeros(len(labels), dtype=bool)
    # Two passes over what is often large; NaN makes both comparisons false.
    with np.errstate(invalid="ignore", over="ignore"):
        wrong = ~(labels.min(axis=1) >= 0)
        wrong |= ~(abs(labels.sum(axis=1) - 1) <= _SUM_TOLERANCE)
    wrong[wrong] = ~np.isnan(labels[wrong]).all(axis=1)
    return wrong


def check_embeddings(embeddings, n_samples):
    """Return embeddings as float32."""
    embeddings = np.asarray(embeddings, dtype=np.float32)
    if embeddings.ndim != 2 or len(embeddings) != n_samples or embeddings.shape[1] == 0:
        raise LedgerError(
            f"embeddings have shape {embeddings.shape} for {n_samples} keys; pass one "
            "row of numbers per key."
        )
    if not np.isfinite(embeddings).all():
        raise LedgerError(
            f"embeddings hold {embeddings[~np.isfinite(embeddings)][0]}; record finite "
            "numbers (float32 ends at 3.4e38)."
        )
    return embeddings


def check_width(embeddings, n_dims, teacher_id):
    """Raise an error for embeddings of another width than those recorded before."""
    if embeddings.shape[1] != n_dims:
        raise LedgerError(
            f"embeddings have {embeddings.shape[1]} columns but those recorded of "
            f"{teacher_id!r} have {n_dims}; give a teacher whose embeddings have "
            "changed a new version."
        )
