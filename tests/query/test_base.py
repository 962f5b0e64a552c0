import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from skadistill.exceptions import QueryStrategyError
from skadistill.query import QueryPool, QueryStrategy, UncertaintySampler
from skadistill.query._base import check_query
from skadistill.query._measures import margin_gain


def exactly(sentence):
    return f"^{re.escape(sentence)}$"


class Recorded(QueryPool):
    """Record what is computed."""

    def __init__(self, n_samples=5, classes=("a", "b")):
        super().__init__(n_samples, np.array(classes))
        self.calls = []

    def _iter_proba(self, function):
        self.calls.append("proba")
        yield function(np.full((4, 2), 0.5))
        yield function(np.full((1, 2), 0.5))

    def _iter_rows(self, function):
        self.calls.append("rows")
        yield function(pd.DataFrame({"x": [0, 1, 2]}))
        yield function(pd.DataFrame({"x": [3, 4]}))

    def _take_pool(self):
        self.calls.append("X")
        return np.zeros((5, 3))

    def _take_labeled(self):
        self.calls.append("labeled")
        return np.ones((2, 3)), np.eye(2)


def test_the_pool_computes_only_what_is_read():
    """Blocks are streamed for gains; tables and rows are built once, on access."""
    pool = Recorded()
    assert pool.n_classes == 2
    assert pool.calls == []
    values = pool.map_proba(margin_gain)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.ones(5))
    assert pool.predict_proba().shape == (5, 2)
    assert pool.predict_proba() is pool.predict_proba()
    pool.map_proba(margin_gain)
    assert pool.calls == ["proba", "proba"]
    assert pool.X is pool.X
    assert pool.X_labeled.shape == (2, 3)
    np.testing.assert_array_equal(pool.y_labeled, np.eye(2))
    assert pool.calls == ["proba", "proba", "X", "labeled"]


def test_pools_of_several_threads_do_not_wait_for_each_other():
    """Two fits on one cluster compute at the same time: no lock is shared."""
    both = threading.Barrier(2)

    class Meeting(Recorded):
        def _iter_proba(self, function):
            both.wait(timeout=10)
            yield from super()._iter_proba(function)

    with ThreadPoolExecutor(2) as threads:
        tables = list(threads.map(QueryPool.predict_proba, [Meeting(), Meeting()]))
    assert [table.shape for table in tables] == [(5, 2)] * 2


def test_map_rows_gives_one_value_per_row():
    """Blocks of rows come in the user's container, values in the dtype wanted."""
    pool = Recorded()
    values = pool.map_rows(lambda block: 2 * block["x"], dtype=np.int64)
    assert values.dtype == np.int64
    np.testing.assert_array_equal(values, [0, 2, 4, 6, 8])
    assert pool.calls == ["rows"]


@pytest.mark.parametrize("method", ["map_proba", "map_rows"])
def test_a_function_of_blocks_must_give_one_value_per_row(method):
    """Another shape is an error before a value is kept."""
    sentence = (
        r"a function of blocks must return one value per row, got shape \((2|4|1), 2\) "
        r"for \d rows; return an array of shape \(n_block,\)\."
    )
    with pytest.raises(QueryStrategyError, match=sentence):
        getattr(Recorded(), method)(lambda block: np.ones((len(block[:2]), 2)))


def test_a_pool_whose_blocks_do_not_cover_it_is_an_error():
    """Missing rows are named, not left as uninitialized memory; so are too many."""
    for n_samples in (9, 3):
        sentence = (
            f"the student must predict each of the pool's {n_samples} rows, got "
            "probabilities for 5 rows in all; return one row of probabilities per "
            "row from predict_proba."
        )
        with pytest.raises(ValueError, match=exactly(sentence)):
            Recorded(n_samples).map_proba(margin_gain)


