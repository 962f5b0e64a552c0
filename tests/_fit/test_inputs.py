"""Rows, labels and metadata of a fit."""

import numpy as np
import pytest

from skadistill._fit.inputs import extend_metadata
from skadistill._rows._table import RowTable


def test_weights_of_unlabeled_rows_are_one():
    """Rows of X_unlabeled get weight 1, and weights go with their rows."""
    table = RowTable(np.zeros((3, 1)), np.zeros((2, 1)))
    cut = extend_metadata({"sample_weight": [0.5, 2.0, 3.0]}, table)
    np.testing.assert_array_equal(cut(np.array([4, 1]))["sample_weight"], [1.0, 2.0])


def test_other_metadata_cannot_be_extended():
    """Nobody can say what the groups of rows of X_unlabeled are."""
    table = RowTable(np.zeros((3, 1)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"^'groups' has one entry for each of the 3"):
        extend_metadata({"groups": [1, 2, 3]}, table)
