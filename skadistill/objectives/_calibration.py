"""How far a teacher's confidence can be trusted, seen on rows of known label."""

import numpy as np
from sklearn.isotonic import IsotonicRegression

__all__ = [
    "class_ranks",
    "correctness_curve",
    "topk_coverage",
]

# Strength, in rows, of the prior that pulls each level of the isotonic curve
# towards the overall rate: that of the uniform Beta prior.
PRIOR_ROWS = 2.0


def class_ranks(proba):
    """Rank the classes of each row, 0 the likeliest; of equals the first leads.

    Parameters
    ----------
    proba : ndarray of shape (n_rows, n_classes)
        Probabilities.

    Returns
    -------
    ranks : ndarray of int of shape (n_rows, n_classes)
        So ``ranks < k`` are the k likeliest classes, and exactly k.
    """
    order = np.argsort(-proba, axis=1, kind="stable")
    return np.argsort(order, axis=1, kind="stable")


def topk_coverage(proba, truth):
    """Count how often the truth is among the k likeliest classes, for each k.

    Parameters
    ----------
    proba : ndarray of shape (n_rows, n_classes)
        The teacher's answers.
    truth : ndarray of int of shape (n_rows,)
        Positions of the true classes.

    Returns
    -------
    coverage : ndarray of shape (n_classes,)
        Shares of the rows for k = 1, ..., n_classes; the last is 1.
    """
    rank = class_ranks(proba)[np.arange(len(truth)), truth]
    return np.bincount(rank, minlength=proba.shape[1]).cumsum() / len(truth)


def correctness_curve(margins, right):
    r"""Fit the probability of being right as a non-decreasing function of margins.

    Isotonic regression, each level shrunk towards the overall rate by a Beta
    prior: a level of :math:`r` right ones among :math:`n` rows becomes
    :math:`(r + 2 \bar a) / (n + 2)`, with :math:`\bar a` the posterior mean of the
    overall rate. Bare isotonic regression ends in levels of a few rows that claim
    0 or 1.

    Parameters
    ----------
    margins : ndarray of shape (n_rows,)
        The teacher's margins.
    right : ndarray of bool of shape (n_rows,)
        Where its likeliest class is the true one.

    Returns
    -------
    curve : callable
        Takes margins and returns probabilities of being right, constant beyond
        the margins seen.
    """
    overall = (right.sum() + 1) / (len(right) + 2)
    isotonic = IsotonicRegression(out_of_bounds="clip")
    levels, block = np.unique(
        isotonic.fit(margins, right).predict(margins), return_inverse=True
    )
    n_rows = np.bincount(block)
    shrunk = (n_rows * levels + PRIOR_ROWS * overall) / (n_rows + PRIOR_ROWS)
    # Small levels move further than their neighbours; a second pass restores order.
    return isotonic.fit(margins, shrunk[block]).predict
