"""A small problem whose truth, posterior and teacher errors are known exactly."""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.utils import check_random_state

from skadistill.datasets._noisy_teacher import NoisyTeacher

__all__ = ["NoisyTeacherProblem", "make_noisy_teacher_problem"]


@dataclass(frozen=True, eq=False)
class NoisyTeacherProblem:
    """Hold a problem made by :func:`make_noisy_teacher_problem`.

    Attributes
    ----------
    X_labeled : ndarray of float32 of shape (n_labeled, n_features)
        Rows whose label is given.
    y_labeled : ndarray of shape (n_labeled,)
        Their labels.
    X_pool : ndarray of float32 of shape (n_pool, n_features)
        Rows to buy labels for.
    y_pool : ndarray of shape (n_pool,)
        Their true labels, for judging only.
    X_test : ndarray of float32 of shape (n_test, n_features)
        Rows to score on.
    y_test : ndarray of shape (n_test,)
        Their true labels.
    teacher : NoisyTeacher
        Answers for the rows of all three parts, with the exact error rate in each.
    teacher_wrong : ndarray of bool of shape (n_pool,)
        Which pool rows the teacher answers wrongly.
    margin_pool : ndarray of shape (n_pool,)
        True margin of the pool rows: posterior of the truth minus the largest
        other one.
    classes : ndarray of shape (n_classes,)
        The labels, sorted.

    Examples
    --------
    >>> from skadistill.datasets import make_noisy_teacher_problem
    >>> problem = make_noisy_teacher_problem(random_state=0)
    >>> X, y = problem.partially_labeled()
    >>> X.shape, int((y == -1).sum())
    ((1100, 10), 1000)
    """

    X_labeled: np.ndarray
    y_labeled: np.ndarray
    X_pool: np.ndarray
    y_pool: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    teacher: NoisyTeacher
    teacher_wrong: np.ndarray
    margin_pool: np.ndarray
    classes: np.ndarray

    def partially_labeled(self, marker=-1):
        """Stack labeled and pool rows, the latter with the marker as label.

        Parameters
        ----------
        marker : object, default=-1
            The value that stands for "no label".

        Returns
        -------
        X : ndarray of float32 of shape (n_labeled + n_pool, n_features)
            Labeled rows first, then the pool in its order.
        y : ndarray of shape (n_labeled + n_pool,)
            Of dtype object when strings and another kind of marker meet.
        """
        X = np.concatenate([self.X_labeled, self.X_pool])
        y = self.y_labeled
        if y.dtype.kind in "US" or isinstance(marker, str):
            y = y.astype(object)
        out = np.empty(len(X), dtype=y.dtype)
        out[: len(y)] = y
        out[len(y) :] = marker
        return X, out


