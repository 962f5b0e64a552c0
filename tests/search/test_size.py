"""Sizes: what the student would be, known before it is trained."""

import time
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from skadistill import ActiveDistiller, StudentNet
from skadistill.search import (
    LayeredCNN,
    LayeredMLP,
)
from skadistill.search._size import (
    SizeMeter,
    build_untrained,
    count_macs,
    count_params,
    measure_latency,
)

X, Y = load_iris(return_X_y=True)
NET = StudentNet(LayeredMLP, module__width_1=8, module__width_2=5, max_epochs=3)
# 4 columns, 8 and 5 hidden units, 3 classes.
PARAMS = (4 + 1) * 8 + (8 + 1) * 5 + (5 + 1) * 3
MACS = 4 * 8 + 8 * 5 + 5 * 3


def teacher(rows):
    raise AssertionError("measuring a size must not ask the teacher")


NETWORKS = {
    "StudentNet": NET,
    "default student": StudentNet(module__hidden_sizes=(8, 5)),
    "MLPClassifier": MLPClassifier((8, 5)),
    "Pipeline": make_pipeline(StandardScaler(), NET),
    "Pipeline of MLP": make_pipeline(StandardScaler(), MLPClassifier((8, 5))),
    "ActiveDistiller": ActiveDistiller(teacher, NET),
    "ActiveDistiller with Pipeline": ActiveDistiller(
        teacher, make_pipeline(StandardScaler(), NET)
    ),
    "Pipeline with ActiveDistiller": make_pipeline(
        StandardScaler(), ActiveDistiller(teacher, NET)
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_found_and_counted(name):
    """Wherever the student sits, its weights and multiplications are counted."""
    assert count_params(NETWORKS[name], X, Y) == PARAMS
    assert count_macs(NETWORKS[name], X, Y) == MACS


@pytest.mark.parametrize("name", ["StudentNet", "MLPClassifier", "default student"])
def test_the_count_is_that_of_the_trained_estimator(name):
    """What is counted before training is what training leaves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = NETWORKS[name].fit(X, Y)
    if isinstance(fitted, MLPClassifier):
        weights = sum(w.size for w in fitted.coefs_ + fitted.intercepts_)
    else:
        weights = sum(p.numel() for p in fitted.module_.parameters())
    assert weights == PARAMS


def test_binary_and_regression_mlps_have_one_output():
    """scikit-learn's MLP needs one output for two classes and for one target."""
    expected = (4 + 1) * 8 + (8 + 1) * 1
    assert count_params(MLPClassifier((8,)), X, Y > 0) == expected
    assert count_params(MLPRegressor(hidden_layer_sizes=(8,)), X, X[:, 0]) == expected


def test_the_leading_steps_decide_the_columns():
    """Behind a PCA to two columns the network is smaller."""
    pipeline = make_pipeline(PCA(2), NET)
    assert count_params(pipeline, X, Y) == PARAMS - 2 * 8


def test_rows_without_label_add_no_class_and_no_size():
    """Of a distiller's rows only the labeled ones show the classes, in any type."""
    partly = np.where(np.arange(150) % 3 == 0, Y, -1)
    assert count_params(NETWORKS["ActiveDistiller"], X, partly) == PARAMS
    mixed = partly.astype(object)
    assert count_params(NETWORKS["ActiveDistiller"], X, mixed) == PARAMS


@pytest.mark.parametrize("network", [StudentNet(module__hidden_sizes=()), "mlp"])
def test_many_classes_are_no_reason_to_warn(network):
    """Few rows of many classes look like regression to scikit-learn."""
    rows, labels = np.zeros((90, 2)), np.repeat(np.arange(30), 3)
    if network == "mlp":
        network = MLPClassifier(())
    assert count_params(network, rows, labels) == (2 + 1) * 30


def test_a_student_sized_by_rows_is_counted_at_its_full_number_of_rows():
    """The automatic widths grow with the rows; counting looks at a few, but knows."""
    many = np.tile(X, (3, 1)), np.tile(Y, 3)
    few = count_params(StudentNet(), X, Y)
    assert few == 4 * 64 + 64 + 64 * 64 + 64 + 64 * 3 + 3
    assert count_params(StudentNet(), *many) == 4 * 128 + 128 * 130 + 128 * 3 + 3


def test_frozen_weights_are_not_trainable_parameters():
    """Only what training sets is counted."""

    class HalfFrozen(LayeredMLP):
        def __init__(self, n_features, n_classes):
            super().__init__(n_features, n_classes, width_1=8)
            self[0].weight.requires_grad_(False)

    assert count_params(StudentNet(HalfFrozen), X, Y) == 8 + (8 + 1) * 3


def test_a_skorch_net_of_another_kind_is_counted():
    """A net that needs no data to be built is built as skorch does."""
    net = NeuralNetClassifier(nn.Linear, module__in_features=4, module__out_features=3)
    assert count_params(net, X, Y) == 15
    assert count_macs(net, X.astype(np.float32), Y) == 12


def test_multiplications_of_convolutions_are_counted_per_pixel():
    """8 x 8 pixels, then 4 x 4; kernels times channels in times channels out."""
    net = StudentNet(LayeredCNN, module__width_1=4, module__width_2=6, max_epochs=1)
    images = np.zeros((6, 3, 8, 8), dtype=np.float32)
    labels = [0, 1, 0, 1, 0, 1]
    expected = 64 * 4 * 3 * 9 + 16 * 6 * 4 * 9 + 6 * 2
    assert count_macs(net, images, labels) == expected
    assert count_params(net, images, labels) == (
        4 * 3 * 9 + 2 * 4 + 6 * 4 * 9 + 2 * 6 + 6 * 2 + 2
    )


def test_grouped_convolutions_multiply_less():
    """Each output channel sees only its group's channels."""

    def module(input_shape, n_classes):
        convolution = nn.Conv2d(4, 4, 3, groups=2, bias=False)
        return nn.Sequential(convolution, nn.Flatten(), nn.Linear(4, n_classes))

    images = np.zeros((4, 4, 3, 3), dtype=np.float32)
    assert count_macs(StudentNet(module), images, [0, 1, 0, 1]) == 4 * 2 * 9 + 4 * 2


def test_latency_is_the_median_time_of_predicting_the_batch(monkeypatch):
    """The first prediction and slow outliers do not count; the batch is the one given.

    The clock is replaced by one that predictions move.
    """
    now = [0.0]
    durations = iter([9.0, 1.0, 1.0, 5.0, 1.0, 1.0])
    batches = []

    class Slow(StudentNet):
        def predict(self, X):
            batches.append(len(X))
            now[0] += next(durations)

    monkeypatch.setattr("skadistill.search._size.perf_counter", lambda: now[0])
    seconds = measure_latency(Slow(), X, Y, batch=X[:7], n_repeats=5)
    assert seconds == 1.0
    assert batches == [7] * 6


def test_nothing_is_trained_and_nothing_is_left_behind(monkeypatch):
    """Building takes no epoch, runs no callback and leaves the estimator unfitted."""
    from skorch.callbacks import Callback

    class Refuse(Callback):
        def on_train_begin(self, net, **kwargs):
            raise AssertionError("no callback may run")

    net = StudentNet(callbacks=[Refuse()], max_epochs=10, verbose=1)
    assert len(build_untrained(net, X, Y).history) == 0
    assert not hasattr(net, "module_")
    fitted = StudentNet(max_epochs=1, random_state=0).fit(X, Y)
    before = fitted.predict_proba(X)
    count_params(fitted, X, Y)
    np.testing.assert_array_equal(fitted.predict_proba(X), before)


class Odd(ClassifierMixin, BaseEstimator):
    """A classifier with no network."""


def test_an_estimator_without_a_network_needs_a_function():
    """The message names the class and what would be understood."""
    with pytest.raises(TypeError, match=r"size of LogisticRegression is not known"):
        count_params(LogisticRegression(), X, Y)
    with pytest.raises(TypeError, match=r"size of Odd .* pass a function"):
        count_macs(Pipeline([("odd", Odd())]), X, Y)


def test_a_module_that_does_not_take_the_parameter_is_named():
    """An unknown module parameter is an error that shows the parameters."""
    net = StudentNet(LayeredMLP, module__depth=3)
    with pytest.raises(ValueError, match=r"cannot be created with .*'depth': 3"):
        count_params(net, X, Y)


def test_a_meter_sets_parameters_on_clones():
    """Named sizes and functions see the candidate's parameters; the original stays."""
    assert SizeMeter(NET, "params", X, Y, None)({"module__width_1": 1}) == (
        5 + 2 * 5 + 6 * 3
    )
    assert SizeMeter(NET, "macs", X, Y, None)({"module__width_2": 0}) == 4 * 8 + 8 * 3
    meter = SizeMeter(NET, lambda e: e.get_params()["lr"], X, Y, None)
    assert meter({"lr": 0.25}) == 0.25
    assert NET.get_params()["module__width_1"] == 8


def test_a_meter_of_latency_draws_its_batch_once(monkeypatch):
    """At most 256 rows, the same for each candidate and for the same random_state."""
    rows = np.arange(600.0)[:, None]
    meters = [SizeMeter(NET, "latency", rows, None, seed) for seed in (0, 0, 1)]
    batches = [meter.options["batch"] for meter in meters]
    assert len(np.unique(batches[0])) == 256
    np.testing.assert_array_equal(batches[0], batches[1])
    assert not np.array_equal(batches[0], batches[2])
    start = time.perf_counter()
    seconds = SizeMeter(NET, "latency", X, Y, 0)({"module__width_1": 4})
    assert 0 < seconds < time.perf_counter() - start
