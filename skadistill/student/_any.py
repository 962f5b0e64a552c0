"""Any classifier as a student: one door for nets, pipelines and weighted rows."""

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _num_samples, has_fit_parameter

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import Lesson
from skadistill.student._checks import check_soft_targets
from skadistill.student._net import StudentNet
from skadistill.student._reweight import check_new_weights

__all__ = ["as_student", "default_student", "expand_soft_labels", "fit_student"]


def expand_soft_labels(X, targets, classes, sample_weight=None, *, threshold=1e-3):
    """Turn rows with probabilities into labeled rows with weights.

    A row with weight :math:`w_i` and target :math:`t_i` becomes one copy per
    class, labeled :math:`c` and weighing :math:`w_i t_{ic}`. For every learner
    whose loss is a weighted sum over rows, training on the copies is training on
    the cross-entropy with soft targets.

    Parameters
    ----------
    X : array-like, sparse matrix, frame or list of length n_samples
        Rows of any kind that can be indexed.
    targets : array-like of shape (n_samples, n_classes)
        Probabilities; rows sum to 1.
    classes : array-like of shape (n_classes,)
        Sorted labels of the columns.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows; None means 1.
    threshold : float, default=1e-3
        Copies for classes less likely than this are left out and the row's other
        copies take over their weight. A class that no row would keep stays at
        its likeliest row, so that it is not forgotten.

    Returns
    -------
    X : same type as `X`, n_copies rows
        The copies, those of one row next to each other.
    y : ndarray of shape (n_copies,)
        Labels.
    weight : ndarray of shape (n_copies,)
        Weights; over the copies of a row they sum to the row's weight.

    Examples
    --------
    >>> from skadistill.student import expand_soft_labels
    >>> expand_soft_labels(
    ...     ["a", "b"], [[0.25, 0.75], [1.0, 0.0]], ["no", "yes"]
    ... )
    (['a', 'a', 'b'], array(['no', 'yes', 'no'], dtype='<U3'), array([0.25, 0.75, 1. ]))
    """
    _, classes = check_soft_targets(targets, classes)
    targets = np.asarray(targets, dtype=np.float64)
    n_samples = len(targets)
    if _num_samples(X) != n_samples:
        raise ValueError(
            f"X and targets must have one row each per sample, got {_num_samples(X)} "
            f"rows of X and {n_samples} of targets; pass the same rows."
        )
    if not 0 <= threshold < 1:
        raise ValueError(
            f"threshold must be a probability below 1, got {threshold!r}; pass for "
            "example 1e-3."
        )
    # The likeliest class of a row always stays, whatever the threshold.
    keep = (targets >= np.minimum(threshold, targets.max(axis=1))[:, None]) & (
        targets > 0
    )
    for column in np.flatnonzero(~keep.any(axis=0)):
        row = targets[:, column].argmax()
        keep[row, column] = targets[row, column] > 0
    mass = np.where(keep, targets, 0.0)
    mass /= mass.sum(axis=1, keepdims=True)
    if sample_weight is not None:
        mass *= np.asarray(sample_weight, dtype=np.float64)[:, None]
    rows, columns = np.nonzero(keep)
    return _safe_indexing(X, rows), classes[columns], mass[rows, columns]


def fit_student(estimator, X, targets, *, classes, sample_weight=None, **fit_params):
    """Fit a classifier to a teacher's probabilities, or to an objective's lesson.

    Parameters
    ----------
    estimator : classifier or Pipeline
        What to fit, in place. One with a method `fit_lesson` gets the lesson, one
        with a method `fit_soft` the probabilities as they are; the steps of a
        `Pipeline` are fitted in turn; any other classifier whose `fit` takes
        `sample_weight` gets the rows that :func:`expand_soft_labels` makes.
    X : array-like, sparse matrix, frame or list of length n_samples
        Training rows.
    targets : array-like of shape (n_samples, n_classes) or Lesson
        Probabilities; rows sum to 1. Or what an objective makes of them: a lesson
        whose weights depend on the student fits other students than nets twice,
        one that brings a loss of its own needs a net.
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
    TypeError
        If the estimator is no classifier or its `fit` takes no weights.
    ValueError
        If the fitted estimator knows other classes than `classes`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill.student import fit_student
    >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> p = np.array([0.1, 0.3, 0.7, 0.9])
    >>> student = LogisticRegression()
    >>> student = fit_student(student, X, np.c_[1 - p, p], classes=[0, 1])
    >>> student.predict([[-3.0], [3.0]])
    array([0, 1])
    """
    lesson = targets if isinstance(targets, Lesson) else Lesson(np.asarray(targets))
    _, classes = check_soft_targets(lesson.targets, classes)
    if hasattr(estimator, "fit_lesson"):
        estimator.fit_lesson(
            X, lesson, classes=classes, sample_weight=sample_weight, **fit_params
        )
    elif isinstance(estimator, Pipeline):
        _fit_pipeline(estimator, X, lesson, classes, sample_weight, fit_params)
    elif hasattr(estimator, "fit_soft") or _is_weighted_classifier(estimator):
        _fit_weighted(estimator, X, lesson, classes, sample_weight, fit_params)
    else:
        raise TypeError(
            "a student must be a classifier whose fit takes sample_weight, or have a "
            f"method fit_soft, got {estimator!r}; use for example StudentNet or "
            "LogisticRegression."
        )
    fitted = getattr(estimator, "classes_", None)
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
    return classifier and has_fit_parameter(estimator, "sample_weight")


