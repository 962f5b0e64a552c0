"""The size of a student, measured before it is trained."""

import math
import warnings
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from skorch import NeuralNet
from torch import nn

from skadistill._rows._containers import count_rows, take_rows
from skadistill._utils.validation import unlabeled_mask
from skadistill.soft_labels._as_student import as_student
from skadistill.student import StudentNet
from skadistill.student._assembly import parameter_names

__all__ = ["SIZES", "build_untrained", "count_macs", "count_params", "measure_latency"]

LATENCY_ROWS = 256
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def count_params(estimator, X, y=None):
    """Count the trainable parameters of the network that an estimator would build."""
    network = _network(build_untrained(estimator, X, y))
    if isinstance(network, nn.Module):
        return sum(p.numel() for p in network.parameters() if p.requires_grad)
    return sum(w.size for w in network.coefs_ + network.intercepts_)


def count_macs(estimator, X, y=None):
    """Count the multiply-accumulate operations of predicting one row.

    Linear and convolutional layers are counted; biases, activations, pooling and
    normalization are not.
    """
    built = build_untrained(estimator, X, y)
    network = _network(built)
    if not isinstance(network, nn.Module):
        return sum(w.size for w in network.coefs_)
    macs = []

    def count(layer, inputs, output):
        if isinstance(layer, nn.Linear):
            macs.append(output.numel() * layer.in_features)
        else:
            window = math.prod(layer.kernel_size) * layer.in_channels // layer.groups
            macs.append(output.numel() * window)

    hooks = [
        layer.register_forward_hook(count)
        for layer in network.modules()
        if isinstance(layer, (nn.Linear, *_CONVOLUTIONS))
    ]
    try:
        built.predict(take_rows(X, [0]))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(macs)


def measure_latency(estimator, X, y=None, *, batch=None, n_repeats=15):
    """Return the median seconds in which an estimator would predict a batch of rows."""
    built = build_untrained(estimator, X, y)
    batch = X if batch is None else batch
    built.predict(batch)
    seconds = []
    for _ in range(n_repeats):
        start = perf_counter()
        built.predict(batch)
        seconds.append(perf_counter() - start)
    return median(seconds)


SIZES: dict[str, Callable] = {
    "latency": measure_latency,
    "macs": count_macs,
    "params": count_params,
}


class SizeMeter:
    """Measure the size of an estimator under different parameters."""

    def __init__(self, estimator, size, X, y, random_state):
        self.estimator = estimator
        self.size = size
        self.X, self.y = X, y
        self.options: dict = {}
        if size == "latency":
            n_samples = count_rows(X)
            rows = check_random_state(random_state).permutation(n_samples)[
                :LATENCY_ROWS
            ]
            self.options["batch"] = take_rows(X, rows)

    def __call__(self, params):
        """Return the size under these parameters."""
        estimator = clone(self.estimator).set_params(**clone(params, safe=False))
        if callable(self.size):
            return self.size(estimator)
        return SIZES[self.size](estimator, self.X, self.y, **self.options)


def build_untrained(estimator, X, y=None):
    """Return an estimator as it would be after `fit`, but with untrained weights."""
    if isinstance(estimator, Pipeline):
        return _build_pipeline(estimator, X, y)
    if _is_distiller(estimator):
        labeled = np.flatnonzero(~unlabeled_mask(y, estimator.unlabeled_marker))
        X, y = take_rows(X, labeled), np.asarray(y)[labeled]
        if y.dtype == object and not isinstance(y[0], str):
            y = np.asarray(y.tolist())  # numbers that shared the array with a marker
        return build_untrained(as_student(estimator.student), X, y)
    if isinstance(estimator, StudentNet):
        return _build_student(estimator, X, y)
    if isinstance(estimator, NeuralNet):
        return clone(estimator).initialize()
    if isinstance(estimator, (MLPClassifier, MLPRegressor)):
        return _build_mlp(estimator, X, y)
    raise TypeError(
        f"the size of {type(estimator).__name__} is not known; pass a function "
        "size(estimator) -> float, or use a StudentNet, another skorch net, an "
        "MLPClassifier, a Pipeline that ends in one or an ActiveDistiller with such a "
        "student."
    )


def _build_pipeline(pipeline, X, y):
    """Fit the leading steps, build the last one."""
    pipeline = clone(pipeline)
    if len(pipeline.steps) > 1:
        head = pipeline[:-1]
        X = head.fit_transform(X, y)
        # With `memory` set the fitted steps are copies that only `head` holds.
        pipeline.steps[:-1] = head.steps
    name, last = pipeline.steps[-1]
    pipeline.steps[-1] = (name, build_untrained(last, X, y))
    return pipeline


def _build_student(net, X, y):
    """Fit for no epochs on a few rows, which show the shape and all classes."""
    net = clone(net).set_params(
        max_epochs=0, callbacks="disable", compile=False, train_split=None, verbose=0
    )
    sized = (
        net.module == "auto"
        if isinstance(net.module, str)
        else ("n_samples" in parameter_names(net.module))
    )
    if sized and "module__n_samples" not in net.get_params():
        net.set_params(module__n_samples=count_rows(X))
    rows = _few_rows(y)
    try:
        return net.fit(take_rows(X, rows), take_rows(y, rows))
    except TypeError as error:
        raise ValueError(
            f"the module cannot be created with {net.get_params_for('module')!r}: "
            f"{error}; correct the parameters whose names begin with module__."
        ) from error


def _build_mlp(mlp, X, y):
    """Fit for one step on few rows."""
    rows = _few_rows(y) if isinstance(mlp, MLPClassifier) else np.arange(2)
    mlp = clone(mlp).set_params(
        max_iter=1, solver="sgd", early_stopping=False, batch_size="auto", verbose=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mlp.fit(take_rows(X, rows), take_rows(y, rows))


def _few_rows(y):
    """List one row of each class three times: scikit-learn warns of rarer classes."""
    return np.tile(np.unique(np.asarray(y), return_index=True)[1], 3)


def _network(built):
    """Return the torch module or the scikit-learn MLP of a built estimator."""
    if isinstance(built, Pipeline):
        return _network(built.steps[-1][1])
    return built.module_ if isinstance(built, NeuralNet) else built


def _is_distiller(estimator):
    """Tell whether this is an ActiveDistiller, which cannot be imported from here."""
    return all(
        hasattr(estimator, name) for name in ("teacher", "student", "unlabeled_marker")
    )
