"""StudentNet: a skorch net that learns from probabilities, row weights and labels."""

import copy
import dis
import inspect
import math
from contextlib import nullcontext, suppress
from functools import cache
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import (
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    column_or_1d,
    validate_data,
)
from skorch import NeuralNet
from skorch.callbacks import (
    Callback,
    EpochTimer,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
)
from skorch.dataset import Dataset
from skorch.utils import TeeGenerator, is_dataset, to_device
from torch import nn
from torch.utils.data import Subset

from skadistill.objectives import Lesson, LessonLoss
from skadistill.student._batches import (
    Rows,
    TableDataset,
    TableLoader,
    as_is,
    column_moments,
)
from skadistill.student._device_blocks import memory_of, overlapped, rows_of_a_block
from skadistill.student._module import SoftCrossEntropy, Standardize, StudentMLP
from skadistill.student._reweight import Reweight
from skadistill.student._seeding import draw_seed, seeded

__all__ = ["StudentNet"]

# One-hot rows are kept for the whole fit below this size, made per batch above.
ONE_HOT_BYTES = 2**28
# A block of prediction: large enough to hide Python, small enough for a cache.
PREDICT_BLOCK_BYTES = 2**20
# A table below this size moves to the accelerator as a whole.
DEVICE_TABLE_BYTES = 2**31
# How far, as a power of e, AdamW shrinks a weight that no gradient holds up: over
# the whole fit, so that it does not change with lr and the number of steps.
IDLE_DECAY = 1.5
_ROUTES = "_routing_method" in inspect.signature(NeuralNet.fit_loop).parameters


@cache
def _auto_device():
    return "cuda" if torch.cuda.is_available() else "cpu"


class _QuietPrintLog(PrintLog):
    """Print the table of epochs, but do not even format it when verbose is 0."""

    def on_epoch_end(self, net, **kwargs):
        if net.verbose:
            super().on_epoch_end(net, **kwargs)


class _StopTraining(Exception):
    """A callback asks to end the training in good order."""


