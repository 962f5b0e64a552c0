"""Budgets, rounds and stopping rules as tables."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skadistill._fit.plan import resolve_budget, split_budget
from skadistill._validation import unlabeled_mask
from skadistill.exceptions import BudgetError, EmptyPoolError
from skadistill.stopping import StablePredictions


@pytest.mark.parametrize(
    ("budget", "n_pool", "n_queries"),
    [
        (None, 10, 10),
        (None, 0, 0),
        (0, 0, 0),
        (3, 10, 3),
        (np.int64(3), 10, 3),
        (1, 10, 1),
        (1.0, 10, 10),
        (0.0, 10, 0),
        (0.25, 10, 2),
        (0.01, 10, 1),
        (0.29, 100, 29),
        (0.2, 0, 0),
    ],
)
def test_resolve_budget(budget, n_pool, n_queries):
    """Rows, shares and None; a share of a pool is at least one row."""
    assert resolve_budget(budget, n_pool) == n_queries


def test_resolve_budget_errors():
    """More rows than there are, and rows from nowhere."""
    with pytest.raises(BudgetError):
        resolve_budget(11, 10)
    with pytest.raises(EmptyPoolError):
        resolve_budget(1, 0)


@given(st.integers(0, 1000), st.integers(1, 50))
def test_split_budget(n_queries, n_rounds):
    """Rounds add up, differ by at most one, and none is empty."""
    rounds = split_budget(n_queries, n_rounds)
    assert sum(rounds) == n_queries
    assert len(rounds) == min(n_queries, n_rounds)
    assert all(a - b in (0, 1) for a, b in itertools.pairwise(rounds))
    assert not rounds or rounds[0] - rounds[-1] <= 1


@pytest.mark.parametrize(
    ("agreements", "stop"),
    [([], False), ([1.0], False), ([1.0, 1.0], True), ([1.0, 0.9, 1.0], False)],
)
def test_student_stable(agreements, stop):
    """Two rounds in a row, both at or above the bar."""
    assert (
        StablePredictions(patience=2, min_agreement=0.99).should_stop(agreements)
        == stop
    )


def test_student_stable_checks_its_parameters():
    """Zero rounds make no rule."""
    with pytest.raises(ValueError, match="patience"):
        StablePredictions(patience=0).should_stop([])


@pytest.mark.parametrize(
    ("y", "marker", "mask"),
    [
        ([0, -1], -1, [False, True]),
        ([0, -1], None, [False, False]),
        (np.array(["a", -1, "-1"], dtype=object), -1, [False, True, False]),
        (np.array(["a", "?"], dtype=object), "?", [False, True]),
        (["a", "?"], "?", [False, True]),
        ([1.0, -1.0], -1, [False, True]),
    ],
)
def test_unlabeled_mask(y, marker, mask):
    """A marker is matched by value, never across strings and numbers."""
    np.testing.assert_array_equal(unlabeled_mask(y, marker), mask)
