"""Pools that are not in memory: the same rows are asked wherever the pool lives."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import sklearn
from joblib import parallel_config
from scipy import sparse
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill._rows._sources import ChunkedRows, as_rows
from skadistill.checking import CheckPolicy
from skadistill.query import RADSampler
from skadistill.query._uncertainty import ScoreStrategy
from skadistill.stopping import StablePredictions

N_LABELED = 40
COLUMNS = list("abcdef")


class Sliced:
    """Give rows by slices and nothing else, and remember which were read."""

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.read: list = []

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        assert isinstance(key, slice)
        self.read.append((key.start, key.stop))
        return self.array[key]

    def __array__(self, *args, **kwargs):
        raise AssertionError("the whole pool was read")


@pytest.fixture(scope="module")
def problem():
    X, y = make_classification(
        640, n_features=6, n_informative=5, n_redundant=0, n_classes=3, random_state=0
    )
    return X[:N_LABELED], y[:N_LABELED], X[N_LABELED:]


def teacher(X):
    """Judge rows by one column, whatever container they come in."""
    X = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)
    codes = np.digitize(X[:, 0], [-0.5, 0.5])
    return np.eye(3)[codes] * 0.8 + 0.2 / 3


def fit(X, y, pool, **params):
    params = {
        "query_strategy": "robust",
        "teacher_checks": CheckPolicy(error_rate=0.2),
        "budget": 60,
        "query_size": 20,
        "random_state": 0,
    } | params
    model = ActiveDistiller(teacher, LogisticRegression(max_iter=300), **params)
    # Many blocks: 640 rows of 6 columns would fit in one.
    with sklearn.config_context(working_memory=0.02):
        return model.fit(X, y, X_unlabeled=pool)


def to_memmap(pool, folder):
    np.save(folder / "pool.npy", pool)
    return np.load(folder / "pool.npy", mmap_mode="r")


def to_zarr(pool, folder):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        str(folder / "pool.zarr"), shape=pool.shape, chunks=(50, 6), dtype="f8"
    )
    array[:] = pool
    return array


def to_hdf5(pool, folder):
    h5py = pytest.importorskip("h5py")
    return h5py.File(folder / "pool.h5", "w").create_dataset(
        "pool", data=pool, chunks=(64, 6)
    )


def to_dask_array(pool, folder):
    return pytest.importorskip("dask.array").from_array(pool, chunks=(130, 4))


SOURCES = {
    "memmap": to_memmap,
    "sliced": lambda pool, folder: Sliced(pool),
    "zarr": to_zarr,
    "hdf5": to_hdf5,
    "dask array": to_dask_array,
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("strategy", ["robust", "margin", "random"])
def test_arrays_outside_memory_ask_the_same_rows(problem, tmp_path, source, strategy):
    X, y, pool = problem
    here = fit(X, y, pool, query_strategy=strategy)
    there = fit(X, y, SOURCES[source](pool, tmp_path), query_strategy=strategy)
    np.testing.assert_array_equal(here.labeled_round_, there.labeled_round_)
    np.testing.assert_array_equal(here.predict_proba(X), there.predict_proba(X))


def to_parquet(frame, folder):
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table.slice(0, 250), folder / "one.parquet", row_group_size=70)
    pq.write_table(table.slice(250), folder / "two.parquet", row_group_size=1000)
    return ds.dataset(folder)


def to_dask_frame(frame, folder):
    frames = pytest.importorskip("dask.dataframe")
    return frames.from_pandas(frame, npartitions=4)


FRAMES = {
    "arrow table": lambda frame, folder: pa.Table.from_pandas(
        frame, preserve_index=False
    ),
    "parquet": to_parquet,
    "dask frame": to_dask_frame,
}


@pytest.mark.parametrize("source", FRAMES)
@pytest.mark.parametrize("like", ["pandas", "polars", "array"])
def test_tables_outside_memory_ask_the_same_rows(problem, tmp_path, source, like):
    X, y, pool = problem
    pool = pd.DataFrame(pool, columns=COLUMNS)
    labeled = pd.DataFrame(X, columns=COLUMNS)
    given, here = {
        "pandas": (labeled, pool),
        "polars": (pl.from_pandas(labeled), pl.from_pandas(pool)),
        "array": (X, pool.to_numpy()),
    }[like]
    here = fit(given, y, here)
    there = fit(given, y, FRAMES[source](pool, tmp_path))
    np.testing.assert_array_equal(here.labeled_round_, there.labeled_round_)
    np.testing.assert_array_equal(here.predict_proba(given), there.predict_proba(given))


STRATEGIES = {
    "robust": "robust",
    "regret": RADSampler(None),
    "costly": RADSampler(wrong_label_cost=0.5),
    "margin": "margin",
    "random": "random",
    "function": ScoreStrategy(lambda p: p[:, 0], per_row=True),
    "whole table": ScoreStrategy(lambda p: p[:, 0]),
}


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize("frame", [False, True])
@pytest.mark.parametrize("stopping", [None, StablePredictions(patience=9)])
def test_dask_collections_ask_the_same_rows(problem, frame, strategy, stopping):
    """Whatever the strategy needs of them, and with no cluster but its threads."""
    X, y, pool = problem
    params = {"query_strategy": strategy, "stopping_criterion": stopping}
    here = fit(X, y, pool, **params)
    there = pytest.importorskip("dask.array").from_array(pool, chunks=(130, 6))
    if frame:
        X = pd.DataFrame(X, columns=COLUMNS)
        there = pytest.importorskip("dask.dataframe").from_array(there, columns=COLUMNS)
    there = fit(X, y, there, **params)
    np.testing.assert_array_equal(here.labeled_round_, there.labeled_round_)


def test_only_slices_are_read_and_only_asked_rows_are_gathered(problem):
    X, y, pool = problem
    pool = Sliced(pool)
    fit(X, y, pool, query_strategy="random", budget=3, query_size=3)
    # "random" needs no score: the rows asked are read, once for the question and
    # once for the training.
    assert sum(stop - start for start, stop in pool.read) < 2 * len(pool)


def test_stability_is_measured_on_pools_outside_memory_too(problem, tmp_path):
    X, y, pool = problem
    stopping = StablePredictions(1, min_agreement=0.5)
    here = fit(X, y, pool, stopping_criterion=stopping)
    there = fit(X, y, to_dask_array(pool, tmp_path), stopping_criterion=stopping)
    assert here.termination_condition_ == "stable_predictions"
    assert [r["student_stability"] for r in here.history_] == [
        r["student_stability"] for r in there.history_
    ]


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_blocks_scored_side_by_side_ask_the_same_rows(problem, backend):
    X, y, pool = problem
    alone = fit(X, y, pool, stopping_criterion=StablePredictions(9, min_agreement=1.0))
    with parallel_config(backend, n_jobs=2):
        together = fit(
            X, y, pool, stopping_criterion=StablePredictions(9, min_agreement=1.0)
        )
    np.testing.assert_array_equal(alone.labeled_round_, together.labeled_round_)
    assert [r["student_stability"] for r in alone.history_] == [
        r["student_stability"] for r in together.history_
    ]


def test_n_jobs_is_a_parameter_too(problem):
    X, y, pool = problem
    alone, together = fit(X, y, pool), fit(X, y, pool, n_jobs=2)
    np.testing.assert_array_equal(alone.labeled_round_, together.labeled_round_)


@pytest.mark.parametrize("seed", range(3))
def test_rows_come_in_the_order_asked(seed):
    """Any order, with repeats, over chunks of any size, empty ones included."""
    rng = np.random.default_rng(seed)
    array = rng.normal(size=(50, 3))
    sizes = [7, 0, 20, 1, 22]
    bounds = np.cumsum([0, *sizes])
    rows = ChunkedRows(
        sizes, lambda c, a, b: array[bounds[c] + a : bounds[c] + b], array[:1]
    )
    asked = rng.integers(50, size=30)
    np.testing.assert_array_equal(rows.take(asked), array[asked])
    np.testing.assert_array_equal(rows.take(np.arange(5, 40)), array[5:40])
    assert rows.take(np.array([], dtype=int)).shape == (0, 3)


@pytest.mark.parametrize(
    ("pool", "like", "message"),
    [
        (
            Sliced(np.zeros((5, 2))),
            np.zeros((1, 3)),
            "X_unlabeled has rows of shape (2,) but X has rows of shape (3,); both "
            "must hold the same features.",
        ),
        (
            Sliced(np.zeros((5, 1))),
            pd.DataFrame({"a": [0.0]}),
            "X_unlabeled has rows of shape (1,) but X has rows of shape (1,) with "
            "named columns; both must hold the same features.",
        ),
        (
            pa.table({"a": [0.0], "c": [0.0]}),
            pd.DataFrame({"a": [0.0], "b": [0.0]}),
            "X_unlabeled and X must have the same columns in the same order, they "
            "differ in ['b', 'c']; select the columns of X from X_unlabeled.",
        ),
        (
            pa.table({"b": [0.0], "a": [0.0]}),
            pd.DataFrame({"a": [0.0], "b": [0.0]}),
            "X_unlabeled and X must have the same columns in the same order, they "
            "differ in their order; select the columns of X from X_unlabeled.",
        ),
    ],
)
def test_other_features_are_refused(pool, like, message):
    with pytest.raises(ValueError) as error:
        as_rows(pool, like)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "pool",
    [np.zeros((2, 2)), sparse.csr_array((2, 2)), pd.DataFrame([[0]]), [[1.0], [2.0]]],
)
def test_what_is_in_memory_stays_as_it_is(pool):
    assert as_rows(pool, np.zeros((1, 2))) is pool


@pytest.mark.parametrize("source", ["sliced", "dask array"])
def test_both_doors_at_once(problem, tmp_path, source):
    X, y, pool = problem
    y = np.where(np.arange(len(y)) < 25, y, -1)
    here = fit(X, y, pool, query_strategy="margin")
    there = fit(X, y, SOURCES[source](pool, tmp_path), query_strategy="margin")
    assert (here.labeled_round_[25:40] > 0).any()
    np.testing.assert_array_equal(here.labeled_round_, there.labeled_round_)
