"""What a fit carries: seeds, labels, and the reason to stop."""

from types import SimpleNamespace

import numpy as np
import pytest

from skadistill._fit import state as state_module
from skadistill._fit.record import RoundRecord
from skadistill._fit.state import Labels, Progress, Seeds, stop_reason
from skadistill._rows._table import RowTable
from skadistill.ledger import row_keys


@pytest.fixture
def labels():
    table = RowTable(np.arange(12.0).reshape(6, 2))
    return Labels(table, np.array([1, 4]), np.array(["a", "b"]))


def test_generators_of_rounds_are_children_of_one_seed():
    """Query k draws what child k of the seed draws, in any order of calls."""
    seeds = Seeds.draw(0)
    children = np.random.default_rng(seeds.queries).spawn(3)
    expected = [child.random() for child in children]
    assert [seeds.generator(k).random() for k in (2, 0, 1)] == [
        expected[2],
        expected[0],
        expected[1],
    ]


def test_seeds_of_one_number_are_equal():
    """The same `random_state` gives the same four seeds, another one others."""
    assert Seeds.draw(5) == Seeds.draw(5) != Seeds.draw(6)


def test_rows_move_from_the_pool_to_the_labels(labels):
    """Added rows keep their order; rounds, pool and given rows agree."""
    labels.add(np.array([5, 0]), np.array([[0.3, 0.7], [0.8, 0.2]]), 2)
    np.testing.assert_array_equal(labels.rows, [1, 4, 5, 0])
    np.testing.assert_array_equal(labels.pool, [2, 3])
    np.testing.assert_array_equal(labels.round, [2, 0, -1, -1, 0, 2])
    np.testing.assert_array_equal(labels.given, [True, True, False, False])
    assert labels.transduction(-1).tolist() == ["a", "a", -1, -1, "b", "b"]


def test_only_given_rows_are_hashed_for_an_audit(labels, monkeypatch):
    """Bought rows bring their keys; together they are those of all labeled rows."""
    keys, hashed = row_keys(labels.table.take(np.arange(6))), []
    monkeypatch.setattr(state_module, "row_keys", lambda X: _counted(X, hashed))
    labels.add(np.array([5, 0]), np.full((2, 2), 0.5), 1, keys=keys[[5, 0]])
    assert labels.trained_keys().tolist() == keys[[1, 4, 5, 0]].tolist()
    assert hashed == [2]


def _counted(X, hashed):
    hashed.append(len(X))
    return row_keys(X)


def test_embeddings_of_given_rows_are_unknown(labels):
    """Rows labeled before the first embedding get NaN."""
    labels.add(np.array([5]), np.array([[0.3, 0.7]]), 1, np.array([[1.0, 2.0]]))
    assert np.isnan(labels.embeddings[:2]).all()
    np.testing.assert_array_equal(labels.embeddings[2], [1.0, 2.0])


def test_progress_compares_rows_of_the_pool():
    """Agreement counts rows that are still in the pool, whatever left it."""
    progress = Progress()
    progress.compare(np.array([1, 3, 4]), np.array([0, 1, 2]))
    assert progress.agreements == []
    progress.compare(np.array([1, 4]), np.array([0, 1]))
    assert progress.agreements == [0.5]


@pytest.mark.parametrize(
    ("facts", "n_pool", "n_queries", "n_rounds", "reason"),
    [
        ({}, 5, 3, 0, None),
        ({}, 5, 0, 2, "budget"),
        ({}, 0, 0, 0, "no_pool"),
        ({}, 0, 0, 2, "pool_empty"),
        ({"stable": True}, 5, 3, 1, "stable_predictions"),
        ({"ledger_spent": True}, 5, 3, 1, "ledger_budget"),
        ({"ledger_spent": True, "callback": True}, 5, 0, 1, "callback"),
    ],
)
def test_stop_reason(facts, n_pool, n_queries, n_rounds, reason):
    """One reason is given, and what was asked for comes before what ran out."""
    state = SimpleNamespace(
        progress=Progress(**facts),
        labels=SimpleNamespace(pool=np.arange(n_pool)),
        n_left=n_queries,
        has_too_few_labels=False,
        known=[],
        records=[RoundRecord(i) for i in range(n_rounds + 1)],
    )
    assert stop_reason(state) == reason
