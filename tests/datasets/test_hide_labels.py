import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skadistill.datasets import hide_labels
from skadistill.exceptions import SkadistillError


@settings(max_examples=80, deadline=None)
@given(
    y=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    data=st.data(),
    seed=st.integers(0, 99),
)
def test_the_asked_number_keeps_its_label_and_no_class_is_lost(y, data, seed):
    """Exactly n rows keep their own label; each class keeps one where n allows."""
    n = data.draw(st.integers(1, len(y)))
    out = hide_labels(y, n, random_state=seed)
    kept = out != -1
    assert kept.sum() == n
    assert (out[kept] == np.array(y)[kept]).all()
    assert len(set(out[kept].tolist())) >= min(n, len(set(y)))


def test_a_share_is_a_number_of_rows():
    """A float keeps round(share * n_samples) labels."""
    assert (hide_labels(np.arange(50) % 2, 0.3, random_state=0) != -1).sum() == 15


@pytest.mark.parametrize(
    ("y", "marker", "dtype"),
    [
        (np.array(["a", "b", "a"]), -1, object),
        (pd.Series(["a", "b", "a"]), -1, object),
        (np.array([0, 1, 1], dtype=np.uint8), -1, np.int16),
        (np.array([0, 1, 1]), "none", object),
        (np.array([0, 1, 1]), -1, np.int64),
        (np.array([True, False, True]), -1, np.int8),
    ],
)
def test_the_marker_stays_what_it_is(y, marker, dtype):
    """Whatever the labels' dtype, the hidden rows hold the marker itself."""
    before = y.copy()
    out = hide_labels(y, 2, marker=marker, random_state=0)
    assert out.dtype == dtype
    assert sum(type(v) is type(marker) and v == marker for v in out.tolist()) == 1
    assert (before == y).all()


def test_the_same_seed_hides_the_same_rows():
    """The draw comes from random_state alone."""
    y = np.arange(60) % 3
    one, two, other = (hide_labels(y, 20, random_state=s) for s in (0, 0, 1))
    assert (one == two).all()
    assert (one != other).any()


@pytest.mark.parametrize(
    ("y", "n", "kind", "sentence"),
    [
        (
            [0, 1],
            3,
            ValueError,
            "n_labeled=3 is larger than the number of rows, 2; pass at most that many.",
        ),
        (
            [0, 1],
            0,
            SkadistillError,
            "n_labeled=0 leaves none of 2 rows with a label; pass a larger number.",
        ),
        (
            [0, 1],
            0.01,
            SkadistillError,
            "n_labeled=0.01 leaves none of 2 rows with a label; pass a larger number.",
        ),
        (
            [0, 1],
            1.5,
            ValueError,
            "n_labeled=1.5 is neither a number of rows nor a share; pass an int, or a "
            "float between 0 and 1.",
        ),
        (
            [0, -1],
            1,
            ValueError,
            "y already holds the marker -1 as a label; pass the labels of all rows, or "
            "another marker.",
        ),
    ],
)
def test_what_cannot_be_hidden_is_told_in_a_sentence(y, n, kind, sentence):
    """Impossible requests name the value and what to do."""
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        hide_labels(y, n)
