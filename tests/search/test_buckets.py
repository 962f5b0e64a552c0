"""How many buckets a search has, and which bucket a size belongs to."""

import pytest

from skadistill.search._buckets import bucket_numbers, resolve_buckets


@pytest.mark.parametrize(
    ("n_evaluations", "n_buckets"),
    # Bounds of 1, 2, ... buckets: 16, 28, 40, 52, 60, 68, 76.
    [(16, 1), (28, 2), (40, 3), (52, 3), (104, 4), (119, 4), (120, 5), (150, 6)],
)
def test_auto_leaves_half_for_refinement_but_is_three(n_evaluations, n_buckets):
    """As many as half of the evaluations allow; three if all of them do."""
    assert resolve_buckets([4] * 4, "auto", 1, n_evaluations) == n_buckets


def test_auto_is_eight_without_a_limit_of_evaluations():
    """The default is the documented one; numbers and None are returned unchanged."""
    assert resolve_buckets([4] * 4, "auto", 1, None) == 8
    assert resolve_buckets([4] * 4, 5, 1, None) == 5
    assert resolve_buckets([4] * 4, None, 1, None) is None


def test_too_many_buckets_for_the_evaluations_raise_with_advice():
    """The message names the number of buckets that would fit."""
    with pytest.raises(ValueError, match=r"may need 168; pass n_buckets=4 or"):
        resolve_buckets([8] * 5, 5, 1, 140)


@pytest.mark.parametrize(
    ("sizes", "n_buckets", "numbers"),
    [
        ([0, 1, 2, 3, 4], 2, [0, 0, 1, 1, 1]),
        ([5, 5, 5], 3, [0, 0, 0]),
        ([1, 10, 100], None, [0, 1, 2]),
        ([7, 3, 7], None, [1, 0, 1]),
        ([0.0, 9.9, 10.0], 10, [0, 9, 9]),
    ],
)
def test_bucket_numbers_have_equal_widths(sizes, n_buckets, numbers):
    """The largest size belongs to the last bucket."""
    assert bucket_numbers(sizes, n_buckets) == numbers
