"""Options as positions and as candidates."""

import numpy as np

from skadistill.search._space import Space, candidate_params, same_value


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