def _was_raised_by_code(error):
    """Tell a ``raise`` statement from an interrupt that came from outside."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    opcode = trace.tb_frame.f_code.co_code[trace.tb_lasti]
    return opcode == dis.opmap["RAISE_VARARGS"]


class StudentNet(ClassifierMixin, NeuralNet):
    """Train a small network on labels or on a teacher's probabilities.

    A `skorch.NeuralNet` (``module__*``, ``optimizer__*``, ``callbacks``,
    ``history`` and the mixins work as skorch users know them) that is a
    scikit-learn classifier as well, learns from soft targets with one weight per
    row, and fits and predicts about as fast as a loop written by hand.

    For targets :math:`t_i` and weights :math:`w_i` it minimises

    .. math:: \\frac{1}{\\sum_i w_i} \\sum_i w_i \\, \\ell(f(x_i), t_i)

    where :math:`\\ell` is the cross-entropy by default. Rows of weight 0 are left
    out before anything else is computed: they are the same as absent rows.

    Parameters
    ----------
    module : "auto", class, function or torch.nn.Module, default="auto"
        The network. "auto" is a :class:`StudentMLP` sized from the data. A class
        or function is called with ``module__*`` parameters and with those of
        `n_features`, `n_classes`, `n_rows` and `input_shape` that its signature
        names; it returns a module with one output (a logit) per class. A module
        that already exists is copied at each fit, which starts from its weights:
        neither the original nor a clone is ever trained.
    criterion : class or function, default=SoftCrossEntropy
        The loss. It is called with the module's output and with targets of shape
        (n_rows, n_classes), and should return one loss per row; a criterion with
        a `reduction` parameter is created with ``reduction="none"``.
    optimizer : class, default=torch.optim.AdamW
        The optimizer; its fused kernels are used where they exist. Unless
        ``optimizer__weight_decay`` is given, that of AdamW is such that a weight
        without gradients shrinks by about exp(-1.5) over the fit, 1.0 at most.
    lr : float, default=3e-3
        Largest learning rate.
    max_epochs : "auto" or int, default="auto"
        Passes over the rows. "auto" spends a budget of steps: 1000 for a thousand
        rows, growing with the power 0.4 of their number, never fewer than 800
        steps or 5 passes. Small tables get many passes, large ones few.
    batch_size : "auto" or int, default="auto"
        Largest number of rows per step; -1 means all of them. "auto" is a power
        of two near a sixteenth of the rows, between 32 and 256.
    lr_schedule : {"auto", "cosine", "constant"}, default="auto"
        "cosine" warms up over a twentieth of the steps and then falls to zero
        along a cosine, step by step. "auto" is "cosine" unless `callbacks` holds
        a skorch ``LRScheduler``.
    standardize : "auto" or bool, default="auto"
        Put a fixed layer before the module that subtracts the mean and divides
        by the standard deviation of the (weighted) training columns; for images
        and other arrays, those of the second axis. "auto" does so for the
        default module only. Means and deviations are float32, like the inputs.
    input_dtype : str or None, default="float32"
        Type in which the module gets its input, for example "int64" for
        embeddings. None keeps the type of `X`. With "float64" the default module
        computes in double precision as well.
    predict_nonlinearity : "auto", None or callable, default="auto"
        How outputs become probabilities. "auto" is the softmax, right for logits
        and for log-probabilities, and normalised sigmoids for
        ``BCEWithLogitsLoss``. None: the module returns probabilities.
    device : "auto", str, torch.device or None, default="auto"
        "auto" is CUDA when there is one, otherwise the CPU. None leaves modules
        where they are.
    amp : {False, "bf16", "fp16"}, default=False
        Mixed precision through ``torch.autocast``; "fp16" scales the gradients.
    compile : bool, default=False
        Compile the module with ``torch.compile`` (``compile__*`` parameters).
    random_state : int, RandomState instance or None, default=None
        Determines weights, order of rows and dropout. Neither numpy's nor torch's
        global generators are moved; None asks the operating system.
    warm_start : bool, default=False
        Continue from the weights of the previous fit.
    train_split : callable or None, default=None
        A skorch split such as ``ValidSplit(5, stratified=True)``, for callbacks
        that watch a validation loss.
    callbacks : list, "disable" or None, default=None
        skorch callbacks. In their hooks the batch is ``(X, labels)``.
    verbose : int, default=0
        1 prints skorch's table of epochs.
    iterator_train, iterator_valid : class, default=TableLoader
        Loaders; a torch ``DataLoader`` works as well, more slowly.
    use_caching : bool or "auto", default="auto"
        See skorch.
    torch_load_kwargs : dict or None, default=None
        See skorch.
    **kwargs : dict
        ``module__*``, ``criterion__*``, ``optimizer__*``, ``callbacks__*``,
        ``iterator_train__*``, ``iterator_valid__*``, ``compile__*``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted class labels; the columns of `predict_proba`.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, where `X` had some.
    module_, criterion_, optimizer_ : objects
        The trained network (with its standardising layer), loss and optimizer.
    history_ : skorch.history.History
        One record per epoch. The batches of an epoch are kept only where a
        callback listens to batches; otherwise one entry holds their mean.
    n_iter_ : int
        Epochs run by the last call to a fitting method.
    max_epochs_, batch_size_ : int
        What "auto" came to.
    n_subclasses_ : int
        Outputs of the module per class; 1 unless `fit_lesson` was told otherwise.
    seed_ : int
        The seed behind the last fit.

    See Also
    --------
    fit_student : Fit any student, whether or not it knows soft targets.

    Notes
    -----
    An interrupt (Ctrl-C) leaves `fit` as ``KeyboardInterrupt``; the weights
    reached so far stay on the object. A callback that says ``raise
    KeyboardInterrupt``, as skorch's ``EarlyStopping`` does, ends the training in
    good order.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skadistill.student import StudentNet
    >>> X, y = load_iris(return_X_y=True)
    >>> net = StudentNet(max_epochs=60, random_state=0).fit(X, y)
    >>> net.score(X, y) > 0.9
    True
    """

    # skorch sets these in its constructor, where scikit-learn allows parameters
    # only; defaults on the class mean the same to skorch's own code.
    history_: Any = None
    classes_: Any
    initialized_ = False
    virtual_params_: dict = {}
    n_subclasses_ = 1
    _run = None
    _lesson_loss = None

    _parameter_constraints: dict = {
        "module": [StrOptions({"auto"}), callable],
        "criterion": [callable],
        "optimizer": [callable],
        "lr": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [
            StrOptions({"auto"}),
            Interval(Integral, 0, None, closed="left"),
        ],
        "batch_size": [
            StrOptions({"auto"}),
            Options(Integral, {-1}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "lr_schedule": [StrOptions({"auto", "cosine", "constant"})],
        "standardize": [StrOptions({"auto"}), "boolean"],
        "input_dtype": [str, None],
        "predict_nonlinearity": [StrOptions({"auto"}), None, callable],
        "amp": [StrOptions({"bf16", "fp16"}), Options(bool, {False})],
        "compile": ["boolean"],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "train_split": [None, callable],
        "callbacks": [StrOptions({"disable"}), list, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        module="auto",
        criterion=SoftCrossEntropy,
        optimizer=torch.optim.AdamW,
        *,
        lr=3e-3,
        max_epochs="auto",
        batch_size="auto",
        lr_schedule="auto",
        standardize="auto",
        input_dtype="float32",
        predict_nonlinearity="auto",
        device="auto",
        amp=False,
        compile=False,
        random_state=None,
        warm_start=False,
        train_split=None,
        callbacks=None,
        verbose=0,
        iterator_train=TableLoader,
        iterator_valid=TableLoader,
        use_caching="auto",
        torch_load_kwargs=None,
        **kwargs,
    ):
        super().__init__(
            module=module,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            iterator_train=iterator_train,
            iterator_valid=iterator_valid,
            train_split=train_split,
            callbacks=callbacks,
            predict_nonlinearity=predict_nonlinearity,
            warm_start=warm_start,
            verbose=verbose,
            device=device,
            compile=compile,
            use_caching=use_caching,
            torch_load_kwargs=torch_load_kwargs,
            **kwargs,
        )
        # Not a parameter here: `fit` builds the dataset.
        del self.dataset
        self.lr_schedule = lr_schedule
        self.standardize = standardize
        self.input_dtype = input_dtype
        self.amp = amp
        self.random_state = random_state
        for name in ("history_", "initialized_", "virtual_params_"):
            if not vars(self)[name]:
                del self.__dict__[name]

    # -- parameters --------------------------------------------------------

    @property
    def device(self):
        """Device in use. `get_params` and `clone` keep the word "auto"."""
        # skorch reads `self.device` in a dozen places, each of which needs a
        # real device; only the constructor's word must stay as it was given.
        requested = vars(self)["device"]
        if isinstance(requested, str) and requested == "auto":
            return _auto_device()
        return requested

    @device.setter
    def device(self, value):
        self.__dict__["device"] = value

    def __setattr__(self, name, attr):
        # Constructor parameters may be modules; skorch would tell them from
        # misplaced components by the absence of `initialized_`.
        if self.init_context_ is None and not name.endswith("_"):
            object.__setattr__(self, name, attr)
        else:
            super().__setattr__(name, attr)

    def __delattr__(self, name):
        if name.endswith("_"):
            super().__delattr__(name)
        else:
            object.__delattr__(self, name)

    def _get_param_names(self):
        return [k for k in vars(self) if not (k.endswith("_") or k.startswith("_"))]

    def get_params(self, deep=True):
        """Get the parameters, including those of callbacks.

        Parameters
        ----------
        deep : bool, default=True
            Include ``callbacks__*`` and the parameters of nested estimators.

        Returns
        -------
        params : dict
            Names and values.
        """
        params = self._get_params_callbacks(deep=deep)
        params.update(BaseEstimator.get_params(self, deep=deep))
        params["device"] = vars(self)["device"]
        return params

    def set_params(self, **params):
        """Set parameters, including those of callbacks, optimizer and module.

        Parameters
        ----------
        **params : dict
            Names as in `get_params`, and any ``module__*``, ``optimizer__*``, ...
            On a fitted net a new ``module__*`` starts a new module, and
            ``optimizer__*`` acts on the optimizer at once.

        Returns
        -------
        self : StudentNet
            The net.
        """
        if "callbacks" in params:
            # Looked at in `fit`, like all parameters.
            self.callbacks = params.pop("callbacks")
        return super().set_params(**params)

    def _get_params_callbacks(self, deep=True):
        # From the callbacks as they would be created, not from those of the last
        # fit: parameters do not change when a net is fitted.
        params: dict = {}
        if not deep or not (self.callbacks is None or isinstance(self.callbacks, list)):
            return params
        for name, callback in self._uniquely_named_callbacks():
            params[f"callbacks__{name}"] = callback
            if isinstance(callback, type) or not hasattr(callback, "get_params"):
                continue
            for key, value in callback.get_params().items():
                params[f"callbacks__{name}__{key}"] = value
        return params

    @property
    def _default_callbacks(self):
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("print_log", _QuietPrintLog()),
        ]

    def __repr__(self, N_CHAR_MAX=700):
        return BaseEstimator.__repr__(self, N_CHAR_MAX=N_CHAR_MAX)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = not self._is_default_module()
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "module_") and hasattr(self, "classes_")

    def __getstate__(self):
        state = super().__getstate__()
        # What only lives during a fit; a callback may pickle the net from within.
        state.pop("_run", None)
        state.pop("_lesson_loss", None)
        return state

    def __setstate__(self, state):
        state = dict(state)
        requested = state["device"]
        if isinstance(requested, str) and requested == "auto":
            state["device"] = _auto_device()
        super().__setstate__(state)
        if isinstance(requested, str) and requested == "auto":
            self.device = requested

    def load_params(self, *args, **kwargs):
        """Load weights, optimizer state or history; see skorch.

        Parameters
        ----------
        *args, **kwargs
            As in `skorch.NeuralNet.load_params`.
        """
        requested = vars(self)["device"]
        super().load_params(*args, **kwargs)
        if isinstance(requested, str) and requested == "auto":
            self.device = requested

    # -- fitting -----------------------------------------------------------

    def fit(self, X, y, sample_weight=None, **fit_params):
        """Train on labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features) or, for a \
                module of your own, (n_rows, n_features, ...)
            Training rows.
        y : array-like of shape (n_rows,)
            Class labels of any sortable type.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            Weights of the rows, not negative.
        **fit_params : dict
            Passed to the module's ``forward`` and to `train_split`.

        Returns
        -------
        self : StudentNet
            The fitted net.
        """
        self._check_parameters()
        X, y = self._check_X(X, y, reset=not self._continues())
        return self._fit_labels(X, y, None, sample_weight, "fit", fit_params)

    def fit_soft(self, X, targets, *, classes, sample_weight=None, **fit_params):
        """Train on rows of probabilities, one column per class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features) or, for a \
                module of your own, (n_rows, n_features, ...)
            Training rows.
        targets : array-like of shape (n_rows, n_classes)
            Probabilities; rows sum to 1 within 1e-3 and are rescaled to do so.
        classes : array-like of shape (n_classes,)
            What the columns of `targets` stand for, sorted and distinct.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            Weights of the rows, not negative.
        **fit_params : dict
            Passed to the module's ``forward`` and to `train_split`.

        Returns
        -------
        self : StudentNet
            The fitted net.

        Raises
        ------
        ValueError
            If targets and classes do not describe probabilities of sorted
            classes, or if there is not one row of targets per row of `X`.

        Examples
        --------
        >>> import numpy as np
        >>> from skadistill.student import StudentNet
        >>> X = np.linspace(-1, 1, 40)[:, None]
        >>> p = 1 / (1 + np.exp(-4 * X[:, 0]))
        >>> net = StudentNet(random_state=0, max_epochs=50)
        >>> net = net.fit_soft(X, np.c_[1 - p, p], classes=["no", "yes"])
        >>> net.predict([[-0.8], [0.8]])
        array(['no', 'yes'], dtype='<U3')
        """
        lesson = Lesson(targets)
        return self.fit_lesson(
            X, lesson, classes=classes, sample_weight=sample_weight, **fit_params
        )

    def fit_lesson(self, X, lesson, *, classes, sample_weight=None, **fit_params):
        """Train on what an objective makes of a teacher's probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features) or, for a \
                module of your own, (n_rows, n_features, ...)
            Training rows.
        lesson : skadistill.objectives.Lesson
            Targets, loss and weights, row by row. A lesson with a loss of its own
            takes the place of `criterion`; one with pseudo-subclasses asks the
            module for so many outputs per class, which `predict_proba` adds up.
        classes : array-like of shape (n_classes,)
            What the columns of the targets stand for, sorted and distinct.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            Weights of the rows, not negative; they multiply those of the lesson.
        **fit_params : dict
            Passed to the module's ``forward`` and to `train_split`.

        Returns
        -------
        self : StudentNet
            The fitted net.

        Raises
        ------
        ValueError
            If targets and classes do not describe probabilities of sorted
            classes, if there is not one row of targets per row of `X`, or if the
            lesson cannot be learned with this criterion or nonlinearity.

        Examples
        --------
        >>> import numpy as np
        >>> from skadistill.objectives import Evidence, SoftTarget
        >>> from skadistill.student import StudentNet
        >>> X = np.linspace(-1, 1, 40)[:, None]
        >>> p = 1 / (1 + np.exp(-4 * X[:, 0]))
        >>> evidence = Evidence(np.c_[1 - p, p], given=np.zeros(40, dtype=bool))
        >>> lesson = SoftTarget(temperature=2.0).lesson(evidence)
        >>> net = StudentNet(random_state=0, max_epochs=50)
        >>> net.fit_lesson(X, lesson, classes=[0, 1]).predict([[-0.8], [0.8]])
        array([0, 1])
        """
        self._check_parameters()
        targets, classes = check_soft_targets(lesson.targets, classes)
        X = self._check_X(X, reset=not self._continues())
        if X.shape[0] != targets.shape[0]:
            raise ValueError(
                f"X and targets must have one row each per sample, got {X.shape[0]} "
                f"rows of X and {targets.shape[0]} of targets; pass the same rows."
            )
        if self._continues() and not np.array_equal(classes, self.classes_):
            raise ValueError(
                "classes must stay the same when training continues, got "
                f"{classes.tolist()} after {self.classes_.tolist()}; pass targets "
                "for the same classes or fit a fresh clone."
            )
        self._check_lesson(lesson)
        self.classes_ = classes
        if lesson.weights is not None:
            given = 1.0 if sample_weight is None else np.asarray(sample_weight)
            sample_weight = lesson.weights * given
        if lesson.has_own_loss:
            self._lesson_loss = LessonLoss(lesson)
            targets = LessonLoss.pack(lesson.but(targets=targets))
        try:
            return self._fit_targets(
                X,
                torch.from_numpy(targets),
                sample_weight,
                "fit",
                fit_params,
                lesson=lesson,
            )
        finally:
            self.__dict__.pop("_lesson_loss", None)

    def _check_lesson(self, lesson):
        """Refuse a lesson that would silently not be learned."""
        if self._continues() and lesson.n_subclasses != self.n_subclasses_:
            raise ValueError(
                "the number of pseudo-subclasses must stay the same when training "
                f"continues, got {lesson.n_subclasses} after {self.n_subclasses_}; "
                "fit a fresh clone."
            )
        if not lesson.has_own_loss:
            return
        if self.criterion not in (SoftCrossEntropy, nn.CrossEntropyLoss):
            raise ValueError(
                f"criterion is {self.criterion!r}, but the objective brings a loss of "
                "its own; leave the criterion out, or use the objective 'soft'."
            )
        if self.predict_nonlinearity != "auto":
            raise ValueError(
                f"predict_nonlinearity is {self.predict_nonlinearity!r}, but the "
                "objective's loss reads logits; let the module return logits and "
                "leave predict_nonlinearity out."
            )

    def partial_fit(self, X, y, classes=None, sample_weight=None, **fit_params):
        """Continue training on labels for `max_epochs` more epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features, ...)
            Training rows.
        y : array-like of shape (n_rows,)
            Class labels.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes that will ever be seen, for the first call. None: those
            in `y`. The standardising layer is fixed by the first call's rows.
        sample_weight : array-like of shape (n_rows,) or None, default=None
            Weights of the rows, not negative.
        **fit_params : dict
            Passed to the module's ``forward`` and to `train_split`.

        Returns
        -------
        self : StudentNet
            The net.
        """
        self._check_parameters()
        X, y = self._check_X(X, y, reset=not self.__sklearn_is_fitted__())
        return self._fit_labels(X, y, classes, sample_weight, "partial_fit", fit_params)

    def _check_parameters(self):
        """Check the constructor's values against the table of constraints."""
        # Not `_validate_params`, which skorch uses for names.
        validate_parameter_constraints(
            self._parameter_constraints,
            self.get_params(deep=False),
            caller_name=type(self).__name__,
        )

    def _continues(self):
        return self.warm_start and self.__sklearn_is_fitted__()

    def _is_default_module(self):
        return isinstance(self.module, str) and self.module == "auto"

    def _check_X(self, X, y="no_validation", *, reset):
        """Validate inputs without copying what is already a numeric array."""
        own = not self._is_default_module()
        options = {"accept_sparse": "csr", "dtype": "numeric", "allow_nd": own}
        if self._run is not None:
            # A callback asks for predictions during training; names were checked.
            return check_array(X, **options)
        return validate_data(self, X, y, reset=reset, **options)

    def _needs_no_check(self, X):
        """Tell whether full validation would return this very array in silence.

        scikit-learn's takes as long as a thousand rows through the default module,
        which a loop written by hand does not pay.
        """
        if not (
            type(X) is np.ndarray
            and X.dtype in (np.float32, np.float64)
            and X.ndim == 2
            and len(X) > 0
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and not hasattr(self, "feature_names_in_")
        ):
            return False
        # NaN and infinity survive a sum; where a sum of finite numbers overflows,
        # the full check has the last word.
        with np.errstate(all="ignore"):
            return bool(np.isfinite(X.sum()))

    def _fit_labels(self, X, y, classes, sample_weight, method, fit_params):
        """Turn labels into targets and train."""
        check_classification_targets(y)
        known = None
        if self._continues() or (
            method == "partial_fit" and self.__sklearn_is_fitted__()
        ):
            known = self.classes_
            if classes is not None and not np.array_equal(np.unique(classes), known):
                raise ValueError(
                    "classes must stay the same when training continues, got "
                    f"{np.unique(classes).tolist()} after {known.tolist()}; leave "
                    "classes out after the first call."
                )
        elif classes is not None:
            known = np.unique(classes)
        if known is None:
            self.classes_, positions = np.unique(y, return_inverse=True)
        else:
            unseen = np.setdiff1d(y, known)
            if len(unseen):
                raise ValueError(
                    f"y holds classes {unseen.tolist()} that are not among "
                    f"{known.tolist()}; name all classes at the first call or fit a "
                    "fresh clone."
                )
            self.classes_ = known
            positions = np.searchsorted(known, y)
        targets = torch.from_numpy(positions.astype(np.int64))
        if len(y) * len(self.classes_) * 4 <= ONE_HOT_BYTES:
            targets = _one_hot(targets, len(self.classes_))
        return self._fit_targets(X, targets, sample_weight, method, fit_params)

    def _fit_targets(self, X, targets, sample_weight, method, fit_params, lesson=None):
        """Train on validated rows; the story of a fit."""
        weights = self._check_weights(sample_weight, X)
        reweight = None if lesson is None else lesson.reweight
        # Whoever reweights speaks of all rows.
        if weights is not None and not weights.all() and reweight is None:
            kept = np.flatnonzero(weights)
            X, targets, weights = X[kept], targets[kept], weights[kept]
        if weights is not None and np.ptp(weights) == 0:
            weights = None
        self._plan(X.shape[0])
        fresh = not self.initialized_ or not (
            method == "partial_fit" or self.warm_start
        )
        if lesson is None and not fresh and self.n_subclasses_ > 1:
            raise ValueError(
                f"the module has {self.n_subclasses_} outputs per class, which labels "
                "alone cannot go on training; call fit_lesson, or fit a fresh clone."
            )
        if fresh:
            self._input_shape = tuple(X.shape[1:])
            self._n_rows = X.shape[0]
            self.n_subclasses_ = 1 if lesson is None else lesson.n_subclasses
        self.seed_ = draw_seed(self.random_state)
        rows = Rows(X, self._torch_input_dtype(), protect=not self._is_default_module())
        if fresh:
            self._measure(rows, weights)
            self.initialize()
        dataset = self._dataset(X, rows, targets, weights)
        if reweight is None:
            return self._train(X, dataset, method, fit_params)
        self.callbacks_.append(("reweight", Reweight(dataset, reweight)))
        try:
            return self._train(X, dataset, method, fit_params)
        finally:
            self.callbacks_.pop()

    def _check_weights(self, sample_weight, X):
        """Validate weights; None stays None."""
        if sample_weight is None:
            return None
        if not np.any(np.asarray(sample_weight)):
            # Before scikit-learn, some versions of which say less.
            raise ValueError(
                "Sample weights must contain at least one non-zero number, got "
                f"{np.size(sample_weight)} zeros; give at least one row a weight."
            )
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if (weights < 0).any():
            raise ValueError(
                "Negative values in data passed to sample_weight: the smallest is "
                f"{weights.min():g}; pass 0 or more, as often as each row counts."
            )
        return weights

    def _plan(self, n_rows):
        """Settle the batch size and the number of epochs for this many rows."""
        batch_size = self.batch_size
        if isinstance(batch_size, str):
            batch_size = min(256, max(32, 2 ** round(math.log2(max(n_rows, 1) / 16))))
        elif batch_size == -1:
            batch_size = n_rows
        self.batch_size_ = max(1, min(int(batch_size), n_rows))
        epochs = self.max_epochs
        if isinstance(epochs, str):
            steps = -(-n_rows // self.batch_size_)
            budget = 1000 * max(0.8, (n_rows / 1000) ** 0.4)
            epochs = max(5, math.ceil(budget / steps))
        self.max_epochs_ = int(epochs)

    def _torch_input_dtype(self):
        if self.input_dtype is None:
            return None
        dtype = getattr(torch, str(self.input_dtype).removeprefix("torch."), None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(
                "input_dtype must be the name of a torch type or None, got "
                f"{self.input_dtype!r}; use for example 'float32' or 'int64'."
            )
        return dtype

    def _float_dtype(self):
        """Name the precision of weights and moments."""
        return torch.float64 if self.input_dtype == "float64" else torch.float32

    def _standardizes(self):
        if isinstance(self.standardize, str):
            return self._is_default_module()
        return bool(self.standardize)

    def _measure(self, rows, weights):
        """Compute what the standardising layer subtracts and divides by."""
        self._moments = None
        if self._standardizes():
            self._moments = column_moments(rows, weights, channels=True)

    def _dataset(self, X, rows, targets, weights):
        """Collect rows, targets and weights of mean 1 into one dataset."""
        if weights is not None:
            weights = torch.from_numpy(weights / weights.mean()).to(self._float_dtype())
        dataset = TableDataset(rows, targets, weights, X=X, classes=self.classes_)
        if rows.nbytes <= DEVICE_TABLE_BYTES:
            dataset.to(self._data_device())
        return dataset

    def _data_device(self):
        """Name the device of the batches."""
        if self.device is not None:
            return torch.device(self.device)
        parameter = next(self.module_.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def _train(self, X, dataset, method, fit_params):
        """Run the epochs inside the fit's own random numbers."""
        n_before = len(self.history_)
        seeds = np.random.SeedSequence(self.seed_).generate_state(2)
        self._run = SimpleNamespace(
            generator=torch.Generator().manual_seed(int(seeds[0])),
            step=0,
            n_steps=0,
            schedule=self._uses_schedule(),
            base_lrs=[
                (group, group["lr"])
                for name in self._optimizers
                for group in getattr(self, name + "_").param_groups
            ],
            scaler=self._make_scaler(),
            each_batch=False,
            on_grad=self._listens("on_grad_computed"),
            general=self._needs_general_step(),
        )
        labels = dataset.y
        if _ROUTES:
            fit_params = {**fit_params, "_routing_method": method}
        try:
            with seeded(int(seeds[1]), self._data_device()):
                self.notify("on_train_begin", X=X, y=labels)
                with suppress(_StopTraining):
                    self.fit_loop(
                        dataset,
                        labels if self.train_split else None,
                        epochs=self.max_epochs_,
                        **fit_params,
                    )
                self.notify("on_train_end", X=X, y=labels)
        finally:
            for group, lr in self._run.base_lrs if self._run.schedule else ():
                group["lr"] = lr
            del self._run
            self.n_iter_ = len(self.history_) - n_before
        return self

    def _uses_schedule(self):
        if self.lr_schedule == "auto":
            return not any(isinstance(cb, LRScheduler) for _, cb in self.callbacks_)
        return self.lr_schedule == "cosine"

    def _autocast(self):
        """Return the context of a forward pass under `amp`."""
        if not self.amp:
            return nullcontext()
        dtype = torch.bfloat16 if self.amp == "bf16" else torch.float16
        return torch.autocast(self._data_device().type, dtype=dtype)

    def _make_scaler(self):
        if self.amp != "fp16":
            return None
        device_type = self._data_device().type
        if hasattr(torch.amp, "GradScaler"):
            return torch.amp.GradScaler(device_type, enabled=device_type == "cuda")
        return torch.cuda.amp.GradScaler(enabled=device_type == "cuda")

    def notify(self, method_name, **cb_kwargs):
        """Call a hook of the net and of its callbacks.

        Parameters
        ----------
        method_name : str
            The hook, for example "on_epoch_end".
        **cb_kwargs : dict
            Passed to the hook.
        """
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as interrupt:
            # skorch's EarlyStopping, and callbacks after its model, end the
            # training with `raise KeyboardInterrupt`; the user's Ctrl-C may
            # arrive in the same lines and must get through.
            if self._run is not None and _was_raised_by_code(interrupt):
                raise _StopTraining from None
            raise

    def _listens(self, hook):
        """Tell whether the net or a callback does something at `hook`."""
        if getattr(type(self), hook) is not getattr(NeuralNet, hook):
            return True
        return any(
            hook in vars(callback)
            or getattr(type(callback), hook, None) is not getattr(Callback, hook)
            for _, callback in self.callbacks_
        )

    def _needs_general_step(self):
        """Tell whether steps must go through skorch's closures."""
        if type(self)._step_optimizer is not NeuralNet._step_optimizer:
            return True
        # LBFGS evaluates the loss several times per step: its closure is required.
        closures = [
            inspect.signature(type(getattr(self, name + "_")).step).parameters.get(
                "closure"
            )
            for name in self._optimizers
        ]
        return any(c is not None and c.default is c.empty for c in closures)

    # -- components, called by skorch's initialize --------------------------

    def _initialize_module(self, reason=None):
        with self._seeded_weights(0):
            return super()._initialize_module(reason=reason)

    def _initialize_criterion(self, reason=None):
        with self._seeded_weights(1):
            return super()._initialize_criterion(reason=reason)

    def _seeded_weights(self, which):
        if not hasattr(self, "seed_"):
            return nullcontext()
        seed = np.random.SeedSequence([self.seed_, which]).generate_state(1)[0]
        device = torch.device("cpu" if self.device is None else self.device)
        return seeded(int(seed), device, exclusive=True)

    def torch_compile(self, module, name):
        """Compile modules where asked to; a loss is one kernel already.

        Parameters
        ----------
        module : torch.nn.Module
            What might be compiled.
        name : str
            Its name on the net, without the underscore.

        Returns
        -------
        module : torch.nn.Module
            The module or its compiled form.
        """
        return super().torch_compile(module, name) if name in self._modules else module

    def initialize_module(self):
        """Create the module from the parameters and from what the data told."""
        module = StudentMLP if self._is_default_module() else self.module
        kwargs = self.get_params_for("module")
        if isinstance(module, nn.Module) and not kwargs:
            module = copy.deepcopy(module)
        else:
            if isinstance(module, nn.Module):
                module = type(module)
            if not callable(module):
                raise TypeError(
                    "module must be 'auto', a class, a function that returns a "
                    f"torch module, or a module, got {self.module!r}; pass one of "
                    "these."
                )
            named = _parameter_names(module)
            known = {k: v for k, v in self._data_sizes().items() if k in named}
            module = module(**{**known, **kwargs})
            if self._is_default_module():
                module = module.to(self._float_dtype())
            if not isinstance(module, nn.Module):
                raise TypeError(
                    f"module {self.module!r} must return a torch.nn.Module, got "
                    f"{type(module).__name__}; return the network itself."
                )
        moments = getattr(self, "_moments", None)
        if moments is not None:
            shift, scale = (moment.to(self._float_dtype()) for moment in moments)
            module = nn.Sequential(Standardize(shift, scale), module)
        self.module_ = module
        return self

    def _data_sizes(self):
        """List what a module's signature may ask for."""
        sizes: dict = {}
        if hasattr(self, "_input_shape"):
            sizes["input_shape"] = self._input_shape
            sizes["n_features"] = self._input_shape[0]
            sizes["n_rows"] = self._n_rows
        if hasattr(self, "classes_"):
            sizes["n_classes"] = len(self.classes_) * self.n_subclasses_
        return sizes

    def initialize_criterion(self):
        """Create the criterion, without reduction where it has a say in it."""
        kwargs = self.get_params_for("criterion")
        criterion = self.criterion
        if isinstance(criterion, nn.Module):
            if kwargs:
                criterion = type(criterion)
            else:
                self.criterion_ = copy.deepcopy(criterion)
                return self
        if "reduction" in _parameter_names(criterion):
            kwargs.setdefault("reduction", "none")
        self.criterion_ = criterion(**kwargs)
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """Create the optimizer, with fused kernels where it has them."""
        args, kwargs = self.get_params_for_optimizer(
            "optimizer", self.get_all_learnable_params()
        )
        if (
            self.optimizer is torch.optim.AdamW
            and "weight_decay" not in kwargs
            and hasattr(self, "_n_rows")
        ):
            # The learning rates of a cosine sum to about half of lr times steps.
            steps = max(1, self.max_epochs_) * -(-self._n_rows // self.batch_size_)
            kwargs["weight_decay"] = min(1.0, 2 * IDLE_DECAY / (kwargs["lr"] * steps))
        implementations = {"fused", "foreach", "capturable", "differentiable"}
        if "fused" in _parameter_names(self.optimizer) and not (
            implementations & set(kwargs)
        ):
            try:
                self.optimizer_ = self.optimizer(*args, **kwargs, fused=True)
                return self
            except RuntimeError:
                # No fused kernel for this device or this torch. The attempt has
                # left its defaults in the groups: collect them anew.
                args, _ = self.get_params_for_optimizer(
                    "optimizer", self.get_all_learnable_params()
                )
        self.optimizer_ = self.optimizer(*args, **kwargs)
        return self

    # -- the data path -----------------------------------------------------

    def get_dataset(self, X, y=None):
        """Wrap inputs for prediction; datasets pass through.

        Parameters
        ----------
        X : array-like, sparse matrix or dataset
            Validated inputs.
        y : None
            Ignored: `fit` builds its own dataset.

        Returns
        -------
        dataset : torch.utils.data.Dataset
            The rows, batch by batch.
        """
        if is_dataset(X):
            return X
        own = not self._is_default_module()
        return TableDataset(Rows(X, self._torch_input_dtype(), protect=own), X=X)

    def get_split_datasets(self, X, y=None, **fit_params):
        """Split the training dataset as `train_split` says.

        Parameters
        ----------
        X : TableDataset
            All rows of the fit.
        y : array-like or None
            Labels, for stratification.
        **fit_params : dict
            Passed to `train_split`.

        Returns
        -------
        dataset_train, dataset_valid : datasets
            The second is None without a split.
        """
        train, valid = super().get_split_datasets(X, y, **fit_params)
        return train, self._as_table(valid)

    def _as_table(self, dataset):
        """Give a foreign skorch dataset of rows and labels our batches."""
        if not isinstance(dataset, Dataset) or isinstance(dataset, TableDataset):
            return dataset
        X = check_array(
            dataset.X, accept_sparse="csr", allow_nd=not self._is_default_module()
        )
        positions = np.searchsorted(self.classes_, column_or_1d(dataset.y))
        targets = _one_hot(torch.from_numpy(positions), len(self.classes_))
        rows = Rows(X, self._torch_input_dtype())
        return self._dataset(X, rows, targets, None)

    def get_iterator(self, dataset, training=False):
        """Create the loader of a dataset.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset
            Rows, with or without targets.
        training : bool, default=False
            Shuffle, with the fit's own generator, in batches of the training
            size; otherwise walk in order through larger blocks.

        Returns
        -------
        iterator : iterable
            Batches ``(X, y)``.
        """
        prefix = "iterator_train" if training else "iterator_valid"
        kwargs = self.get_params_for(prefix)
        iterator = getattr(self, prefix)
        table: Any = dataset.dataset if isinstance(dataset, Subset) else dataset
        ours = isinstance(table, TableDataset)
        if "batch_size" not in kwargs and "batch_sampler" not in kwargs:
            if training:
                kwargs["batch_size"] = min(
                    getattr(self, "batch_size_", 128), max(1, len(dataset))
                )
            elif ours:
                kwargs["batch_size"] = self._rows_of_a_block(table.rows)
            else:
                kwargs["batch_size"] = 1024
        if kwargs.get("batch_size") == -1:
            kwargs["batch_size"] = len(dataset)
        if training and not {"sampler", "batch_sampler"} & set(kwargs):
            kwargs.setdefault("shuffle", True)
            if self._run is not None:
                kwargs.setdefault("generator", self._run.generator)
        if ours:
            kwargs.setdefault("collate_fn", as_is)
        return iterator(dataset, **kwargs)

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Walk through the batches once and record the mean loss.

        Parameters
        ----------
        iterator : iterable or None
            Batches ``(X, y)``.
        training : bool
            Whether steps are taken.
        prefix : str
            "train" or "valid".
        step_fn : callable
            What to do with a batch.
        **fit_params : dict
            Passed to `step_fn`.
        """
        if iterator is None:
            return
        run = self._run
        begins = self._listens("on_batch_begin") or run is None
        ends = self._listens("on_batch_end") or run is None
        if training and run is not None:
            run.each_batch = begins or ends
            run.n_steps = self.max_epochs_ * len(iterator)
        if begins or ends:
            self._run_epoch_with_hooks(iterator, training, prefix, step_fn, fit_params)
            return
        self._set_training(training)
        losses, sizes = [], []
        for batch in iterator:
            losses.append(step_fn(batch, **fit_params)["loss"].detach())
            sizes.append(len(batch[0]))
        # One synchronisation with the device per epoch.
        loss = float(np.average(torch.stack(losses).tolist(), weights=sizes))
        self.history.new_batch()
        self.history.record_batch(prefix + "_loss", loss)
        self.history.record_batch(prefix + "_batch_size", sum(sizes))
        self.history.record(prefix + "_batch_count", len(sizes))

    def _run_epoch_with_hooks(self, iterator, training, prefix, step_fn, fit_params):
        """Walk through the batches as skorch does, for callbacks that listen."""
        count = 0
        for batch in iterator:
            shown = self._shown_batch(batch, iterator)
            self.notify("on_batch_begin", batch=shown, training=training)
            step = step_fn(batch, **fit_params)
            self.history.record_batch(prefix + "_loss", step["loss"].item())
            self.history.record_batch(prefix + "_batch_size", len(batch[0]))
            self.notify("on_batch_end", batch=shown, training=training, **step)
            count += 1
        self.history.record(prefix + "_batch_count", count)

    def _shown_batch(self, batch, iterator):
        """Replace targets by labels, which is what scorers compare with."""
        Xi, yi = batch
        table = getattr(iterator, "dataset", None)
        table = table.dataset if isinstance(table, Subset) else table
        if not isinstance(table, TableDataset):
            return batch
        return Xi, table.labels(yi[0] if isinstance(yi, tuple | list) else yi)

    def train_step(self, batch, **fit_params):
        """Take one step of the optimizer.

        Parameters
        ----------
        batch : tuple
            Rows and targets.
        **fit_params : dict
            Passed to the module's ``forward``.

        Returns
        -------
        step : dict
            "loss" and "y_pred".
        """
        run = self._run
        if run is None:
            return super().train_step(batch, **fit_params)
        if run.schedule:
            factor = _cosine_factor(run.step, run.n_steps)
            for group, lr in run.base_lrs:
                group["lr"] = lr * factor
        run.step += 1
        if run.general:
            return super().train_step(batch, **fit_params)
        optimizers = [getattr(self, name + "_") for name in self._optimizers]
        for optimizer in optimizers:
            optimizer.zero_grad()
        step = self.train_step_single(batch, **fit_params)
        scaler = run.scaler
        if run.on_grad:
            if scaler is not None:
                for optimizer in optimizers:
                    scaler.unscale_(optimizer)
            self.notify(
                "on_grad_computed",
                named_parameters=TeeGenerator(self.get_all_learnable_params()),
                batch=batch,
                training=True,
            )
        for optimizer in optimizers:
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
        if scaler is not None:
            scaler.update()
        return step

    def train_step_single(self, batch, **fit_params):
        """Compute loss and gradients of one batch.

        Parameters
        ----------
        batch : tuple
            Rows and targets.
        **fit_params : dict
            Passed to the module's ``forward``.

        Returns
        -------
        step : dict
            "loss" and "y_pred", without their graph.
        """
        run = self._run
        if run is None or run.each_batch:
            # A hook may have predicted in between.
            self._set_training(True)
        Xi, yi = batch
        if self.amp:
            with self._autocast():
                y_pred = self.infer(Xi, **fit_params)
                loss = self.get_loss(y_pred, yi, X=Xi, training=True)
        else:
            y_pred = self.infer(Xi, **fit_params)
            loss = self.get_loss(y_pred, yi, X=Xi, training=True)
        if run is not None and run.scaler is not None:
            run.scaler.scale(loss).backward()
        else:
            loss.backward()
        if not isinstance(y_pred, tuple):
            y_pred = y_pred.detach()
        return {"loss": loss.detach(), "y_pred": y_pred}

    def infer(self, x, **fit_params):
        """Apply the module to one batch.

        Parameters
        ----------
        x : torch.Tensor
            Rows.
        **fit_params : dict
            Passed to the module's ``forward``.

        Returns
        -------
        output : torch.Tensor or tuple
            What the module returned.
        """
        if not isinstance(x, torch.Tensor):
            return super().infer(x, **fit_params)
        device = self._data_device()
        if x.device.type != device.type:
            x = x.to(device)
        return self.module_(x, **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Average the rows' losses by weight.

        Parameters
        ----------
        y_pred : torch.Tensor or tuple
            Output of the module.
        y_true : torch.Tensor or pair of tensors
            Targets (positions or probabilities), or targets and weights.
        X : torch.Tensor or None, default=None
            The batch.
        training : bool, default=False
            Whether this is a training step.

        Returns
        -------
        loss : torch.Tensor of shape ()
            The mean of weight times loss over the batch. Weights have mean 1
            over the training rows, so that the sum over batches is unbiased.
        """
        targets, weights = (
            y_true if isinstance(y_true, tuple | list) else (y_true, None)
        )
        output = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        if targets.ndim == 1:
            targets = _one_hot(targets, len(self.classes_))
        if targets.device != output.device or targets.dtype != output.dtype:
            dtype = torch.float64 if output.dtype is torch.float64 else torch.float32
            targets = targets.to(output.device, dtype)
        losses = self.row_loss(y_pred, targets)
        if losses.ndim == 0:
            if weights is None:
                return losses
            raise ValueError(
                f"criterion {self.criterion!r} returned one number for a batch of "
                f"{len(targets)} rows, so that sample_weight cannot be applied; let it "
                "return one loss per row, or leave sample_weight out."
            )
        if losses.ndim > 1:
            losses = losses.flatten(1).mean(dim=1)
        if weights is not None:
            losses = losses * weights.to(losses.device)
        return losses.mean()

    # -- what a lesson changes -----------------------------------------------

    def row_loss(self, y_pred, targets):
        """Compare outputs with targets, row by row.

        Parameters
        ----------
        y_pred : torch.Tensor of shape (n_rows, n_outputs) or tuple
            Output of the module; of a tuple the first entry is compared.
        targets : torch.Tensor of shape (n_rows, n_columns)
            Probabilities, and what else a lesson's loss reads.

        Returns
        -------
        losses : torch.Tensor of shape (n_rows,) or ()
            One loss per row, or one number where the criterion reduces.
        """
        output = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        n_outputs = len(self.classes_) * self.n_subclasses_
        if output.shape != (len(targets), n_outputs):
            raise ValueError(
                f"module returned an output of shape {tuple(output.shape)} for "
                f"targets of shape {(len(targets), n_outputs)}; return one logit per "
                "class (a signature that names n_classes is told how many)."
            )
        loss = self._lesson_loss or self.criterion_
        return loss(output, targets)

    def output_proba(self, output):
        """Turn outputs into probabilities of the classes.

        Parameters
        ----------
        output : torch.Tensor of shape (n_rows, n_classes * `n_subclasses_`)
            Output of the module.

        Returns
        -------
        proba : torch.Tensor of shape (n_rows, n_classes)
            Rows that sum to 1, float32 (float64 from a module that uses it).
        """
        nonlinearity = self.predict_nonlinearity
        if output.dtype is not torch.float64:
            output = output.float()
        if isinstance(nonlinearity, str):
            criterion = self.criterion
            kind = criterion if isinstance(criterion, type) else type(criterion)
            if not issubclass(kind, nn.BCEWithLogitsLoss):
                proba = torch.softmax(output, dim=1)
                if self.n_subclasses_ == 1:
                    return proba
                return proba.unflatten(1, (-1, self.n_subclasses_)).sum(dim=2)
            # Through the logarithm: sigmoids that all underflow still have a sum.
            return torch.softmax(nn.functional.logsigmoid(output), dim=1)
        proba = output if nonlinearity is None else nonlinearity(output)
        total = proba.sum(dim=1, keepdim=True)
        if bool((proba < 0).any()) or not bool(((total - 1).abs() < 1e-2).all()):
            raise ValueError(
                "predict_nonlinearity must lead to probabilities, got rows from "
                f"{float(proba.min()):.3g} with sums from {float(total.min()):.3g} to "
                f"{float(total.max()):.3g}; use 'auto' for logits."
            )
        return proba / total

    # -- prediction --------------------------------------------------------

    def forward_iter(self, X, training=False, device="cpu"):
        """Yield the module's outputs, block by block.

        Parameters
        ----------
        X : array-like, sparse matrix or dataset
            Rows.
        training : bool, default=False
            Whether to run the module in training mode.
        device : str, default="cpu"
            Where the outputs go.

        Yields
        ------
        output : torch.Tensor or tuple
            Output for one block of rows.
        """
        batches = self.get_iterator(self.get_dataset(X), training=False)
        for batch in overlapped(batches, self._data_device()):
            yield to_device(self.evaluation_step(batch, training), device=device)

    def _rows_of_a_block(self, rows):
        """Count rows of a block: what suits a CPU's cache, or fits on a GPU."""
        memory = memory_of(self._data_device())
        if memory is None:
            return max(32, min(8192, PREDICT_BLOCK_BYTES // rows.bytes_per_row))
        return rows_of_a_block(
            lambda block: self.evaluation_step((block,)), rows, memory
        )

    def evaluation_step(self, batch, training=False):
        """Apply the module to one block, without gradients unless training.

        Parameters
        ----------
        batch : tuple
            Rows and a target that is ignored.
        training : bool, default=False
            Whether to run in training mode, with gradients.

        Returns
        -------
        output : torch.Tensor or tuple
            What the module returned.
        """
        Xi = batch[0]
        if training or getattr(self.module_, "training", True):
            self._set_training(training)
        mode = nullcontext() if training else torch.inference_mode()
        with mode, self._autocast():
            return self.infer(Xi)

    def predict_proba(self, X):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features, ...)
            Rows.

        Returns
        -------
        proba : ndarray of float32 of shape (n_rows, n_classes)
            Columns in the order of `classes_`; rows sum to 1. Float64 where
            `input_dtype` is.
        """
        check_is_fitted(self)
        if not (self._needs_no_check(X) or is_dataset(X)):
            X = self._check_X(X, reset=False)
        blocks = []
        for output in self.forward_iter(X):
            output = output[0] if isinstance(output, tuple) else output
            with torch.inference_mode():
                blocks.append(self.output_proba(output))
        return torch.cat(blocks).numpy()

    def predict(self, X):
        """Return the likeliest class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features, ...)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_rows,)
            Entries of `classes_`.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]


def check_soft_targets(targets, classes):
    """Validate rows of probabilities against the classes they are about.

    Parameters
    ----------
    targets : array-like of shape (n_rows, n_classes)
        Probabilities.
    classes : array-like of shape (n_classes,)
        Sorted, distinct labels.

    Returns
    -------
    targets : ndarray of float32 of shape (n_rows, n_classes)
        Rows that sum to 1.
    classes : ndarray of shape (n_classes,)
        The labels as an array.

    Raises
    ------
    ValueError
        If they do not fit together.
    """
    classes = column_or_1d(np.asarray(classes))
    targets = check_array(targets, dtype=[np.float64, np.float32], input_name="targets")
    if not np.array_equal(np.unique(classes), classes):
        raise ValueError(
            f"classes must be sorted and distinct, got {classes.tolist()}; reorder "
            "them and the columns of targets together."
        )
    if targets.shape[1] != len(classes):
        raise ValueError(
            f"targets must have one column per class, got {targets.shape[1]} columns "
            f"for {len(classes)} classes; pass probabilities for "
            f"{classes.tolist()}."
        )
    if targets.min() < 0:
        raise ValueError(
            f"targets must not be negative, got {targets.min():g}; pass probabilities."
        )
    total = targets.sum(axis=1, dtype=np.float64)
    off = np.abs(total - 1)
    if off.max() > 1e-3:
        row = int(off.argmax())
        raise ValueError(
            f"rows of targets must sum to 1, got {total[row]:g} in row {row}; divide "
            "each row by its sum."
        )
    return (targets / total[:, None]).astype(np.float32), classes


def _one_hot(positions, n_classes):
    return nn.functional.one_hot(positions, n_classes).to(torch.float32)


def _parameter_names(function):
    """Name the parameters of a class or function; none where it does not tell."""
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _cosine_factor(step, n_steps):
    """Return the share of the largest learning rate that applies to a step."""
    warm = max(1, n_steps // 20)
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, n_steps - warm)))
