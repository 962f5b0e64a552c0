"""One classifier per label, on features that are computed once."""

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skadistill._statistics.folds import deal_folds, each_fold
from skadistill._utils.compat import safe_indexing
from skadistill._utils.label_space import MultiLabel
from skadistill.soft_labels._fit_student import fit_student
from skadistill.student._checks import student_proba

__all__ = ["BinaryRelevance"]

# Mass of a label, in rows, below which it is answered with its rate.
LEAST_MASS = 0.5
# Rows by which a label's own evidence on its threshold counts as much as all others'.
PRIOR_ROWS = 10.0
# Probability of what is known not to be: some students need both classes in every row.
LEAST_PROBABILITY = 1e-9


class BinaryRelevance(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Learn several labels per row with one classifier per label, from soft labels.

    The student of a fit whose ``y`` is an indicator matrix. The leading steps of a
    `Pipeline` are fitted once for all labels, unless one of them needs the labels.

    Parameters
    ----------
    estimator : classifier or Pipeline
        What each label is learned with, as in :func:`fit_student`.
    labels : list of length n_labels or None, default=None
        Names of the labels, in the order of the columns. None: 0, 1, and so on.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        Names of the labels.
    transformer_ : Pipeline or None
        The leading steps, fitted; None without any.
    estimators_ : list of length n_labels
        One fitted classifier per label; None where no row or every row has the label.
    rates_ : ndarray of shape (n_labels,)
        Share of the training rows that each label applies to.
    thresholds_ : ndarray of shape (n_labels,)
        Probabilities from which on labels are predicted: 0.5 until `tune` is called.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill.soft_labels import BinaryRelevance
    >>> X = np.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [2.0, -2.0]])
    >>> student = BinaryRelevance(LogisticRegression()).fit(X, X > 0)
    >>> student.predict(np.array([[3.0, 3.0], [-3.0, 3.0]]))
    array([[1, 1],
           [0, 1]])
    """

    classes_: NDArray[Any]
    transformer_: Pipeline | None
    estimators_: list[Any]
    rates_: NDArray[Any]
    thresholds_: NDArray[Any]

    def __init__(self, estimator: Any, labels: list[Any] | None = None) -> None:
        self.estimator = estimator
        self.labels = labels

    def fit(self, X: Any, Y: Any, sample_weight: Any = None) -> Self:
        """Learn from labels, or probabilities of labels.

        Parameters
        ----------
        X : container of n_samples rows
            Rows.
        Y : array-like of shape (n_samples, n_labels)
            Probabilities that each label applies, 0 or 1 if that is known.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        self : BinaryRelevance
            Fitted.
        """
        Y = np.asarray(Y, dtype=np.float64)
        labels = range(Y.shape[1]) if self.labels is None else self.labels
        space = MultiLabel(list(labels))
        self._learn(X, space.targets(Y), space, sample_weight)
        self._warn_of_constants()
        return self

    def fit_soft(
        self,
        X: Any,
        targets: Any,
        *,
        classes: Any,
        sample_weight: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Learn from a table with two columns per label.

        Parameters
        ----------
        X : container of n_samples rows
            Rows.
        targets : array-like of shape (n_samples, 2 * n_labels)
            Columns "+name" of all labels, then "-name" of all; rows sum to 1.
        classes : array-like of shape (2 * n_labels,)
            Names of these columns.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.
        **fit_params : dict
            Passed on to `fit_student` for each label.

        Returns
        -------
        self : BinaryRelevance
            Fitted.
        """
        names = [column[1:] for column in classes[: len(classes) // 2]]
        space = MultiLabel(names if self.labels is None else self.labels)
        return self._learn(X, targets, space, sample_weight, **fit_params)

    def _learn(self, X, targets, space, sample_weight, **fit_params):
        """Fit a classifier to each label of a table."""
        self._space, self.columns_, half = space, space.columns, len(space)
        self.classes_ = space.classes
        targets = np.asarray(targets, dtype=np.float64) * half
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight, dtype=np.float64)
        weight = np.ones(len(targets)) if sample_weight is None else sample_weight
        self.transformer_ = None
        self.estimators_: list = []
        self.thresholds_ = np.full(half, 0.5)
        applies, not_ = targets[:, :half], targets[:, half:]
        mass = weight @ applies
        total = mass + weight @ not_
        self._rates = mass / np.maximum(total, np.finfo(float).tiny)
        self.rates_ = self._rates[self._space.order]
        Z, heads = X, isinstance(self.estimator, Pipeline)
        heads = heads and _ignores_labels(self.estimator[:-1])
        for k in range(half):
            if min(mass[k], total[k] - mass[k]) < LEAST_MASS:
                self.estimators_.append(None)
                continue
            pair = np.column_stack([not_[:, k], applies[:, k]])
            if self.transformer_ is not None:
                learner = _fit_label(self.estimator[-1], Z, pair, sample_weight)
            else:
                learner = _fit_label(
                    self.estimator, X, pair, sample_weight, **fit_params
                )
            if heads and self.transformer_ is None:
                self.transformer_ = learner[:-1]
                Z, learner = self.transformer_.transform(X), learner[-1]
            self.estimators_.append(learner)
        return self

    def _warn_of_constants(self):
        """Say which labels are answered with their rate."""
        names = [
            str(self._sorted_names[k])
            for k, each in enumerate(self.estimators_)
            if each is None
        ]
        if names:
            warnings.warn(
                f"{len(names)} labels apply to no training row, or to all: "
                f"{names[:10]}; they are answered with their rate until rows of both "
                "kinds have a label.",
                UserWarning,
                stacklevel=3,
            )

    @property
    def table_rates(self) -> Any:
        """The rates of the labels in the order of the columns of a table."""
        return self._rates

    @property
    def _sorted_names(self):
        return [column[1:] for column in self.columns_[: len(self.classes_)]]

    def predict_mass(self, X: Any) -> Any:
        """Return the table with two columns per label, whose rows sum to 1."""
        check_is_fitted(self, "estimators_")
        proba = self._predict(X)
        return np.hstack([proba, 1 - proba]) / len(self.classes_)

    def _predict(self, X):
        """Return the probabilities of the labels in sorted order."""
        Z = X if self.transformer_ is None else self.transformer_.transform(X)
        n_samples = Z.shape[0] if hasattr(Z, "shape") else len(Z)
        proba = np.empty((n_samples, len(self.estimators_)))
        for k, each in enumerate(self.estimators_):
            if each is None:
                proba[:, k] = self._rates[k]
            else:
                proba[:, k] = student_proba(each, Z, 2)[:, 1]
        return proba

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the probability of each label.

        Parameters
        ----------
        X : container of n_samples rows
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_labels)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self, "estimators_")
        return self._predict(X)[:, self._space.order]

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the labels of each row, as an indicator matrix.

        Parameters
        ----------
        X : container of n_samples rows
            Rows.

        Returns
        -------
        Y : ndarray of int of shape (n_samples, n_labels)
            1 where a label applies.
        """
        return self.decide(self.predict_proba(X))

    def decide(self, proba: NDArray[Any]) -> NDArray[Any]:
        """Return which labels are predicted at some probabilities.

        Parameters
        ----------
        proba : ndarray of shape (n_samples, n_labels)
            As `predict_proba` returns them.

        Returns
        -------
        Y : ndarray of int of shape (n_samples, n_labels)
            1 where a probability reaches the label's threshold.
        """
        return (proba >= self.thresholds_).astype(int)

    def tune(
        self,
        X: Any,
        targets: Any,
        *,
        n_folds: int = 3,
        seed: int = 0,
        weight: NDArray[Any] | None = None,
    ) -> Self:
        """Set ``thresholds_`` to those of the largest F1 on rows not trained on.

        Parameters
        ----------
        X, targets : as in `fit_soft`
            The training rows.
        n_folds : int, default=3
            Folds.
        seed : int, default=0
            Seeds the folds.
        weight : ndarray of shape (n_samples,) or None, default=None
            How much each row counts. None: the same.

        Returns
        -------
        self : BinaryRelevance
            With new thresholds.

        Notes
        -----
        The expected F1 of a label at a threshold is computed from sums over rows; the
        sums of all labels, scaled to ten rows, are added to those of each one, since
        few positive rows say little of a threshold.
        """
        targets = np.asarray(targets, dtype=np.float64)
        half = len(self.classes_)
        fold = deal_folds(targets.argmax(axis=1), n_folds, np.random.default_rng(seed))
        proba = np.empty((len(targets), half))
        for train, test in each_fold(fold):
            learner = clone(self)
            learner.fit_soft(
                safe_indexing(X, train), targets[train], classes=self.columns_
            )
            proba[test] = learner._predict(safe_indexing(X, test))
        truth = targets[:, :half] * half
        self.thresholds_ = best_thresholds(proba, truth, weight)[self._space.order]
        self._warn_of_constants()
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.multi_class = False
        tags.target_tags.multi_output = True
        return tags


def _fit_label(estimator, X, pair, sample_weight, **fit_params):
    """Fit a clone to one label; rows without mass of it are left out."""
    known = np.flatnonzero(pair.any(axis=1))
    sizes = pair[known].sum(axis=1)
    targets = np.maximum(pair[known] / sizes[:, None], LEAST_PROBABILITY)
    if sample_weight is not None or np.ptp(sizes):
        sizes = sizes if sample_weight is None else sizes * sample_weight[known]
    else:
        sizes = None
    return fit_student(
        clone(estimator),
        X if len(known) == len(pair) else safe_indexing(X, known),
        targets / targets.sum(axis=1, keepdims=True),
        classes=[0, 1],
        sample_weight=sizes,
        **fit_params,
    )


def _ignores_labels(head):
    """Tell whether no step of a pipeline learns from labels."""
    return len(head) > 0 and not any(
        get_tags(step).target_tags.required
        for _, step in head.steps
        if not isinstance(step, str)
    )


GRID = np.linspace(0.02, 0.8, 40)


def best_thresholds(proba, truth, weight=None):
    """Return the threshold of each label with the largest expected F1."""
    weight = np.ones(len(proba)) if weight is None else weight
    positives = weight @ truth
    hits = np.empty((len(GRID), proba.shape[1]))
    named = np.empty_like(hits)
    for i, threshold in enumerate(GRID):
        chosen = (proba >= threshold) * weight[:, None]
        named[i] = chosen.sum(axis=0)
        hits[i] = (chosen * truth).sum(axis=0)
    # The same curve for all labels, as if it had come from a few positive rows.
    scale = PRIOR_ROWS / max(positives.sum(), 1e-9)
    hits = hits + scale * hits.sum(axis=1, keepdims=True)
    named = named + scale * named.sum(axis=1, keepdims=True)
    score = 2 * hits / (named + positives + PRIOR_ROWS)
    return GRID[score.argmax(axis=0)]
