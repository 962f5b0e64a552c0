"""Rows with probabilities become labeled rows with weights."""

import numpy as np

from skadistill.soft_labels._copies import choose_copies


def test_masses_of_a_row_sum_to_one(rng):
    """Whatever the threshold drops, no row gains or loses weight."""
    targets = np.exp(2 * rng.normal(size=(60, 3)))
    targets /= targets.sum(axis=1, keepdims=True)
    for threshold in (0, 1e-3, 0.2, 0.5, 0.9):
        rows, columns, mass = choose_copies(targets, threshold)
        np.testing.assert_allclose(np.bincount(rows, mass), 1)
        assert (mass > 0).all()
        assert set(columns) == {0, 1, 2}
        assert (np.diff(rows) >= 0).all()
    assert len(rows) < 180


def test_rare_classes_survive_the_threshold():
    """A class below the threshold everywhere keeps its likeliest row."""
    targets = np.array([[0.9999, 0.0001], [0.9995, 0.0005], [1.0, 0.0]])
    rows, columns, mass = choose_copies(targets)
    assert rows.tolist() == [0, 1, 1, 2]
    assert columns.tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(mass, [1, 0.9995, 0.0005, 1])


def test_one_hot_rows_are_not_multiplied():
    """Certain rows stay single rows."""
    rows, columns, mass = choose_copies(np.eye(3))
    assert rows.tolist() == columns.tolist() == [0, 1, 2]
    assert mass.tolist() == [1, 1, 1]
