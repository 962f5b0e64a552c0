"""On a cluster the same rows are asked and the same candidate wins."""

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy

distributed = pytest.importorskip("distributed")
sizeof = pytest.importorskip("dask.sizeof").sizeof

# The scheduler's weak dictionaries complain when threads of this process end.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def client():
    """Threads of this process play the workers: protocol and scheduler are real."""
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            dashboard_address=":0",
            protocol="inproc",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def problem():
    X, y = make_classification(
        400, n_features=6, n_informative=5, n_redundant=0, n_classes=3, random_state=0
    )
    return X[:60], y[:60], X[60:]


def teacher(X):
    codes = np.digitize(X[:, 0], [-0.5, 0.5])
    return np.eye(3)[codes] * 0.8 + 0.2 / 3


def distiller(**params):
    params = {
        "budget": 30,
        "query_size": 15,
        "teacher_checks": CheckPolicy(error_rate=0.2),
    } | params
    student = LogisticRegression(max_iter=300)
    return ActiveDistiller(teacher, student, random_state=0, **params)


def test_a_search_on_a_cluster_finds_what_one_process_finds(client, problem):
    X, y, pool = problem
    search = GridSearchCV(distiller(), {"budget": [10, 40]}, cv=2)
    alone = sklearn.clone(search).fit(X, y, X_unlabeled=pool)
    with parallel_config("dask"):
        together = sklearn.clone(search).fit(X, y, X_unlabeled=pool)
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(
            alone.cv_results_[name], together.cv_results_[name]
        )
    np.testing.assert_array_equal(alone.predict_proba(X), together.predict_proba(X))


def test_blocks_scored_on_a_cluster_ask_the_same_rows(client, problem):
    X, y, pool = problem
    with sklearn.config_context(working_memory=0.02):
        alone = distiller().fit(X, y, X_unlabeled=pool)
        with parallel_config("dask"):
            together = distiller().fit(X, y, X_unlabeled=pool)
    np.testing.assert_array_equal(alone.labeled_round_, together.labeled_round_)


def test_dask_rows_are_scored_by_the_workers(client, problem):
    """The gains come from where the partitions live, rows asked from there too."""
    da = pytest.importorskip("dask.array")
    X, y, pool = problem
    here = distiller().fit(X, y, X_unlabeled=pool)
    with distributed.get_task_stream(client) as stream:
        there = distiller().fit(X, y, X_unlabeled=da.from_array(pool, chunks=(100, 6)))
    np.testing.assert_array_equal(here.labeled_round_, there.labeled_round_)
    keys = [str(task["key"]) for task in stream.data]
    assert sum("map_partition" in key for key in keys) == 2 * 4  # rounds, partitions
    # A row asked is read once, though every round trains on it.
    assert sum("_take_of_partition" in key for key in keys) <= 2 * 4


def rows_of_part(number, n_samples):
    return np.random.default_rng(number).standard_normal((n_samples, 2))


def large_pool():
    """Describe a million rows, in partitions of which none ends where sums do."""
    import dask
    import dask.array as da

    sizes = [170_001, 0, 5, 329_994, 250_000, 250_000]
    parts = [
        da.from_delayed(
            dask.delayed(rows_of_part)(number, size), shape=(size, 2), dtype=float
        )
        for number, size in enumerate(sizes)
    ]
    return da.concatenate(parts)


def halves(X):
    return np.eye(2)[(X[:, 0] + 0.2 * X[:, 1] > 0).astype(int)] * 0.9 + 0.05


@pytest.fixture(scope="module")
def small_teaching():
    X = rows_of_part(99, 60)
    return X[:40], (X[:40, 0] > 0).astype(int), X[40:]


def numbers(history):
    names = ("gain_mean", "gain_max", "water_level", "n_support")
    return [record[name] or 0.0 for record in history for name in names]


@pytest.mark.parametrize(
    ("strategy", "error", "n_bytes"),
    [("robust", 0.05, 4), ("robust", None, 4), ("entropy", None, 4), ("random", 0, 0)],
)
def test_four_bytes_per_row_are_sent_to_the_client(
    client, small_teaching, strategy, error, n_bytes, monkeypatch
):
    """A million rows are scored by the workers; their gains come in float32.

    All that the client is sent in two rounds is weighed, the rows asked included.
    Rows of X without a label are in the pool too.
    """
    X, y, more = small_teaching
    X, y = np.concatenate([X, more]), np.concatenate([y, np.full(len(more), -1)])
    model = ActiveDistiller(
        halves,
        LogisticRegression(),
        query_strategy=strategy,
        teacher_checks=0 if error is None else CheckPolicy(error_rate=error),
        budget=60,
        query_size=30,
        random_state=0,
    )
    here = sklearn.clone(model).fit(X, y, X_unlabeled=large_pool().compute())
    pool, weights = large_pool(), []
    gather = distributed.Client.gather

    def weigh(self, *args, **kwargs):
        found = gather(self, *args, **kwargs)
        weights.append(sizeof(found))
        return found

    monkeypatch.setattr(distributed.Client, "gather", weigh)
    there = sklearn.clone(model).fit(X, y, X_unlabeled=pool)
    np.testing.assert_array_equal(here.labeled_round_, there.labeled_round_)
    assert numbers(here.history_) == pytest.approx(numbers(there.history_), rel=1e-12)
    assert sum(weights) == pytest.approx(2 * n_bytes * 1_000_000, abs=100_000)