def make_noisy_teacher_problem(
    n_labeled=100,
    n_pool=1000,
    n_test=500,
    *,
    n_features=10,
    n_classes=4,
    n_clusters_per_class=3,
    class_sep=1.0,
    class_names=None,
    teacher_error=0.2,
    error_kind="uniform",
    class_error=None,
    concentration=5.0,
    truth_within=3,
    soft=True,
    teacher_confidence=0.8,
    random_state=None,
):
    """Make a problem with a teacher whose errors are known exactly.

    Rows come from Gaussian clusters of unit variance whose centers are drawn with
    standard deviation `class_sep` per feature; every class owns several clusters.
    The truth of a row is its most probable class under that mixture, so nothing
    about it is random: a student with enough right labels can approach accuracy
    1, and every other answer of the teacher is a mistake. Features are divided by
    ``sqrt(1 + class_sep ** 2)`` to have about unit variance.

    Parameters
    ----------
    n_labeled : int, default=100
        Rows with a label, at least n_classes; every class has one.
    n_pool : int, default=1000
        Rows of the pool.
    n_test : int, default=500
        Rows of the test part.
    n_features : int, default=10
        Columns.
    n_classes : int, default=4
        Classes, at least 2.
    n_clusters_per_class : int, default=3
        Clusters of each class; with one a linear model comes close.
    class_sep : float, default=1.0
        Spread of the centers relative to the clusters; larger is easier.
    class_names : sequence of n_classes labels, default=None
        Labels to use, sorted before use; None: 0 to n_classes - 1.
    teacher_error : float, default=0.2
        Share of wrong answers; exact in each of the three parts: on the pool
        ``round(teacher_error * n_pool)`` rows. Not used with "class".
    error_kind : {"uniform", "margin", "class"}, default="uniform"
        Where the teacher errs, see :class:`NoisyTeacher`; "margin" uses the true
        posterior.
    class_error : array-like, default=None
        Rates or confusion matrix, see :class:`NoisyTeacher`.
    concentration : float, default=5.0
        See :class:`NoisyTeacher`.
    truth_within : int, default=3
        See :class:`NoisyTeacher`.
    soft : bool, default=True
        False: the teacher answers with one-hot rows.
    teacher_confidence : float, default=0.8
        Mean margin of the teacher's right answers; wrong ones have half of it.
    random_state : int, RandomState instance or None, default=None
        Seed of rows and teacher. Rows do not depend on the teacher's parameters.

    Returns
    -------
    problem : NoisyTeacherProblem
        Rows, truth, teacher and the mask of its mistakes.

    Raises
    ------
    ValueError
        If a count is too small or a teacher's parameter out of range.

    Examples
    --------
    >>> from skadistill.datasets import make_noisy_teacher_problem
    >>> problem = make_noisy_teacher_problem(
    ...     n_pool=200, teacher_error=0.15, error_kind="margin", random_state=0
    ... )
    >>> int(problem.teacher_wrong.sum())
    30
    >>> wrong = problem.teacher_wrong
    >>> margin = problem.margin_pool
    >>> bool(margin[wrong].mean() < margin[~wrong].mean())
    True
    """
    if n_classes < 2 or n_labeled < n_classes:
        raise ValueError(
            f"n_labeled={n_labeled} and n_classes={n_classes} cannot be had together; "
            "pass at least two classes and one labeled row for each."
        )
    if n_pool < 1 or n_test < 1:
        raise ValueError(
            f"n_pool={n_pool} and n_test={n_test} must both be at least 1; pass more."
        )
    if class_names is not None and len(set(class_names)) != n_classes:
        raise ValueError(
            f"class_names={list(class_names)!r} does not name {n_classes} different "
            "classes; pass one name for each."
        )
    names = np.arange(n_classes) if class_names is None else np.unique(class_names)
    rng = check_random_state(random_state)
    X, posterior = _draw_mixture(
        n_labeled + n_pool + n_test,
        n_features,
        n_classes,
        n_clusters_per_class,
        class_sep,
        n_labeled,
        rng,
    )
    truth = posterior.argmax(axis=1)
    strata = np.repeat([0, 1, 2], [n_labeled, n_pool, n_test])
    teacher = NoisyTeacher(
        X,
        names[truth],
        error_rate=teacher_error,
        error_kind=error_kind,
        class_error=class_error,
        proba=posterior,
        concentration=concentration,
        truth_within=truth_within,
        soft=soft,
        confidence=teacher_confidence,
        strata=strata,
        classes=names,
        random_state=rng,
    )
    labeled, pool, test = (np.flatnonzero(strata == part) for part in range(3))
    ordered = np.sort(posterior[pool], axis=1)
    return NoisyTeacherProblem(
        X_labeled=X[labeled],
        y_labeled=names[truth[labeled]],
        X_pool=X[pool],
        y_pool=names[truth[pool]],
        X_test=X[test],
        y_test=names[truth[test]],
        teacher=teacher,
        teacher_wrong=teacher.wrong_[pool],
        # The truth is the most probable class, so its margin is top minus second.
        margin_pool=ordered[:, -1] - ordered[:, -2],
        classes=names,
    )


def _draw_mixture(n, n_features, n_classes, n_clusters, class_sep, n_labeled, rng):
    """Draw rows and their class posterior; the first `n_labeled` hold every class."""
    for _ in range(20):
        centers = class_sep * rng.standard_normal((n_classes * n_clusters, n_features))
        owner = np.repeat(np.arange(n_classes), n_clusters)
        cluster = rng.permutation(np.arange(n) % len(owner))
        X = centers[cluster] + rng.standard_normal((n, n_features))
        X = (X / np.sqrt(1.0 + class_sep**2)).astype(np.float32)
        posterior = _posterior(
            X.astype(np.float64) * np.sqrt(1.0 + class_sep**2), centers, owner
        )
        truth = posterior.argmax(axis=1)
        first = np.unique(truth, return_index=True)[1]
        if len(first) == n_classes:
            order = np.concatenate([first, np.setdiff1d(np.arange(n), first)])
            order[:n_labeled] = rng.permutation(order[:n_labeled])
            return X[order], posterior[order]
    raise ValueError(
        f"{n} rows with class_sep={class_sep} did not hold all {n_classes} classes in "
        "20 tries; raise class_sep or ask for more rows."
    )


def _posterior(X, centers, owner):
    """Return the class posterior under equally likely unit-variance clusters."""
    log_density = -0.5 * (
        (X**2).sum(axis=1)[:, None] - 2.0 * X @ centers.T + (centers**2).sum(axis=1)
    )
    by_class = np.column_stack(
        [logsumexp(log_density[:, owner == c], axis=1) for c in np.unique(owner)]
    )
    return softmax(by_class, axis=1)
