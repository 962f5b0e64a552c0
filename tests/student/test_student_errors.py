"""Errors: what was wrong, what was received, what to do."""

import re

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

from skadistill.student import StudentMLP, StudentNet

X, Y = load_iris(return_X_y=True)
SOFT = np.eye(3)[Y]


def net(**kwargs):
    return StudentNet(**{"max_epochs": 1, "random_state": 0} | kwargs)


def raises(error, sentence):
    return pytest.raises(error, match="^" + re.escape(sentence) + "$")


def scalar_loss(output, targets):
    """Average, whatever the caller would rather have."""
    return ((output - targets) ** 2).mean()


class Scalar(nn.Module):
    def forward(self, output, targets):
        return scalar_loss(output, targets)


SOFT_CASES = {
    "unsorted": (
        {"classes": [2, 1, 0]},
        "classes must be sorted and distinct, got [2, 1, 0]; reorder them and the "
        "columns of targets together.",
    ),
    "repeated": (
        {"classes": [0, 1, 1]},
        "classes must be sorted and distinct, got [0, 1, 1]; reorder them and the "
        "columns of targets together.",
    ),
    "columns": (
        {"classes": [0, 1]},
        "targets must have one column per class, got 3 columns for 2 classes; pass "
        "probabilities for [0, 1].",
    ),
    "negative": (
        {"targets": SOFT * 1.5 - 0.5 / 3},
        "targets must not be negative, got -0.166667; pass probabilities.",
    ),
    "sums": (
        {"targets": np.where(np.arange(150)[:, None] == 7, 0.5, SOFT)},
        "rows of targets must sum to 1, got 1.5 in row 7; divide each row by its sum.",
    ),
    "rows": (
        {"targets": SOFT[:10]},
        "X and targets must have one row each per sample, got 150 rows of X and 10 of "
        "targets; pass the same rows.",
    ),
}


@pytest.mark.parametrize("case", SOFT_CASES)
def test_soft_targets(case):
    """Targets and classes that do not fit are described."""
    change, sentence = SOFT_CASES[case]
    arguments = {"targets": SOFT, "classes": [0, 1, 2]} | change
    with raises(ValueError, sentence):
        net().fit_soft(X, arguments["targets"], classes=arguments["classes"])


def test_soft_targets_with_holes():
    """NaN among the targets is named as such."""
    targets = SOFT.copy()
    targets[3, 1] = np.nan
    with pytest.raises(ValueError, match="Input targets contains NaN"):
        net().fit_soft(X, targets, classes=[0, 1, 2])


def test_soft_targets_are_renormalized():
    """Sums within 1e-3 of 1 are rounding and are repaired."""
    a = net().fit_soft(X, SOFT * 1.0005, classes=[0, 1, 2])
    b = net().fit_soft(X, SOFT, classes=[0, 1, 2])
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), atol=1e-6)


def test_weights():
    """Negative weights and weights that are all zero are refused."""
    weight = np.ones(150)
    weight[0] = -2
    with raises(
        ValueError,
        "Negative values in data passed to sample_weight: the smallest is -2; pass 0 "
        "or more, as often as each row counts.",
    ):
        net().fit(X, Y, sample_weight=weight)
    with raises(
        ValueError,
        "Sample weights must contain at least one non-zero number, got 150 zeros; give "
        "at least one row a weight.",
    ):
        net().fit(X, Y, sample_weight=np.zeros(150))


@pytest.mark.parametrize("criterion", [Scalar, Scalar()], ids=["class", "object"])
def test_criterion_without_rows(criterion):
    """A criterion that reduces works without weights and is explained with them."""
    net(criterion=criterion).fit(X, Y)
    with pytest.raises(
        ValueError,
        match=r"criterion .* returned one number for a batch of \d+ rows, so that "
        r"sample_weight cannot be applied; let it return one loss per row, or leave "
        r"sample_weight out\.$",
    ):
        net(criterion=criterion).fit(X, Y, sample_weight=1.0 + Y)


