"""The pool of a fit gives a strategy the same values wherever its rows are."""

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill._fit.pool import map_partition
from skadistill.exceptions import StudentError
from skadistill.ledger import MemoryLedger
from skadistill.query import QueryPool, QueryStrategy
from skadistill.query._measures import margin_gain

N_LABELED, N_POOL = 30, 300


@pytest.fixture(scope="module")
def problem():
    X = np.random.default_rng(0).normal(size=(N_LABELED + N_POOL, 3))
    return X[:N_LABELED], (X[:N_LABELED, 0] > 0).astype(int), X[N_LABELED:]


def teacher(X):
    return (X[:, 0] > 0).astype(int)


def first_column(X):
    return X[:, 0]


class NotANumber(ClassifierMixin, BaseEstimator):
    """Predicts NaN for every second row once it has learned so many."""

    def __init__(self, n_rows=0):
        self.n_rows = n_rows

    def fit(self, X, y, sample_weight=None):
        self.classes_, self.value_ = np.unique(y), 0.5
        if len(X) >= self.n_rows:
            self.value_ = np.nan
        return self

    def predict_proba(self, X):
        proba = np.full((len(X), 2), 0.5)
        proba[::2] = self.value_
        return proba


@pytest.mark.parametrize(
    ("strategy", "n_rows"), [("robust", 0), ("random", 0), ("robust", N_LABELED + 1)]
)
def test_probabilities_must_be_finite(problem, strategy, n_rows):
    """Said before anything is paid if it can be seen then; what is paid is kept."""
    X, y, X_pool = problem
    ledger = MemoryLedger()
    model = ActiveDistiller(
        teacher, NotANumber(n_rows), query_strategy=strategy, ledger=ledger, budget=100
    )
    with pytest.raises(StudentError, match=r"NotANumber predicts .* not finite for 1"):
        model.fit(X, y, X_unlabeled=X_pool)
    assert (len(ledger) == 0) == (n_rows == 0)


class Reading(QueryStrategy):
    """Read everything a pool shows, and keep it."""

    seen: list = []

    def query(self, pool, n_queries, random_state):
        self.seen.append(
            {
                "map_rows": pool.map_rows(first_column, dtype=np.float64),
                "map_proba": pool.map_proba(margin_gain),
                "proba": pool.predict_proba(),
                "X": pool.X,
                "X_labeled": pool.X_labeled,
                "y_labeled": pool.y_labeled,
            }
        )
        assert isinstance(pool, QueryPool)
        assert pool.student.predict(pool.X).shape == (pool.n_samples,)
        return random_state.choice(pool.n_samples, n_queries, replace=False)


def read(X, y, pool):
    Reading.seen = []
    model = ActiveDistiller(
        teacher,
        LogisticRegression(),
        query_strategy=Reading(),
        budget=40,
        query_size=20,
        random_state=0,
    )
    # About 50 rows per block.
    with sklearn.config_context(working_memory=0.006):
        model.fit(X, y, X_unlabeled=pool)
    return Reading.seen


def on_disk(pool, folder):
    np.save(folder / "pool.npy", pool)
    return np.load(folder / "pool.npy", mmap_mode="r")


def on_dask(pool, folder):
    return pytest.importorskip("dask.array").from_array(pool, chunks=(110, 3))


def test_what_a_strategy_reads_is_that_of_the_rows(problem):
    """Values per row, probabilities and rows belong together, in pool order."""
    first, second = read(*problem)
    np.testing.assert_array_equal(first["X"], problem[2])
    assert len(second["X"]) == N_POOL - 20
    assert second["X_labeled"].shape == (N_LABELED + 20, 3)
    for seen in (first, second):
        np.testing.assert_array_equal(seen["map_rows"], seen["X"][:, 0])
        margins = margin_gain(seen["proba"]).astype(np.float32)
        np.testing.assert_array_equal(seen["map_proba"], margins)
        assert seen["y_labeled"].shape == (len(seen["X_labeled"]), 2)


@pytest.mark.parametrize("place", [on_disk, on_dask])
def test_where_the_rows_are_does_not_matter(problem, place, tmp_path):
    """A file and a Dask collection show what an array shows, in both rounds."""
    X, y, pool = problem
    expected = read(X, y, pool)
    for seen, same in zip(read(X, y, place(pool, tmp_path)), expected, strict=True):
        for name in seen:
            np.testing.assert_array_equal(seen[name], same[name], err_msg=name)


def test_rows_of_x_come_before_those_of_a_dask_collection(problem):
    """Rows of X without a label are in the pool too, first."""
    X, y, pool = problem
    X, y = np.concatenate([X, pool[:7]]), np.concatenate([y, np.full(7, -1)])
    seen = read(X, y, on_dask(pool[7:], None))[0]
    np.testing.assert_array_equal(seen["map_rows"], pool[:, 0])


def test_blocks_of_rows_can_be_spread(problem):
    """map_rows runs in joblib's workers like the student's predictions."""
    expected = read(*problem)
    with parallel_config("threading", n_jobs=2):
        spread = read(*problem)
    for seen, same in zip(spread, expected, strict=True):
        np.testing.assert_array_equal(seen["map_rows"], same["map_rows"])


def test_map_partition_leaves_out_rows_and_cuts_blocks():
    """Rows that are no longer in the pool are skipped; a block has at most `step`."""
    part = np.arange(7.0)[:, None]
    blocks = map_partition(np.ravel, part, np.array([1, 5]), np.asarray, 2)
    assert [block.tolist() for block in blocks] == [[0, 2], [3, 4], [6]]
    assert map_partition(np.ravel, part[:0], np.array([], int), np.asarray, 2) == []
