"""Make a teacher from an estimator or a function."""

import inspect
from collections.abc import Callable
from typing import Any

from sklearn.base import BaseEstimator, is_classifier

from skadistill._utils.display import text_of
from skadistill.exceptions import TeacherError
from skadistill.teachers._base import BaseTeacher
from skadistill.teachers._estimator import EstimatorTeacher
from skadistill.teachers._function import FunctionTeacher

__all__ = ["as_teacher"]


def as_teacher(
    obj: Any,
    *,
    classes: Any = None,
    allow_missing_classes: bool = False,
    allow_extra_classes: bool = False,
    name: str | None = None,
    version: str | None = None,
    embedding: str | Callable[..., Any] | None = None,
    batch_size: int | None = None,
    cost_per_row: float | None = None,
    on_invalid: str = "raise",
    multilabel: bool = False,
) -> BaseTeacher:
    r"""Make a teacher from an estimator or a function; a teacher is returned as is.

    Parameters
    ----------
    obj : estimator, callable or BaseTeacher
        Something with ``predict_proba``, ``decision_function`` or ``predict``; or a
        function from rows to probabilities or labels, see `FunctionTeacher`. A fitted
        estimator is used as it is, never copied and never fitted again; of an unfitted
        one a clone is fitted on the labeled rows.
    classes : array-like of shape (n_classes,) or None, default=None
        What the columns of its answers mean. None: an estimator's ``classes_``;
        for a function, the classes asked for, in order.
    allow_missing_classes : bool, default=False
        Whether the teacher may lack classes; they get probability 0.
    allow_extra_classes : bool, default=False
        Whether the teacher may know more classes; their share is dropped and the
        row renormalized.
    name, version : str or None, default=None
        The identity under which a ledger files the answers. None: what decides about
        them is read from an estimator; a function is known in this process only.
    embedding : None, str or callable, default=None
        Where embeddings come from, for objectives such as
        :class:`~skadistill.objectives.LELP`: the name of a method, such as
        "transform"; a function of rows that returns an array of shape
        (n_samples, n_dims); or "pair", for a function that returns answers and
        embeddings at once. None: the last hidden layer of an
        :class:`~sklearn.neural_network.MLPClassifier` or a skorch net; others have
        none. An identity without a name includes the embedding's: give a `name` to
        keep labels when it changes.
    batch_size : int or None, default=None
        Rows that a fit or a purchase asks about at a time. They are in the ledger
        before the next are asked, so that a fault costs at most those in flight.
        None: all rows of a round at once.
    cost_per_row : float or None, default=None
        What one answer costs, in the user's money, for ledgers with ``max_cost`` and
        for :meth:`~skadistill.ActiveDistiller.plan`. None: not known.
    on_invalid : {"raise", "skip"}, default="raise"
        What an unusable answer is, such as an unknown label or probabilities that do
        not sum to 1. "raise": an error, once all answers are recorded; the next run
        leaves the row out. "skip": no label; paid for, recorded, and left out.
    multilabel : bool, default=False
        Whether a row may have several labels: an answer is then the probability that
        each applies, of shape (n_samples, n_labels), or a list of names per row, empty
        where none applies. A fit sets it where `y` is an indicator matrix.

    Returns
    -------
    teacher : BaseTeacher
        `obj` itself if it is one. For an estimator, one whose ``estimator_`` is the
        clone that ``fit`` fitted.

    Raises
    ------
    TeacherError
        If `obj` is neither, is a class instead of an instance, or is already a
        teacher while an option is given.

    Notes
    -----
    Of an estimator the first of these is called: ``predict_proba``;
    ``decision_function``, whose scores :math:`s` become :math:`\mathrm{softmax}(s)`, or
    :math:`1 / (1 + e^{-s})` for the second of two classes; ``predict``, whose labels
    become one-hot rows (probabilities stay as they are). Scores squashed into
    probabilities are *not calibrated*: their order is the classifier's, their size is
    not a frequency. If the size matters (soft targets, debiasing), wrap the classifier
    in :class:`~sklearn.calibration.CalibratedClassifierCV`.

    The identity of an estimator without a name is its class, parameters and fitted
    attributes, read in about a second for 500 MB: the same after answering, from a file
    and in another process. Fitted here, it is its class, parameters, training rows and
    labels; without a ``random_state``, teachers that differ by chance share labels. One
    that holds a class or function of the user, or something that cannot be read, such
    as a client, is known in this process only, and a ledger in a file asks for a name.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill.teachers import as_teacher
    >>> as_teacher(LogisticRegression()).is_fitted
    False
    >>> as_teacher(lambda X: [0] * len(X)).ask([[1.0]], [0, 1])
    array([[1., 0.]])

    A pipeline's embeddings are what its classifier reads:

    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    >>> pipeline = pipeline.fit([[0.0], [2.0]], [0, 1])
    >>> teacher = as_teacher(pipeline, embedding="transform")
    >>> teacher.embed([[0.0], [4.0]])
    array([[-1.],
           [ 3.]], dtype=float32)
    """
    options = {
        "classes": classes,
        "allow_missing_classes": allow_missing_classes,
        "allow_extra_classes": allow_extra_classes,
        "name": name,
        "version": version,
        "embedding": embedding,
        "batch_size": batch_size,
        "cost_per_row": cost_per_row,
        "on_invalid": on_invalid,
        "multilabel": multilabel,
    }
    if isinstance(obj, BaseTeacher):
        defaults = {"on_invalid": "raise", "allow_missing_classes": False}
        defaults |= {"allow_extra_classes": False, "multilabel": False}
        given = [k for k, v in options.items() if v is not defaults.get(k)]
        if given:
            raise TeacherError(
                f"as_teacher received a teacher, {type(obj).__name__}, together with "
                f"{', '.join(given)}; set these on the teacher itself."
            )
        return obj
    if inspect.isclass(obj):
        raise TeacherError(
            f"as_teacher received the class {obj.__name__}; pass an instance of it."
        )
    methods = ("predict_proba", "decision_function", "predict")
    # A stacked classifier has these only once it is fitted.
    classifier = isinstance(obj, BaseEstimator) and is_classifier(obj)
    if classifier or any(callable(getattr(obj, method, None)) for method in methods):
        return EstimatorTeacher(obj, **options)
    if callable(obj):
        return FunctionTeacher(obj, **options)
    raise TeacherError(
        f"as_teacher received {text_of(obj):.80}, of type {type(obj).__name__}, which "
        "cannot be asked; pass an estimator with predict_proba, decision_function or "
        "predict, or a function that takes rows and returns probabilities or labels."
    )
