"""Scikit-learn-like estimators as teachers."""

import copy

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skadistill.exceptions import (
    TeacherAnswerError,
    TeacherError,
)
from skadistill.teachers._base import TEACHER_CONSTRAINTS, BaseTeacher
from skadistill.teachers._embeddings import (
    embedding_suffix,
    estimator_embeddings,
    estimator_output_weights,
    has_hidden_layer,
    thawed,
)
from skadistill.teachers._identity import (
    classes_suffix,
    estimator_identity,
    training_identity,
)
from skadistill.teachers._multilabel import stack_outputs

__all__ = ["EstimatorTeacher"]

_METHODS = ("predict_proba", "decision_function", "predict")


class EstimatorTeacher(BaseTeacher):
    """Label rows with a classifier, see `as_teacher`; `fit` keeps its `estimator_`."""

    _parameter_constraints: dict = TEACHER_CONSTRAINTS | {
        "embedding": [None, str, callable],
    }

    def __init__(
        self,
        estimator,
        classes=None,
        name=None,
        version=None,
        *,
        allow_missing_classes=False,
        allow_extra_classes=False,
        embedding=None,
        batch_size=None,
        cost_per_row=None,
        on_invalid="raise",
        multilabel=False,
    ):
        self.estimator = estimator
        self.classes = classes
        self.name = name
        self.version = version
        self.allow_missing_classes = allow_missing_classes
        self.allow_extra_classes = allow_extra_classes
        self.embedding = embedding
        self.batch_size = batch_size
        self.cost_per_row = cost_per_row
        self.on_invalid = on_invalid
        self.multilabel = multilabel

    def __sklearn_clone__(self):
        if self.is_fitted:
            return self
        params = self.get_params(deep=False)
        params["estimator"] = _unfitted_copy(self.estimator)
        return type(self)(**params)

    @property
    def _asked(self):
        """The estimator that answers: the clone fitted here, else the user's own."""
        return getattr(self, "estimator_", self.estimator)

    def get_metadata_routing(self):
        """Route metadata as the estimator itself would have it."""
        if hasattr(self.estimator, "get_metadata_routing"):
            return self.estimator.get_metadata_routing()
        return super().get_metadata_routing()

    @property
    def display_name(self):
        """The teacher's name in messages."""
        return f"the teacher {self.name or type(thawed(self.estimator)).__name__!r}"

    @property
    def classes_(self):
        """What the columns of its answers mean; None if it has not said."""
        if self.classes is not None:
            return self.classes
        return getattr(self._asked, "classes_", None)

    @property
    def _answer_kind(self):  # type: ignore[override]
        # What `predict` returns may be labels or probabilities: the shape tells.
        return "auto" if self._method() == "predict" else "proba"

    @property
    def is_fitted(self):
        """Whether the estimator is fitted."""
        return _is_fitted(self._asked)

    @property
    def has_embeddings(self):
        """Whether `embedding` is given or the last hidden layer can be read."""
        return self.embedding is not None or has_hidden_layer(self._asked)

    @property
    def output_weights(self):
        """Weights that turn embeddings into logits; None if they are not known."""
        if not self.has_embeddings or not self.is_fitted:
            return None
        return estimator_output_weights(self._asked, self.embedding)

    def _method(self):
        """Return the name of the best method the estimator has."""
        for method in _METHODS:
            if callable(getattr(self._asked, method, None)):
                return method
        raise TeacherError(
            f"{self.display_name} has none of {', '.join(_METHODS)}; pass a "
            "classifier, or a function that takes rows and returns probabilities or "
            "labels."
        )

    def answer(self, X):
        """Call the estimator's best method once."""
        method = self._method()
        answer = getattr(self._asked, method)(X)
        if self.multilabel:
            return stack_outputs(self._asked, method, answer)
        return self._squashed(answer) if method == "decision_function" else answer

    def answer_embeddings(self, X):
        """Embed rows by `embedding`, else by the last hidden layer."""
        if not self.has_embeddings:
            return super().answer_embeddings(X)
        return estimator_embeddings(self._asked, self.embedding, X, self.display_name)

    def _squashed(self, scores):
        """Turn decision scores into (uncalibrated) probabilities."""
        scores = np.asarray(scores, dtype=np.float64)
        if not np.isfinite(scores).all():
            row = int(np.argwhere(~np.isfinite(scores))[0][0])
            raise TeacherAnswerError(
                f"{self.display_name} answered the score {scores[row]} for row {row} "
                "of the batch; return finite scores."
            )
        if scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] == 1):
            positive = scores.reshape(-1)
            return np.column_stack([expit(-positive), expit(positive)])
        own = self.classes_
        if scores.ndim == 2 and own is not None and scores.shape[1] != len(own):
            raise TeacherAnswerError(
                f"{self.display_name} answered {scores.shape[1]} scores per row but "
                f"has {len(own)} classes; use one score per class "
                "(decision_function_shape='ovr' in SVC)."
            )
        return softmax(scores, axis=1) if scores.ndim == 2 else scores

    def fit(self, X, y, **fit_params):
        """Fit a clone of the estimator and keep it as `estimator_`."""
        self._check_parameters()
        if _is_fitted(self.estimator):
            return self
        estimator = _unfitted_copy(self.estimator)
        is_named = self.name is not None
        identity = training_identity(estimator, X, y, fit_params, is_named=is_named)
        estimator.fit(X, y, **fit_params)
        self.estimator_, self._trained_as = estimator, identity
        return self

    @property
    def identity(self):
        """The name under which a ledger files the answers."""
        trained_as = getattr(self, "_trained_as", None)
        given = super().identity
        # A name cannot tell two folds apart; the training rows can.
        if trained_as is not None and self.name is not None:
            return f"{given}:{trained_as}"
        return given

    def derived_identity(self):
        """Return a hash of what the estimator was fitted on, or of its content."""
        trained_as = getattr(self, "_trained_as", None)
        suffix = classes_suffix(self.classes) + embedding_suffix(self.embedding)
        if trained_as is not None:
            return f"trained:{trained_as}{suffix}"
        return f"estimator:{estimator_identity(thawed(self._asked))}{suffix}"


def _is_fitted(estimator):
    """Return whether an estimator can answer; one without `fit` always can."""
    if not hasattr(estimator, "fit"):
        return True
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    except Exception:  # an estimator without scikit-learn's tags
        if hasattr(estimator, "__sklearn_is_fitted__"):
            return bool(estimator.__sklearn_is_fitted__())
        return any(
            name.endswith("_") and not name.startswith("__") for name in vars(estimator)
        )
    return True


def _unfitted_copy(estimator):
    """Clone an estimator; one that scikit-learn cannot clone is copied."""
    if hasattr(estimator, "get_params"):
        return clone(estimator)
    return copy.deepcopy(estimator)
