"""A first batch spread over the pool, in any container."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.datasets import make_blobs

from skadistill._rows._table import RowTable
from skadistill.query._spread import encode_rows, kmeans_plusplus, spread_rows


@pytest.fixture(scope="module")
def blobs():
    """Twelve clusters of 30 rows, far apart."""
    return make_blobs(360, n_features=4, centers=12, cluster_std=0.3, random_state=1)


def test_the_first_batch_meets_every_cluster(blobs):
    """Twelve rows of twelve clusters: k-means++ finds nearly all, chance two thirds."""
    X, cluster = blobs
    met = [
        len(set(cluster[spread_rows(RowTable(X), np.arange(360), [], 12, rng)]))
        for rng in map(np.random.default_rng, range(5))
    ]
    assert min(met) >= 11


def test_the_first_batch_keeps_away_from_labeled_rows(blobs):
    """With a few rows of six clusters labeled, six rows meet the other six."""
    X, cluster = blobs
    labeled = np.concatenate([np.flatnonzero(cluster == k)[:3] for k in range(6)])
    pool = np.setdiff1d(np.arange(360), labeled)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        chosen = pool[spread_rows(RowTable(X), pool, labeled, 6, rng)]
        assert np.sum(cluster[chosen] >= 6) >= 5


@pytest.mark.parametrize("n_rows", [1, 7, 20])
def test_draws_are_distinct_even_among_copies(n_rows):
    """Twenty copies of two rows still give distinct positions."""
    points = np.repeat(np.eye(2), 10, axis=0)
    chosen = kmeans_plusplus(points, points[:0], n_rows, np.random.default_rng(0))
    assert len(set(chosen)) == n_rows
    assert len({chosen[i] // 10 for i in range(min(2, n_rows))}) == min(2, n_rows)


def test_scales_do_not_matter(blobs):
    """Columns are standardized: kilometers choose as millimeters do."""
    X = blobs[0]
    rows = [
        spread_rows(
            RowTable(X * scale), np.arange(360), [], 9, np.random.default_rng(0)
        )
        for scale in (np.ones(4), np.array([1e6, 1e-6, 1.0, 1e3]))
    ]
    np.testing.assert_array_equal(rows[0], rows[1])


FRAME = {"size": [1.0, 2.0, None, 4.0], "kind": ["a", "b", "a", None]}


@pytest.mark.parametrize(
    "rows",
    [
        np.array([[1.0, np.nan], [np.inf, 2.0], [3.0, 1e300], [0.0, 0.0]]),
        np.arange(16, dtype=np.uint8).reshape(4, 2, 2),
        np.array([[1, 2.0], [3, 4], [5, 6], [7, 8]], dtype=object),
        np.full((4, 2), np.nan),
        sparse.csr_matrix(np.eye(4)),
        pd.DataFrame(FRAME),
        pd.DataFrame(FRAME).astype({"size": "Int64", "kind": "category"}),
        pl.DataFrame(FRAME),
        ["a text", "another", None, ""],
        [{"a": 1, "b": "x"}, {"a": None}, {"c": [1]}, {}],
    ],
    ids=[
        "gaps",
        "images",
        "objects",
        "empty",
        "sparse",
        "pandas",
        "nullable",
        "polars",
        "texts",
        "records",
    ],
)
def test_every_container_becomes_finite_points(rows):
    """Four rows become four points, whatever is missing."""
    points = encode_rows(rows)
    values = points.data if sparse.issparse(points) else points
    assert points.shape[0] == 4
    assert np.isfinite(values).all()


def test_rows_without_geometry_are_drawn_at_random():
    """An array of objects that are no numbers."""
    X = np.array([["a", {1}], ["b", {2}], ["c", {3}]], dtype=object)
    assert encode_rows(X) is None
    rows = spread_rows(RowTable(X), np.arange(3), [], 2, np.random.default_rng(0))
    assert len(set(rows)) == 2
