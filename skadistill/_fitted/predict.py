"""Predictions, score and tags of a distiller: those of its student."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skadistill._fit.inputs import check_container
from skadistill._fitted.saving import picklable, unpacked
from skadistill._utils.validation import warn_if_unlabeled
from skadistill.soft_labels._as_student import as_student
from skadistill.student._checks import student_classes, student_proba

__all__ = ["StudentPredictions"]


class StudentPredictions(ClassifierMixin, BaseEstimator):
    """Predict with the attribute ``student_`` alone, never with the teacher."""

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict classes with the student alone.

        Parameters
        ----------
        X : like `X` in `fit`, n_samples rows
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Classes; or 1 where a label applies and 0 where not.
        """
        X = self._check_new_rows(X)
        return student_classes(self.student_, X, self.classes_)

    @available_if(lambda self: _student_has(self, "predict_proba"))
    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Predict class probabilities with the student alone.

        Parameters
        ----------
        X : like `X` in `fit`, n_samples rows
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Probabilities of the classes, or that each label applies.
        """
        X = self._check_new_rows(X)
        table = student_proba(self.student_, X, len(self._space.columns))
        return self._space.proba(table)

    @available_if(lambda self: _student_has(self, "decision_function"))
    def decision_function(self, X: Any) -> NDArray[Any]:
        """Return the student's decision function."""
        X = self._check_new_rows(X)
        return self.student_.decision_function(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the student's accuracy.

        Parameters
        ----------
        X : like `X` in `fit`, n_samples rows
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            True labels; of several, all must be right. Rows marked unlabeled count as
            wrong, with a warning.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights.

        Returns
        -------
        score : float
            Weighted share of correct predictions.
        """
        if warn_if_unlabeled(y, self.unlabeled_marker):
            # Strings beside a number are no valid target for accuracy_score.
            right = self.predict(X) == np.asarray(y)
            return float(np.average(right, weights=sample_weight))
        return super().score(X, y, sample_weight)

    def _check_new_rows(self, X):
        """Check rows to predict; their values are the student's to check."""
        check_is_fitted(self, "student_")
        return check_container(self, X, reset=False)

    def __getstate__(self) -> Any:
        state = dict(super().__getstate__())
        state.pop("_given", None)  # rows of the user, which a model file must not hold
        return picklable(state)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(unpacked(state))

    def __sklearn_is_fitted__(self):
        """Tell that a student is there; ``ledger_`` alone means a failed fit."""
        return hasattr(self, "student_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.student is None:
            tags.input_tags.sparse = True
        else:
            student = get_tags(as_student(self.student, None))
            tags.input_tags.sparse = student.input_tags.sparse
            tags.input_tags.allow_nan = student.input_tags.allow_nan
        if hasattr(self.teacher, "__sklearn_tags__"):
            teacher = get_tags(self.teacher)
            if teacher.classifier_tags is not None:
                tags.classifier_tags.multi_label = teacher.classifier_tags.multi_label
            tags.input_tags.sparse &= teacher.input_tags.sparse
            tags.input_tags.allow_nan &= teacher.input_tags.allow_nan
        return tags


def _student_has(self, name):
    """Tell whether the student, fitted or to be fitted, has a method."""
    student = getattr(self, "student_", None)
    if student is None and self.student is None:
        return True  # of the default students, each has all methods
    if student is None:
        student = as_student(self.student, None)
    getattr(student, name)  # the student's own AttributeError explains best
    return True
