"""A small problem with known truth, posterior and teacher errors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, softmax
from sklearn.utils import check_random_state

from skadistill.datasets._noisy_teacher import NoisyTeacher

__all__ = ["NoisyTeacherProblem", "make_noisy_teacher_problem"]


@dataclass(frozen=True, eq=False)
class NoisyTeacherProblem:
    """Hold a problem made by :func:`make_noisy_teacher_problem`."""

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
        """Stack labeled and pool rows, with the marker as label of pool rows."""
        X = np.concatenate([self.X_labeled, self.X_pool])
        y = np.full(len(X), marker, dtype=object if isinstance(marker, str) else int)
        y[: len(self.y_labeled)] = self.y_labeled
        return X, y


def make_noisy_teacher_problem(
    n_labeled: int = 100,
    n_pool: int = 1000,
    n_test: int = 500,
    *,
    n_features: int = 10,
    n_classes: int = 4,
    n_clusters_per_class: int = 3,
    class_sep: float = 1.0,
    teacher_error: float | ArrayLike = 0.2,
    error_kind: str = "uniform",
    concentration: float = 5.0,
    soft: bool = True,
    random_state: Any = None,
) -> NoisyTeacherProblem:
    """Make a classification problem with a teacher that errs on known rows.

    Rows come from Gaussian clusters of unit variance whose centers are drawn with
    standard deviation `class_sep` per feature; every class has several clusters. The
    true label of a row is its most probable class under that mixture, so that the
    labels have no noise: a student with enough correct labels can approach accuracy
    1, and every other answer of the teacher is a mistake. Features are divided by
    ``sqrt(1 + class_sep ** 2)`` to have about unit variance.

    Parameters
    ----------
    n_labeled : int, default=100
        Rows with a label, at least n_classes; every class has at least one.
    n_pool : int, default=1000
        Rows of the pool.
    n_test : int, default=500
        Rows of the test part.
    n_features : int, default=10
        Number of features.
    n_classes : int, default=4
        Number of classes, at least 2.
    n_clusters_per_class : int, default=3
        Clusters per class; with one cluster a linear model is nearly optimal.
    class_sep : float, default=1.0
        Standard deviation of the centers relative to the clusters; larger is easier.
    teacher_error : float or array-like of shape (n_classes,), default=0.2
        Share of wrong answers, exact in each of the three parts: on the pool
        ``round(teacher_error * n_pool)`` rows. An array holds one share per class.
    error_kind : {"uniform", "margin"}, default="uniform"
        Which rows are wrong, see :class:`NoisyTeacher`; "margin" uses the true
        posterior.
    concentration : float, default=5.0
        See :class:`NoisyTeacher`.
    soft : bool, default=True
        False: the teacher answers with one-hot rows.
    random_state : int, RandomState instance or None, default=None
        Seed of rows and teacher. Rows do not depend on the teacher's parameters.

    Returns
    -------
    problem : NoisyTeacherProblem
        A frozen dataclass with the rows (``X_labeled``, ``X_pool``, ``X_test``),
        their true labels (``y_labeled``, ``y_pool``, ``y_test``), the ``teacher``,
        the mask ``teacher_wrong`` of its mistakes on the pool, the true margins
        ``margin_pool`` and the ``classes``. Its method ``partially_labeled(marker=-1)``
        returns labeled and pool rows as one ``X, y``.

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
            f"n_labeled={n_labeled} and n_classes={n_classes} cannot be combined; "
            "pass at least two classes and one labeled row for each."
        )
    if n_pool < 1 or n_test < 1:
        raise ValueError(
            f"n_pool={n_pool} and n_test={n_test} must both be at least 1; pass more."
        )
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
        truth,
        error_rate=teacher_error,
        error_kind=error_kind,
        proba=posterior,
        concentration=concentration,
        soft=soft,
        strata=strata,
        random_state=rng,
    )
    labeled, pool, test = (np.flatnonzero(strata == part) for part in range(3))
    ordered = np.sort(posterior[pool], axis=1)
    return NoisyTeacherProblem(
        X_labeled=X[labeled],
        y_labeled=truth[labeled],
        X_pool=X[pool],
        y_pool=truth[pool],
        X_test=X[test],
        y_test=truth[test],
        teacher=teacher,
        teacher_wrong=teacher.wrong_[pool],
        # The truth is the most probable class, so its margin is top minus second.
        margin_pool=ordered[:, -1] - ordered[:, -2],
        classes=teacher.classes_,
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
