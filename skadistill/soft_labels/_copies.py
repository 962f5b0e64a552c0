"""Rows with probabilities as labeled rows with weights."""

import numpy as np

from skadistill._utils.compat import num_samples

__all__ = ["check_same_rows", "choose_copies"]


def check_same_rows(X, targets):
    """Raise if X and targets differ in length."""
    if num_samples(X) != len(targets):
        raise ValueError(
            "X and targets must have one row each per sample, got "
            f"{num_samples(X)} rows of X and {len(targets)} of targets; pass the same "
            "rows."
        )


def choose_copies(targets, threshold=1e-3, max_copies=None):
    """Choose the classes that stand for the target of each row."""
    n_samples = len(targets)
    keep = targets >= threshold
    keep &= targets > 0
    # The likeliest class of a row always stays, whatever the threshold.
    likeliest = targets.argmax(axis=1)
    keep[np.arange(n_samples), likeliest] = False
    if max_copies is not None:
        n_others = int((max_copies - 1) * n_samples)
        others = np.flatnonzero(keep)
        n_dropped = len(others) - n_others
        if n_dropped > 0:
            values = targets.ravel()[others]
            smallest = np.argpartition(values, n_dropped - 1)[:n_dropped]
            keep.ravel()[others[smallest]] = False
    keep[np.arange(n_samples), likeliest] = True
    for column in np.flatnonzero(~keep.any(axis=0)):
        row = targets[:, column].argmax()
        keep[row, column] = targets[row, column] > 0
    rows, columns = np.nonzero(keep)
    mass = targets[rows, columns].astype(np.float64)
    mass /= np.bincount(rows, mass, n_samples)[rows]
    return rows, columns, mass
