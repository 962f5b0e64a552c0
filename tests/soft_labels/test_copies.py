"""Rows with probabilities become labeled rows with weights."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

from skadistill.soft_labels._copies import expand_soft_labels

CLASSES = np.array(["a", "b", "c"])


@pytest.fixture
def problem(rng):
    X = rng.normal(size=(60, 4))
    targets = np.exp(2 * X[:, :3])
    targets /= targets.sum(axis=1, keepdims=True)
    return X, targets, rng.uniform(0.5, 2, 60)


def test_expanded_weights_sum_to_the_rows_own(problem):
    """Whatever the threshold drops, no row gains or loses weight."""
    _, targets, weight = problem
    for threshold in (0, 1e-3, 0.2, 0.5, 0.9):
        rows, y, mass = expand_soft_labels(
            np.arange(60)[:, None], targets, CLASSES, weight, threshold=threshold
        )
        np.testing.assert_allclose(np.bincount(rows[:, 0], mass), weight)
        assert (mass > 0).all()
        assert set(y) == set(CLASSES)
        assert (np.diff(rows[:, 0]) >= 0).all()
    assert len(y) < 180


def test_rare_classes_survive_the_threshold():
    """A class below the threshold everywhere keeps its likeliest row."""
    targets = np.array([[0.9999, 0.0001], [0.9995, 0.0005], [1.0, 0.0]])
    rows, y, mass = expand_soft_labels([10, 11, 12], targets, [0, 1])
    assert rows == [10, 11, 11, 12]
    assert y.tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(mass, [1, 0.9995, 0.0005, 1])


def test_one_hot_rows_are_not_multiplied():
    """Certain rows stay single rows."""
    rows, y, mass = expand_soft_labels(np.eye(3), np.eye(3), CLASSES)
    np.testing.assert_array_equal(rows, np.eye(3))
    assert y.tolist() == ["a", "b", "c"]
    assert mass.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "kind",
    [np.asarray, sp.csr_matrix, sp.csr_array, pd.DataFrame, pl.DataFrame, list],
)
def test_kinds_of_tables_are_kept(problem, kind):
    """Copies come back in the container the rows came in."""
    X, targets, _ = problem
    table = kind(X)
    rows, y, _ = expand_soft_labels(table, targets, CLASSES)
    assert type(rows) is type(table)
    dense = rows.toarray() if sp.issparse(rows) else np.asarray(rows)
    expected, _, _ = expand_soft_labels(X, targets, CLASSES)
    np.testing.assert_array_equal(dense, expected)
    assert len(y) == len(expected)


def test_expansion_errors(problem):
    """Rows that do not match and impossible thresholds are named."""
    X, targets, _ = problem
    with pytest.raises(
        ValueError,
        match=r"X and targets must have one row each per sample, got 59 rows of X and "
        r"60 of targets; pass the same rows\.",
    ):
        expand_soft_labels(X[:59], targets, CLASSES)
    with pytest.raises(
        ValueError,
        match=r"threshold must be a probability below 1, got 1; pass for example "
        r"1e-3\.",
    ):
        expand_soft_labels(X, targets, CLASSES, threshold=1)