def test_module_with_wrong_output():
    """An output of the wrong width is described by its shape."""
    with raises(
        ValueError,
        "module returned an output of shape (150, 5) for targets of shape (150, 3); "
        "return one logit per class (a signature that names n_classes is told how "
        "many).",
    ):
        net(module=lambda n_features: nn.Linear(n_features, 5), batch_size=-1).fit(X, Y)


def test_module_that_is_none():
    """A factory must return a module."""
    with pytest.raises(
        TypeError,
        match=r"module <function .*> must return a torch.nn.Module, got list; return "
        r"the network itself\.$",
    ):
        net(module=lambda: []).fit(X, Y)


@pytest.mark.parametrize(
    "name",
    [
        "module",
        "max_epochs",
        "batch_size",
        "standardize",
        "lr_schedule",
        "amp",
        "predict_nonlinearity",
        "device",
    ],
)
def test_words_that_mean_nothing(name):
    """A parameter set to a word it does not know is refused in fit."""
    student = net(**{name: "nonsense"})
    with pytest.raises((ValueError, RuntimeError), match=name):
        student.fit(X, Y)


def test_input_dtype():
    """The type of the input is a torch type."""
    with raises(
        ValueError,
        "input_dtype must be the name of a torch type or None, got 'float33'; use for "
        "example 'float32' or 'int64'.",
    ):
        net(input_dtype="float33").fit(X, Y)


def test_misspelt_parameters():
    """The check of names that skorch does still runs."""
    with pytest.raises(ValueError, match="did you mean module__hidden_sizes"):
        net(module_hidden_sizes=(3,)).fit(X, Y)


def test_hidden_sizes():
    """The default module knows "auto" and sequences."""
    with raises(
        ValueError,
        "hidden_sizes must be 'auto' or a sequence of widths, got 'wide'; pass for "
        "example (128, 128).",
    ):
        StudentMLP(2, 2, hidden_sizes="wide")


def test_new_classes_when_training_continues():
    """partial_fit and warm_start cannot grow new classes."""
    sentence = (
        "y holds classes [2] that are not among [0, 1]; name all classes at the first "
        "call or fit a fresh clone."
    )
    student = net().partial_fit(X[:100], Y[:100])
    with raises(ValueError, sentence):
        student.partial_fit(X, Y)
    student = net(warm_start=True).fit(X[:100], Y[:100])
    with raises(ValueError, sentence):
        student.fit(X, Y)
    with raises(
        ValueError,
        "classes must stay the same when training continues, got [0, 1, 2] after "
        "[0, 1]; leave classes out after the first call.",
    ):
        student.partial_fit(X[:100], Y[:100], classes=[0, 1, 2])
    with raises(
        ValueError,
        "classes must stay the same when training continues, got [0, 1, 2] after "
        "[0, 1]; pass targets for the same classes or fit a fresh clone.",
    ):
        student.fit_soft(X, SOFT, classes=[0, 1, 2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_holes_in_new_rows(bad, dtype):
    """NaN and infinity are refused in prediction, finite rows that overflow are not."""
    student = net().fit(X, Y)
    rows = X[:4].astype(dtype)
    rows[2, 1] = bad
    with pytest.raises(ValueError, match="Input X contains"):
        student.predict(rows)
    rows[:] = np.finfo(np.float32).max / 2
    assert student.predict(rows).shape == (4,)
    with pytest.raises(ValueError, match="X has 3 features, but StudentNet is expect"):
        student.predict(rows[:, :3])


def test_a_bad_device_is_torchs_to_explain():
    """A device that does not exist keeps torch's own words."""
    with pytest.raises(RuntimeError, match="Expected one of cpu, cuda"):
        net(device="toaster").fit(X, Y)
    assert torch.device("cpu") == torch.device(net(device="cpu").device)
