"""What must hold whatever the data: equal problems give equal students."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification

from skadistill.student import StudentNet


@pytest.fixture(scope="module")
def table():
    X, y = make_classification(
        150, 6, n_informative=4, n_classes=3, random_state=0, class_sep=1.5
    )
    return X, y


def net(**kwargs):
    return StudentNet(**{"max_epochs": 4, "batch_size": 32, "random_state": 0} | kwargs)


def one_hot(y, n_classes=3):
    return np.eye(n_classes)[y]


def weights_of(student):
    return torch.cat([p.detach().flatten() for p in student.module_.parameters()])


def assert_same_net(a, b):
    assert torch.equal(weights_of(a), weights_of(b))


def test_one_hot_targets_equal_labels(table):
    """Training on one-hot rows is, bit by bit, training on the labels."""
    X, y = table
    hard = net().fit(X, y)
    soft = net().fit_soft(X, one_hot(y), classes=[0, 1, 2])
    assert_same_net(hard, soft)
    assert hard.classes_.tolist() == soft.classes_.tolist()


def test_soft_targets_are_learned(table):
    """A student told 60 to 40 everywhere says 60 to 40, which no label could say."""
    X, _ = table
    targets = np.tile([0.6, 0.4], (len(X), 1))
    student = net(max_epochs=60).fit_soft(X, targets, classes=["a", "b"])
    np.testing.assert_allclose(student.predict_proba(X), targets, atol=0.05)


def test_full_batch_integer_weights_equal_repeated_rows(table):
    """A row of weight 3 counts like three copies, up to rounding."""
    X, y = table
    weight = np.arange(len(X)) % 4
    # The automatic width follows the number of rows, which differs here.
    options = {"batch_size": -1, "max_epochs": 15, "input_dtype": "float64"}
    options |= {"module__hidden_sizes": (32,), "module__dropout": 0.0}
    weighted = net(**options).fit(X, y, sample_weight=weight)
    repeated = net(**options).fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    np.testing.assert_allclose(
        weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-9
    )


def test_weight_zero_equals_absence(table):
    """Rows of weight 0 leave no trace, in minibatches too."""
    X, y = table
    weight = np.ones(len(X))
    weight[::5] = 0
    kept = weight > 0
    X_wild = np.where(kept[:, None], X, 1e6)
    assert_same_net(
        net().fit(X_wild, y, sample_weight=weight), net().fit(X[kept], y[kept])
    )


def test_scaling_all_weights_changes_nothing(table):
    """Weights mean proportions: 8 everywhere, or 8 times as much, is the same."""
    X, y = table
    plain = net().fit(X, y)
    assert_same_net(plain, net().fit(X, y, sample_weight=np.full(len(X), 8.0)))
    weight = 1.0 + (y == 1)
    assert_same_net(
        net().fit(X, y, sample_weight=weight), net().fit(X, y, sample_weight=8 * weight)
    )


def test_heavier_rows_win(table):
    """Of two contradicting copies of a table, the heavier one is believed."""
    X, y = table
    X2, y2 = np.r_[X, X], np.r_[y == 0, y != 0]
    weight = np.r_[np.ones(len(y)), np.full(len(y), 9.0)]
    student = net(max_epochs=20).fit(X2, y2, sample_weight=weight)
    assert np.mean(student.predict(X) == (y != 0)) > 0.9


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ant", "bee", "cat"]),
        np.array([-7, 3, 1000]),
        np.array(["ant", "bee", "cat"], dtype=object),
    ],
    ids=["strings", "gapped", "objects"],
)
def test_names_of_classes_do_not_matter(table, names):
    """Strings and gapped integers give the net that 0, 1, 2 give."""
    X, y = table
    plain, named = net().fit(X, y), net().fit(X, names[y])
    assert_same_net(plain, named)
    assert named.predict(X).tolist() == names[plain.predict(X)].tolist()


def test_booleans_are_classes(table):
    """Boolean labels come back as booleans."""
    X, y = table
    student = net().fit(X, y == 1)
    assert student.classes_.tolist() == [False, True]
    assert student.predict(X).dtype == bool


def test_reordered_columns_of_targets_are_the_same_problem(table):
    """Renaming the classes so that their order flips mirrors the answer."""
    X, y = table
    targets = 0.7 * one_hot(y) + 0.1
    options = {"max_epochs": 150, "lr": 0.1, "batch_size": -1}
    options["module__hidden_sizes"] = ()  # convex: one answer from any start
    student = net(**options).fit_soft(X, targets, classes=["a", "b", "c"])
    mirrored = net(**options).fit_soft(X, targets[:, ::-1], classes=["x", "y", "z"])
    np.testing.assert_allclose(
        student.predict_proba(X), mirrored.predict_proba(X)[:, ::-1], atol=0.01
    )


def test_same_seed_same_net(table):
    """An integer seed fixes the weights; another seed gives others."""
    X, y = table
    first = net().fit(X, y)
    assert_same_net(first, clone(first).fit(X, y))
    assert_same_net(first, first.fit(X, y))
    assert not torch.equal(weights_of(first), weights_of(net(random_state=1).fit(X, y)))


def test_seed_covers_order_and_dropout(table):
    """With dropout and shuffling, the same seed still gives the same net."""
    X, y = table
    options = {"module__dropout": 0.5}
    first = net(**options).fit(X, y)
    torch.rand(3)
    np.random.rand(3)
    assert_same_net(first, net(**options).fit(X, y))


@pytest.mark.parametrize("seed", [0, None])
def test_global_generators_are_left_alone(table, seed):
    """A fit moves neither torch's nor numpy's global generator."""
    X, y = table
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    net(random_state=seed, module__dropout=0.5).fit(X, y).predict(X)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_global_generators_are_restored_after_a_failure(table):
    """A fit that raises has given the generator back as well."""
    X, y = table
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError):
        net(module=lambda n_features: torch.nn.Linear(n_features + 1, 3)).fit(X, y)
    assert torch.equal(before, torch.get_rng_state())


def test_no_seed_is_really_random(table):
    """Without a seed two nets differ, even when the global generators do not."""
    X, y = table
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        nets.append(weights_of(net(random_state=None).fit(X, y)))
    assert not torch.equal(*nets)


def test_random_state_instance_is_consumed(table):
    """A RandomState gives a new net at each fit and repeats as a sequence."""
    X, y = table
    runs = []
    for _ in range(2):
        state = np.random.RandomState(3)
        runs.append([weights_of(net(random_state=state).fit(X, y)) for _ in range(2)])
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(*runs[0])


@pytest.mark.parametrize(
    "kind", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.coo_array]
)
def test_sparse_equals_dense(table, kind):
    """A sparse table gives, bit by bit, the net and the answers of the dense one."""
    X, y = table
    X = np.where(np.abs(X) < 1, 0.0, X)
    dense, sparse = net().fit(X, y), net().fit(kind(X), y)
    assert_same_net(dense, sparse)
    np.testing.assert_array_equal(dense.predict_proba(X), sparse.predict_proba(kind(X)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", ">f8", "float16", "int64", "uint8"])
def test_storage_does_not_matter(table, order, dtype):
    """Types and memory orders that hold the same numbers give the same net."""
    X, y = table
    X = np.clip(np.round(X * 4) + 100, 0, 255)
    stored = np.array(X, dtype=dtype, order=order)
    assert_same_net(net().fit(X, y), net().fit(stored, y))


def test_units_of_columns_do_not_matter(table):
    """Meters or kilometers: the standardizing layer takes the units out."""
    X, y = table
    units = 2.0 ** np.array([0, 10, -10, 5, 3, -2])
    plain, scaled = net().fit(X, y), net().fit(X * units, y)
    np.testing.assert_allclose(
        plain.predict_proba(X), scaled.predict_proba(X * units), atol=1e-5
    )
    rough = net(standardize=False).fit(X * units, y)
    assert scaled.score(X * units, y) > rough.score(X * units, y)


def test_predictions_do_not_depend_on_their_neighbors(table):
    """One row at a time, in any order, gives the answers of the whole table."""
    X, y = table
    student = net().fit(X, y)
    proba = student.predict_proba(X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(student.predict_proba(X[order]), proba[order], atol=1e-6)
    single = np.concatenate([student.predict_proba(x[None]) for x in X])
    np.testing.assert_allclose(single, proba, atol=1e-6)
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
