"""Fit any classifier to a teacher's probabilities: nets, pipelines, weighted rows."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import is_classifier
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Perceptron
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from skadistill._rows._containers import aligned, take_rows
from skadistill._utils.compat import num_samples, safe_indexing
from skadistill.exceptions import ObjectiveError, StudentError
from skadistill.objectives import Lesson
from skadistill.soft_labels._native import native_fit
from skadistill.soft_labels._settings import (
    averaging_settings,
    balance_of,
    balancing_settings,
    changed,
    refuse_resampling,
    settings_for_copies,
)
from skadistill.student._checks import (
    check_new_weights,
    check_soft_targets,
    student_proba,
)

__all__ = ["fit_student"]

# Copies of rows per row, at most: with the rows themselves three times the table.
# `benchmarks/students.py` compares with hard labels.
MAX_COPIES = 2.0


def fit_student(
    estimator: Any,
    X: Any,
    targets: Any,
    *,
    classes: ArrayLike,
    sample_weight: ArrayLike | None = None,
    **fit_params: Any,
) -> Any:
    """Fit a classifier to a teacher's probabilities, or to an objective's lesson.

    Parameters
    ----------
    estimator : classifier or Pipeline
        What to fit, in place. One with a method `fit_lesson` gets the lesson, one
        with a method `fit_soft` the probabilities as they are; the steps of a
        `Pipeline` are fitted in turn. Any other classifier whose `fit` takes
        `sample_weight` gets one weighted copy of a row per class, on
        average at most two copies per row (`GaussianNB` and `Perceptron` the likeliest
        label; `SGDClassifier` averages its weights over the steps); scikit-learn's
        `LogisticRegression` and `xgboost.XGBClassifier` minimize the same loss
        without copies.
    X : array-like, sparse matrix, frame or list of length n_samples
        Training rows.
    targets : array-like of shape (n_samples, n_classes) or Lesson
        Probabilities; rows sum to 1. Or what an objective makes of them: a lesson
        whose weights depend on the student fits other students than nets twice,
        one with its own loss needs a net.
    classes : array-like of shape (n_classes,)
        Sorted labels of the columns.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows.
    **fit_params : dict
        Passed to the estimator's fitting method; for a `Pipeline` with the step's
        name in front, ``step__parameter``.

    Returns
    -------
    estimator : classifier or Pipeline
        The same object, fitted; its `classes_` are `classes`.

    Raises
    ------
    StudentError
        If the estimator is not a classifier or its `fit` takes no weights.
    ValueError
        If a class has no probability in any row, or the fitted estimator knows other
        classes than `classes`.

    Warns
    -----
    UserWarning
        If a setting that would count copies as rows is switched off, such as
        ``early_stopping=True`` or ``oob_score=True``.

    Notes
    -----
    ``class_weight="balanced"`` balances the total probability of the classes.
    Splits of the student's own, such as `cv` of `CalibratedClassifierCV`, keep the
    copies of a row together.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill.soft_labels import fit_student
    >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> p = np.array([0.1, 0.3, 0.7, 0.9])
    >>> student = LogisticRegression()
    >>> student = fit_student(student, X, np.c_[1 - p, p], classes=[0, 1])
    >>> student.predict([[-3.0], [3.0]])
    array([0, 1])
    """
    lesson = targets if isinstance(targets, Lesson) else Lesson(np.asarray(targets))
    has_own_check = hasattr(estimator, "fit_lesson")
    if not has_own_check:
        check_soft_targets(lesson.targets, classes)
    classes = np.asarray(classes)
    if has_own_check:
        estimator.fit_lesson(
            X, lesson, classes=classes, sample_weight=sample_weight, **fit_params
        )
    elif isinstance(estimator, Pipeline):
        _fit_pipeline(estimator, X, lesson, classes, sample_weight, fit_params)
    elif hasattr(estimator, "fit_soft") or _is_weighted_classifier(estimator):
        _fit_weighted(estimator, X, lesson, classes, sample_weight, fit_params)
    else:
        raise StudentError(
            "a student must be a classifier whose fit takes sample_weight, or have a "
            f"method fit_soft, got {type(estimator).__name__}; use for example "
            "StudentNet or LogisticRegression."
        )
    fitted = getattr(estimator, "columns_", getattr(estimator, "classes_", None))
    if fitted is None or not np.array_equal(fitted, classes):
        got = None if fitted is None else np.asarray(fitted).tolist()
        raise ValueError(
            f"the fitted student knows the classes {got} instead of "
            f"{classes.tolist()}; give every class some probability in targets, or "
            "leave the class out."
        )
    return estimator


def _is_weighted_classifier(estimator):
    """Tell whether labeled, weighted rows can be handed to an estimator."""
    if not hasattr(estimator, "fit"):
        return False
    try:
        classifier = is_classifier(estimator)
    except AttributeError:
        # A class outside scikit-learn's, without tags.
        classifier = hasattr(estimator, "predict_proba")
    # The latter hand on what their `fit` gets, under the name **fit_params.
    return classifier and (
        has_fit_parameter(estimator, "sample_weight")
        or isinstance(estimator, StackingClassifier | VotingClassifier)
    )


def _fit_weighted(estimator, X, lesson, classes, sample_weight, fit_params):
    """Fit to targets and weights; fit again if the weights need a student."""
    if lesson.has_own_loss:
        raise ObjectiveError(
            "the objective has its own loss, which "
            f"{type(estimator).__name__} cannot follow; use a StudentNet, or an "
            "objective made of targets and weights, such as 'soft' or 'debiased'."
        )
    weight = _product(sample_weight, lesson.weights)
    _fit_once(estimator, X, lesson.targets, classes, weight, fit_params)
    if lesson.reweight is None:
        return
    new = np.asarray(lesson.reweight(student_proba(estimator, X, len(classes))))
    weight = _product(weight, check_new_weights(new, len(lesson.targets)))
    _fit_once(estimator, X, lesson.targets, classes, weight, fit_params)


def _fit_once(estimator, X, targets, classes, weight, fit_params):
    """Fit to probabilities, or to the rows and weights that stand for them."""
    if hasattr(estimator, "fit_soft"):
        estimator.fit_soft(
            X, targets, classes=classes, sample_weight=weight, **fit_params
        )
        return
    targets = np.asarray(targets)
    _check_same_rows(X, targets)
    _check_every_class(targets, classes, weight)
    refuse_resampling(estimator)
    settings = balancing_settings(estimator)
    balance = balance_of(targets, weight) if settings else None
    fit = native_fit(estimator, targets.shape, fit_params)
    if fit is not None:
        mass = targets if balance is None else targets * balance
        if weight is not None:
            mass = mass * np.asarray(weight)[:, None]
        with changed(estimator, settings):
            fit(estimator, X, mass, classes)
        return
    max_copies = _max_copies(estimator)
    rows, columns, mass = choose_copies(targets, max_copies=max_copies)
    copies = X
    if weight is not None:
        mass *= np.asarray(weight)[rows]
    if balance is not None:
        mass *= balance[columns]
    if len(rows) > len(targets):
        settings |= settings_for_copies(estimator, targets.argmax(axis=1), rows)
        settings |= averaging_settings(estimator)
        copies = safe_indexing(X, rows)
        fit_params = {
            name: take_rows(value, rows) if aligned(value, len(targets)) else value
            for name, value in fit_params.items()
        }
    with changed(estimator, settings), warnings.catch_warnings():
        # Copies that contradict each other keep the loss of SGD from settling.
        warnings.filterwarnings(
            "ignore",
            "Maximum number of iteration reached",
            ConvergenceWarning,
            "sklearn.linear_model._stochastic_gradient",
        )
        estimator.fit(copies, classes[columns], sample_weight=mass, **fit_params)


def _max_copies(estimator):
    """Return how many copies per row, on average, a classifier learns best from."""
    if isinstance(estimator, GaussianNB):
        # Probabilities of other classes widen the Gaussians, which costs a point.
        return 1.0
    if isinstance(estimator, Perceptron):
        return 1.0  # each copy that is misclassified undoes the step of another one
    return MAX_COPIES


def _check_every_class(targets, classes, weight):
    """Raise for classes that no row has any probability for."""
    present = targets if weight is None else targets[np.asarray(weight) > 0]
    missing = classes[~(present > 0).any(axis=0)]
    if len(missing):
        raise ValueError(
            f"no row gives the classes {missing.tolist()} any probability; give every "
            "class some probability in targets, or leave the class out."
        )


def _product(a, b):
    """Multiply weights, None standing for 1."""
    if a is None or b is None:
        return b if a is None else a
    return np.asarray(a, dtype=np.float64) * b


def _fit_pipeline(pipeline, X, lesson, classes, sample_weight, fit_params):
    """Fit the leading steps on likeliest labels, the last one on the targets."""
    last_name, last = pipeline.steps[-1]
    head = pipeline[:-1]
    if get_config()["enable_metadata_routing"]:
        if sample_weight is not None:
            fit_params = fit_params | {"sample_weight": sample_weight}
        others = _requested(head, "fit_transform", fit_params)
        own = _requested(last, "fit", fit_params)
        sample_weight = own.pop("sample_weight", None)
    else:
        own, others = _params_of_steps(last_name, fit_params)
    for name, step in pipeline.steps[:-1]:
        if hasattr(step, "fit_resample"):
            raise StudentError(
                f"the step {name!r} of the student, a {type(step).__name__}, adds or "
                "removes rows by their labels, which soft labels do not allow; leave "
                "it out, and balance classes with class_weight='balanced' in the last "
                "step."
            )
    if len(pipeline.steps) > 1:
        if any(isinstance(step, Nystroem) for _, step in head.steps):
            X = _as_doubles(X)
        y = classes[np.argmax(lesson.targets, axis=1)]
        with warnings.catch_warnings():
            # Few rows, early in a fit, are all used by Nystroem.
            warnings.filterwarnings("ignore", "n_components > n_samples")
            X = head.fit_transform(X, y, **others)
        # With `memory` set the fitted steps are copies that only `head` holds.
        pipeline.steps[:-1] = head.steps
    fit_student(last, X, lesson, classes=classes, sample_weight=sample_weight, **own)


def _requested(obj, method, params):
    """Return those parameters that a step, or steps, asked for."""
    names = get_routing_for_object(obj).consumes(method, params)
    return {name: params[name] for name in names}


def _params_of_steps(last_name, fit_params):
    """Split parameters among the last step, without its name, and the other ones."""
    own: dict = {}
    others: dict = {}
    for key, value in fit_params.items():
        step, _, name = key.partition("__")
        if not name:
            raise ValueError(
                f"fit parameters of a Pipeline must name their step, got {key!r}; "
                f"pass {last_name}__{key}."
            )
        (own if step == last_name else others)[name if step == last_name else key] = (
            value
        )
    return own, others


def _as_doubles(X):
    """Return rows in double precision: kernels of similar rows are nearly singular."""
    low = getattr(X, "dtype", None) in (np.float16, np.float32)
    return X.astype(np.float64) if low else X


def _check_same_rows(X, targets):
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
