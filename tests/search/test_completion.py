"""Completions of prefixes, from the smallest to the largest candidate."""

import pytest

from skadistill.search._completion import Completion, Sizes
from skadistill.search._space import Space


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
