"""Folds are dealt like cards: even in size, and even in every group."""

import numpy as np
import pytest

from skadistill._statistics.folds import deal_folds


@pytest.mark.parametrize("n_folds", [2, 3, 7])
def test_folds_and_groups_in_them_differ_by_one_row_at_most(rng, n_folds):
    groups = rng.integers(4, size=101)
    fold = deal_folds(groups, n_folds, rng)
    assert np.ptp(np.bincount(fold, minlength=n_folds)) <= 1
    for group in range(4):
        sizes = np.bincount(fold[groups == group], minlength=n_folds)
        assert np.ptp(sizes) <= 1


def test_who_is_dealt_first_is_drawn(rng):
    groups = np.zeros(50, dtype=int)
    one, two = deal_folds(groups, 5, rng), deal_folds(groups, 5, rng)
    assert (one != two).any()
