"""StudentNet: a skorch net that learns from probabilities, row weights and labels."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_array, check_is_fitted
from skorch.utils import is_dataset

from skadistill._utils.compat import (
    Interval,
    Options,
    StrOptions,
    validate_data,
    validate_parameters,
)
from skadistill.objectives import Lesson
from skadistill.objectives._loss import LessonLoss
from skadistill.student._batches import TableLoader
from skadistill.student._checks import (
    check_loss_is_free,
    check_same_classes,
    check_soft_targets,
    is_clean_table,
)
from skadistill.student._module import SoftCrossEntropy
from skadistill.student._training import TrainableNet

__all__ = ["StudentNet"]


class StudentNet(ClassifierMixin, TrainableNet):
    """Train a small network on labels or on a teacher's probabilities.

    A `skorch.NeuralNet` (``module__*``, ``optimizer__*``, ``callbacks``,
    ``history`` and the mixins work as skorch users know them) that is a
    scikit-learn classifier as well, learns from soft targets with one weight per
    row, and fits and predicts about as fast as a plain torch loop.

    For targets :math:`t_i` and weights :math:`w_i` it minimizes

    .. math:: \\frac{1}{\\sum_i w_i} \\sum_i w_i \\, \\ell(f(x_i), t_i)

    where :math:`\\ell` is the cross-entropy by default. Rows of weight 0 are left
    out before anything else is computed: they are the same as absent rows.

    Parameters
    ----------
    module : "auto", class, function or torch.nn.Module, default="auto"
        The network. "auto" is a :class:`StudentMLP` sized from the data, with a
        dropout of 0.1 below 5000 rows unless ``module__dropout`` is given. A class
        or function is called with ``module__*`` parameters and with those of
        `n_features`, `n_classes`, `n_samples` and `input_shape` that its signature
        names; it returns a module with one output (a logit) per class. A module
        that already exists is copied at each fit, which starts from its weights:
        neither the original nor a clone is ever trained.
    criterion : class or function, default=SoftCrossEntropy
        The loss. It is called with the module's output and with targets of shape
        (n_samples, n_classes), and should return one loss per row; a criterion with
        a `reduction` parameter is created with ``reduction="none"``.
    optimizer : class, default=torch.optim.AdamW
        The optimizer; its fused kernels are used if they exist. Unless
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
    device : "auto", str, torch.device or None, default="auto"
        "auto" is CUDA when there is one, otherwise the CPU. None does not
        move modules.
    random_state : int, RandomState instance or None, default=None
        Determines weights, order of rows and dropout. Neither numpy's nor torch's
        global generators are moved; None asks the operating system.
    warm_start : bool, default=False
        Continue from the weights of the previous fit.

    Other Parameters
    ----------------
    input_dtype : str or None, default="float32"
        Type in which the module gets its input, for example "int64" for
        embeddings. None keeps the type of `X`. With "float64" the default module
        computes in double precision as well.
    predict_nonlinearity : "auto", None or callable, default="auto"
        How outputs become probabilities. "auto" is the softmax, right for logits
        and for log-probabilities, and normalized sigmoids for
        ``BCEWithLogitsLoss``. None: the module returns probabilities.
    amp : {False, "bf16", "fp16"}, default=False
        Mixed precision through ``torch.autocast``; "fp16" scales the gradients.
    compile : bool, default=False
        Compile the module with ``torch.compile`` (``compile__*`` parameters).
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
        The trained network (with its standardizing layer), loss and optimizer.
    history_ : skorch.history.History
        One record per epoch. The batches of an epoch are kept only if a
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

    classes_: NDArray[Any]
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    module_: Any
    criterion_: Any
    optimizer_: Any
    history_: Any
    n_iter_: int
    max_epochs_: int
    batch_size_: int
    n_subclasses_: int
    seed_: int

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
        module: Any = "auto",
        criterion: Any = SoftCrossEntropy,
        optimizer: Any = torch.optim.AdamW,
        *,
        lr: float = 3e-3,
        max_epochs: str | int = "auto",
        batch_size: str | int = "auto",
        lr_schedule: str = "auto",
        standardize: str | bool = "auto",
        device: Any = "auto",
        random_state: Any = None,
        warm_start: bool = False,
        input_dtype: str | None = "float32",
        predict_nonlinearity: str | Callable[..., Any] | None = "auto",
        amp: Any = False,
        compile: bool = False,
        train_split: Callable[..., Any] | None = None,
        callbacks: list[Any] | str | None = None,
        verbose: int = 0,
        iterator_train: Any = TableLoader,
        iterator_valid: Any = TableLoader,
        use_caching: bool | str = "auto",
        torch_load_kwargs: dict[Any, Any] | None = None,
        **kwargs: Any,
    ) -> None:
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
        self.lr_schedule = lr_schedule
        self.standardize = standardize
        self.input_dtype = input_dtype
        self.amp = amp
        self.random_state = random_state
        # No parameters here: `fit` builds the dataset, the others are on the class.
        for name in ("dataset", "history_", "initialized_", "virtual_params_"):
            self.__dict__.pop(name)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = not self._is_default_module()
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "module_") and hasattr(self, "classes_")

    # -- fitting -----------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Train on labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features) or, for a \
                custom module, (n_samples, n_features, ...)
            Training rows.
        y : array-like of shape (n_samples,)
            Class labels of any sortable type.
        sample_weight : array-like of shape (n_samples,) or None, default=None
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

    def fit_soft(
        self,
        X: Any,
        targets: Any,
        *,
        classes: Any,
        sample_weight: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Train on rows of probabilities, one column per class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features) or, for a \
                custom module, (n_samples, n_features, ...)
            Training rows.
        targets : array-like of shape (n_samples, n_classes)
            Probabilities; rows sum to 1 within 1e-3 and are rescaled to do so.
        classes : array-like of shape (n_classes,)
            What the columns of `targets` stand for, sorted and distinct.
        sample_weight : array-like of shape (n_samples,) or None, default=None
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

    def fit_lesson(
        self,
        X: Any,
        lesson: Any,
        *,
        classes: Any,
        sample_weight: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Train on what an objective makes of a teacher's probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features) or, for a \
                custom module, (n_samples, n_features, ...)
            Training rows.
        lesson : skadistill.objectives.Lesson
            Targets, loss and weights, row by row. A lesson with its own loss
            takes the place of `criterion`; one with pseudo-subclasses asks the
            module for so many outputs per class, which `predict_proba` adds up.
        classes : array-like of shape (n_classes,)
            What the columns of the targets stand for, sorted and distinct.
        sample_weight : array-like of shape (n_samples,) or None, default=None
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
        >>> from skadistill.objectives import Evidence, SoftTargets
        >>> from skadistill.student import StudentNet
        >>> X = np.linspace(-1, 1, 40)[:, None]
        >>> p = 1 / (1 + np.exp(-4 * X[:, 0]))
        >>> evidence = Evidence(np.c_[1 - p, p], given=np.zeros(40, dtype=bool))
        >>> lesson = SoftTargets(temperature=2.0).lesson(evidence)
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
        if self._continues():
            remedy = "pass targets for the same classes or fit a fresh clone"
            check_same_classes(classes, self.classes_, remedy)
        if lesson.has_own_loss:
            check_loss_is_free(self.criterion, self.predict_nonlinearity)
        self.classes_ = classes
        if lesson.weights is not None:
            given = 1.0 if sample_weight is None else np.asarray(sample_weight)
            sample_weight = lesson.weights * given
        if lesson.has_own_loss:
            targets = LessonLoss.pack(lesson.replace(targets=targets))
        targets = torch.from_numpy(targets)
        return self._fit_targets(
            X, targets, sample_weight, "fit", fit_params, lesson=lesson
        )

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Continue training on labels for `max_epochs` more epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features, ...)
            Training rows.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes that will ever be seen, for the first call. None: those
            in `y`. The standardizing layer is fixed by the first call's rows.
        sample_weight : array-like of shape (n_samples,) or None, default=None
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
        # skorch uses the name `_validate_params` for something else.
        validate_parameters(self)

    def _continues(self):
        return self.warm_start and self.__sklearn_is_fitted__()

    def _check_X(self, X, y="no_validation", *, reset):
        """Validate inputs without copying what is already a numeric array."""
        own = not self._is_default_module()
        options = {"accept_sparse": "csr", "dtype": "numeric", "allow_nd": own}
        if self._run is not None:
            # A callback asks for predictions during training; names were checked.
            return check_array(X, **options)
        return validate_data(self, X, y, reset=reset, **options)

    def _needs_no_check(self, X):
        named = hasattr(self, "feature_names_in_")
        return not named and is_clean_table(X, getattr(self, "n_features_in_", None))

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features, ...)
            Rows.

        Returns
        -------
        proba : ndarray of float32 of shape (n_samples, n_classes)
            Columns in the order of `classes_`; rows sum to 1. Float64 where
            `input_dtype` is.
        """
        check_is_fitted(self)
        if not (is_dataset(X) or self._needs_no_check(X)):
            X = self._check_X(X, reset=False)
        blocks = []
        for output in self.forward_iter(X):
            with torch.inference_mode():
                blocks.append(self.output_proba(output))
        return torch.cat(blocks).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features, ...)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Entries of `classes_`.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]
