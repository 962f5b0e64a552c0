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

__all__ = ["EstimatorTeacher"]

_METHODS = ("predict_proba", "decision_function", "predict")


class EstimatorTeacher(BaseTeacher):
    r"""Label rows with a classifier, fitted or to be fitted on the labeled rows.

    The first of these that the classifier has is called: ``predict_proba``;
    ``decision_function``, whose scores :math:`s` become
    :math:`\mathrm{softmax}(s)`, or :math:`1 / (1 + e^{-s})` for the second of two
    classes; ``predict``, whose labels become one-hot rows (probabilities stay as they
    are).

    Parameters
    ----------
    estimator : estimator
        Anything with one of those methods: a classifier, a pipeline, a search, a
        `FrozenEstimator`. A fitted one is used as it is, never copied and never
        fitted again; `fit` fits a clone of an unfitted one.
    classes : array-like of shape (n_classes,) or None, default=None
        What the columns mean. None: the estimator's ``classes_``.
    name, version : str or None, default=None
        The identity under which a ledger files the answers. None: derived from the
        fitted estimator's class, parameters and fitted attributes, or, for one fitted
        by `fit`, from its parameters and its training rows and labels.
    allow_missing_classes : bool, default=False
        Whether the estimator may lack classes; they get probability 0.
    allow_extra_classes : bool, default=False
        Whether the estimator may know more classes; their share is dropped and the
        row renormalized.
    embedding : None, str or callable, default=None
        Where embeddings come from: the name of a method, such as "transform" (for a
        pipeline that ends in a classifier: of the steps before it), or a function
        of rows that returns an array of shape (n_samples, n_dims). None: the last
        hidden layer of an :class:`~sklearn.neural_network.MLPClassifier` or a skorch
        net (what its last ``torch.nn.Linear`` reads), also behind other steps of a
        pipeline; of other estimators, nowhere.
    cost_per_row : float or None, default=None
        What one answer costs, in the user's money, for ledgers with ``max_cost`` and
        for :meth:`~skadistill.ActiveDistiller.plan`. None: not known.
    on_invalid : {"raise", "skip"}, default="raise"
        What an unusable answer is, such as an unknown label or probabilities that do
        not sum to 1. "raise": an error, once all answers are recorded; the next run
        leaves the row out. "skip": no label; paid for, recorded, and left out.

    Attributes
    ----------
    estimator_ : estimator
        The clone that `fit` fitted. A teacher around a fitted estimator has none.
    identity : str
        The name under which a ledger files the answers.
    has_embeddings : bool
        Whether there is such a source.
    output_weights : ndarray of shape (n_outputs, n_dims) or None
        Weights of the last layer if its input is the embedding, or of a linear
        classifier if the steps before it give the embedding; else None.
    is_fitted : bool
        Whether the estimator is fitted.
    classes_ : list or None
        The estimator's classes.

    Notes
    -----
    Scores squashed into probabilities are *not calibrated*: their order is the
    classifier's, their size is not a frequency. If the size matters (soft
    targets, debiasing) wrap the classifier in
    :class:`~sklearn.calibration.CalibratedClassifierCV`.

    A derived identity reads the whole fitted estimator, about a second for 500 MB. It
    is the same after answering, from a file and in another process. If an estimator
    holds something without readable contents, such as a client, its identity ends with
    the process, and a ledger in a file asks for `name` and `version`. An unfitted
    estimator without a ``random_state`` gives one identity to teachers that differ by
    chance: they share labels.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill.teachers import EstimatorTeacher
    >>> X, y = np.array([[-1.0], [1.0]]), np.array(["no", "yes"])
    >>> teacher = EstimatorTeacher(LogisticRegression())
    >>> teacher.is_fitted
    False
    >>> teacher.fit(X, y).ask(X, ["no", "yes"]).round(2)
    array([[0.66, 0.34],
           [0.34, 0.66]])
    """

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
        cost_per_row=None,
        on_invalid="raise",
    ):
        self.estimator = estimator
        self.classes = classes
        self.name = name
        self.version = version
        self.allow_missing_classes = allow_missing_classes
        self.allow_extra_classes = allow_extra_classes
        self.embedding = embedding
        self.cost_per_row = cost_per_row
        self.on_invalid = on_invalid

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
        """Route metadata as the estimator itself would have it.

        Returns
        -------
        routing : MetadataRequest or MetadataRouter
            The estimator's own, or an empty one if it has none.
        """
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
        """Call the estimator's best method once.

        See :meth:`skadistill.teachers.BaseTeacher.answer`.
        """
        method = self._method()
        answer = getattr(self._asked, method)(X)
        return self._squashed(answer) if method == "decision_function" else answer

    def answer_embeddings(self, X):
        """Embed rows by `embedding`, else by the last hidden layer.

        See :meth:`skadistill.teachers.BaseTeacher.answer_embeddings`.
        """
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
        """Fit a clone of the estimator and keep it as `estimator_`.

        Parameters
        ----------
        X : container of n_samples rows
            Labeled rows.
        y : array-like of shape (n_samples,)
            Their labels.
        **fit_params : dict
            Passed to the estimator's ``fit``.

        Returns
        -------
        self : EstimatorTeacher
            Ready to be asked. Its identity holds the parameters and the content of
            the rows and labels, after the name and version if they are given. An
            estimator that its owner has fitted is not fitted again.
        """
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
        """Return a hash of what the estimator was fitted on, or of its content.

        Returns
        -------
        identity : str
            With the declared classes, since they say what the columns mean, and
            the declared embedding.
        """
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