def _fit_weighted(estimator, X, lesson, classes, sample_weight, fit_params):
    """Fit to targets and weights; once more where the weights need a student."""
    if lesson.has_own_loss:
        raise ObjectiveError(
            "the objective brings a loss of its own, which "
            f"{type(estimator).__name__} cannot follow; use a StudentNet, or an "
            "objective made of targets and weights, such as 'soft' or 'debiased'."
        )
    weight = _product(sample_weight, lesson.weights)
    _fit_once(estimator, X, lesson.targets, classes, weight, fit_params)
    if lesson.reweight is None:
        return
    new = np.asarray(lesson.reweight(np.asarray(estimator.predict_proba(X))))
    weight = _product(weight, check_new_weights(new, len(lesson.targets)))
    _fit_once(estimator, X, lesson.targets, classes, weight, fit_params)


def _fit_once(estimator, X, targets, classes, weight, fit_params):
    """Fit to probabilities, or to the rows and weights that stand for them."""
    if hasattr(estimator, "fit_soft"):
        estimator.fit_soft(
            X, targets, classes=classes, sample_weight=weight, **fit_params
        )
        return
    X_rows, y, weight = expand_soft_labels(X, targets, classes, weight)
    estimator.fit(X_rows, y, sample_weight=weight, **fit_params)


def _product(a, b):
    """Multiply weights, None standing for 1."""
    if a is None or b is None:
        return b if a is None else a
    return np.asarray(a, dtype=np.float64) * b


def _fit_pipeline(pipeline, X, lesson, classes, sample_weight, fit_params):
    """Fit the leading steps on likeliest labels, the last one on the targets."""
    last_name, last = pipeline.steps[-1]
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
    if len(pipeline.steps) > 1:
        head = pipeline[:-1]
        X = head.fit_transform(X, classes[np.argmax(lesson.targets, axis=1)], **others)
        # With `memory` set the fitted steps are copies that only `head` holds.
        pipeline.steps[:-1] = head.steps
    fit_student(last, X, lesson, classes=classes, sample_weight=sample_weight, **own)


def default_student(random_state=None):
    """Create the student that is trained when none is named.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=None
        Seed of the net.

    Returns
    -------
    student : StudentNet
        An unfitted net with default settings.
    """
    return StudentNet(random_state=random_state)


def as_student(student=None, random_state=None):
    """Make an unfitted student of one's own from what a user passed.

    Parameters
    ----------
    student : classifier, Pipeline or None, default=None
        Cloned; None stands for :func:`default_student`.
    random_state : int, RandomState instance or None, default=None
        Where the clone or one of its parts has a `random_state` that is None, it
        is set to a number drawn from this one. None leaves all as they are.

    Returns
    -------
    student : estimator
        An unfitted student; the original is not touched.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill.student import as_student
    >>> as_student(LogisticRegression(), random_state=0).random_state is None
    False
    """
    if isinstance(student, type):
        raise TypeError(
            f"student must be an instance, got the class {student.__name__}; pass "
            f"{student.__name__}()."
        )
    student = default_student() if student is None else clone(student)
    if random_state is None:
        return student
    random_state = check_random_state(random_state)
    settings = {
        key: random_state.randint(np.iinfo(np.int32).max)
        for key, value in sorted(student.get_params(deep=True).items())
        if value is None and (key == "random_state" or key.endswith("__random_state"))
    }
    return student.set_params(**settings) if settings else student
