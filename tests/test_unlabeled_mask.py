"""What counts as a row without a label."""

import numpy as np
import pytest

from skadistill._validation import unlabeled_mask


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
