"""Candidates of a search: options, completions, buckets."""

import numpy as np
import pytest

from skadistill.search._candidates import (
    Completion,
    Sizes,
    Space,
    bucket_numbers,
    candidate_params,
    resolve_buckets,
    same_value,
)


def test_options_that_are_equal_but_of_another_type_are_two_options():
    """1 and True configure an estimator differently."""
    space = Space({"a": [1, True]})
    assert space.candidate((1,))["a"] is True
    assert space.position(0, True) == 1
    assert not same_value(1, True)


def test_options_may_be_arrays():
    """Options of a numpy array come back as plain numbers."""
    assert type(Space({"a": np.array([1, 2])}).candidate((0,))["a"]) is int


def test_same_value_is_false_if_a_comparison_has_no_single_answer():
    """Arrays of several entries are the same only if they are one object."""
    array = np.array([1, 2])
    assert same_value(array, array)
    assert not same_value(array, np.array([1, 2]))


def test_candidate_params_merges_options_that_are_dicts():
    """A dict sets several parameters, any other option the one it is named after."""
    params = candidate_params({"alpha": 1.0, "block": {"width": 8, "kernel": 3}})
    assert params == {"alpha": 1.0, "width": 8, "kernel": 3}


def key(candidate):
    return tuple(candidate.values())


def completion_of(prefix, **settings):
    """Complete a prefix in a space of three layers with options 1, 2, 3, 4."""
    space = Space({name: [1, 2, 3, 4] for name in "abc"})
    sizes = Sizes(space, lambda c: sum(c.values()))
    complete = Completion(space, sizes, **settings)
    return key(space.candidate(complete.complete(prefix)))


@pytest.mark.parametrize(
    ("prefix", "max_size", "default", "completed"),
    [
        ((), 12, "fit", (4, 4, 4)),
        ((), 8, "fit", (3, 3, 2)),
        ((3,), 8, "fit", (4, 2, 2)),
        ((3,), 6, "fit", (4, 1, 1)),
        ((0,), None, "fit", (1, 4, 4)),
        ((0,), 6, "largest", (1, 4, 4)),
        ((3,), 6, "smallest", (4, 1, 1)),
        ((3, 3), 6, {"a": 1, "b": 2, "c": 3}, (4, 4, 3)),
    ],
)
def test_later_layers_are_completed_as_the_default_says(
    prefix, max_size, default, completed
):
    """With "fit" layers grow evenly up to the limit; other words ignore it."""
    assert completion_of(prefix, max_size=max_size, default=default) == completed


def test_completion_orders_options_by_size_and_not_as_listed():
    """The smallest and the largest completion do not depend on the listing."""
    space = Space({"a": [3, 1, 2], "b": [2, 3, 1]})
    sizes = Sizes(space, lambda c: sum(c.values()))
    for default, expected in [("smallest", (3, 1)), ("largest", (3, 3))]:
        complete = Completion(space, sizes, 6, default).complete((0,))
        assert key(space.candidate(complete)) == expected


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