def test_from_proba_shows_what_it_is_given():
    """Every attribute a strategy reads comes from an argument."""
    proba, X = [[0.75, 0.25], [0.5, 0.5]], np.eye(2)
    pool = QueryPool.from_proba(
        proba,
        classes=["no", "yes"],
        student="student",
        teacher_error=0.3,
        X=X,
        X_labeled=X[:1],
        y_labeled=np.eye(2)[:1],
    )
    assert (pool.n_samples, pool.n_classes, pool.teacher_error) == (2, 2, 0.3)
    assert pool.student == "student"
    assert pool.classes.tolist() == ["no", "yes"]
    np.testing.assert_array_equal(pool.predict_proba(), proba)
    np.testing.assert_array_equal(pool.map_proba(margin_gain), [0.5, 1.0])
    np.testing.assert_array_equal(pool.map_rows(lambda x: x[:, 1]), [0.0, 1.0])
    assert pool.X is X
    np.testing.assert_array_equal(pool.X_labeled, X[:1])
    np.testing.assert_array_equal(pool.y_labeled, [[1.0, 0.0]])


def test_from_proba_says_what_is_missing():
    """A strategy that reads rows needs a pool that has them."""
    pool = QueryPool.from_proba(np.full((2, 3), 1 / 3))
    np.testing.assert_array_equal(pool.classes, [0, 1, 2])
    for name, read in (("X", lambda: pool.X), ("X_labeled", lambda: pool.y_labeled)):
        sentence = (
            f"the strategy reads pool.{name}, but the pool was built without it "
            f"(None); pass {name} to QueryPool.from_proba."
        )
        with pytest.raises(ValueError, match=exactly(sentence)):
            read()


def test_query_strategy_and_pool_are_abstract():
    """Neither can be used before its methods are written."""
    with pytest.raises(TypeError, match="abstract"):
        QueryStrategy()
    with pytest.raises(TypeError, match="abstract"):
        QueryPool(1, [0, 1])


@pytest.mark.parametrize(
    ("positions", "sentence"),
    [
        (
            [0, 2, 2],
            "the query strategy UncertaintySampler returned position 2 2 times; return "
            "distinct positions, a label is paid once.",
        ),
        (
            [0, 1, 10],
            "the query strategy UncertaintySampler returned position 10, which is not "
            "an "
            "unlabeled row: the pool has 10 rows; return positions in [0, 10), "
            "labeled rows are not part of the pool.",
        ),
        (
            [0, -1, 1],
            "the query strategy UncertaintySampler returned position -1, which is not "
            "an "
            "unlabeled row: the pool has 10 rows; return positions in [0, 10), "
            "labeled rows are not part of the pool.",
        ),
        (
            [0, 1],
            "the query strategy UncertaintySampler returned 2 positions, but 3 "
            "were requested; return exactly that many positions.",
        ),
        (
            [0, 1, 2, 3],
            "the query strategy UncertaintySampler returned 4 positions, but 3 "
            "were requested; return exactly that many positions.",
        ),
        (
            np.array([True, False, True]),
            "the query strategy UncertaintySampler must return a one-dimensional array "
            "of "
            "integer positions, got dtype bool and shape (3,); return positions in the "
            "pool it was shown.",
        ),
        (
            [0.0, 1.0, 2.0],
            "the query strategy UncertaintySampler must return a one-dimensional array "
            "of "
            "integer positions, got dtype float64 and shape (3,); return positions in "
            "the pool it was shown.",
        ),
        (
            [[0, 1, 2]],
            "the query strategy UncertaintySampler must return a one-dimensional array "
            "of "
            "integer positions, got dtype int64 and shape (1, 3); return positions in "
            "the pool it was shown.",
        ),
    ],
)
def test_a_broken_answer_is_named(positions, sentence):
    """Each way to break the contract raises its own sentence."""
    with pytest.raises(QueryStrategyError, match=exactly(sentence)):
        check_query(positions, 10, 3, UncertaintySampler())


def test_a_sound_answer_passes_as_integers():
    """Lists and small integer dtypes come back as int64, in their order."""
    for positions in ([4, 0, 9], np.array([4, 0, 9], dtype=np.uint8)):
        checked = check_query(positions, 10, 3, UncertaintySampler())
        assert checked.dtype == np.int64
        np.testing.assert_array_equal(checked, [4, 0, 9])
