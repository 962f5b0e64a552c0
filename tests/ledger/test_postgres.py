"""A ledger in a database: the same for a team, on a real server."""

import itertools
import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import skadistill.ledger._postgres as ledger_postgres
from skadistill.exceptions import LedgerError
from skadistill.ledger import LabelLedger, PostgresLedger, row_keys
from skadistill.testing import check_ledger

DATA = Path(__file__).parents[1] / "data"
CLASSES = ["a", "b", "c"]
FORK = multiprocessing.get_context("fork")


def some_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return row_keys(rng.normal(size=(n, 2))), rng.dirichlet(np.ones(3), size=n)


def test_the_contract_is_kept(postgres_url):
    """A ledger in a database passes what is asked of every ledger."""
    numbers = itertools.count()
    made = []

    def make_ledger(**limits):
        made.append(PostgresLedger(postgres_url, f"contract_{next(numbers)}", **limits))
        return made[-1]

    check_ledger(make_ledger)
    for ledger in made:
        ledger.close()


def in_children(work, arguments):
    children = [FORK.Process(target=work, args=args) for args in arguments]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return [child.exitcode for child in children]


def spend(url, schema, keys, labels):
    ledger = PostgresLedger(url, schema, max_rows=45, max_cost=50.0)
    for start in range(0, len(keys), 4):
        rows = np.arange(start, start + 4)
        claim = ledger.claim(keys[rows], "t", CLASSES, max_cost_per_row=0.5)
        rows = rows[claim.granted]
        cost = len(rows) / 2
        ledger.record(keys[rows], "t", CLASSES, labels[rows], cost=cost, claim=claim)
    ledger.close()


def test_processes_share_labels_and_budget(postgres_url):
    """Four processes make one ledger at once, lose nothing and stop at its limit."""
    keys, labels = some_rows(80)
    arguments = [(postgres_url, "shared", keys[k::4], labels[k::4]) for k in range(4)]
    assert in_children(spend, arguments) == [0] * 4
    ledger = PostgresLedger(postgres_url, "shared")
    known, found = ledger.lookup(keys, "t", CLASSES)
    assert known.sum() == len(ledger) == 45
    assert (found[known] == labels[known]).all()
    assert ledger.summary()["cost"] == 22.5
    ledger.check()
    ledger.close()


def die_with_a_claim(url, keys):
    ledger = PostgresLedger(url, "exited")
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=0.5)
    ledger.sending(claim, keys[:4])
    os.kill(os.getpid(), signal.SIGKILL)


def test_claims_of_exited_processes_are_lost_and_counted(postgres_url):
    """As with a file: what was sent counts as spent, and all rows are free again."""
    keys, _ = some_rows(6)
    assert in_children(die_with_a_claim, [(postgres_url, keys)]) == [-signal.SIGKILL]
    ledger = PostgresLedger(postgres_url, "exited")
    assert ledger.claim(keys, "t", CLASSES).granted.all()
    summary = ledger.summary()
    assert (summary["n_lost"], summary["max_lost_cost"]) == (4, 2.0)
    ledger.close()


def test_frames_go_from_a_database_to_a_database(postgres_url):
    """Labels, embeddings and costs arrive as they were."""
    keys, labels = some_rows(7)
    embeddings = np.arange(14, dtype=np.float32).reshape(7, 2)
    first = PostgresLedger(postgres_url, "first")
    first.record(keys, "t", CLASSES, labels, cost=1.75, embeddings=embeddings)
    second = PostgresLedger(postgres_url, "second")
    assert second.add_frame(first.to_frame()) == 7
    assert (second.lookup(keys, "t", CLASSES)[1] == labels).all()
    assert (second.lookup_embeddings(keys, "t")[1] == embeddings).all()
    assert second.summary()["cost"] == 1.75
    first.close()
    second.close()


def test_what_is_wrong_with_a_database_is_said(postgres_url, monkeypatch):
    """No server, a missing label, another release, a hostile schema."""
    nobody = "postgresql+psycopg://x:secret@127.0.0.1:1/none"
    with pytest.raises(LedgerError, match="of the database failed") as caught:
        PostgresLedger(nobody)
    assert "secret" not in str(caught.value)
    ledger = PostgresLedger(postgres_url, "broken")
    ledger.record(some_rows(3)[0], "t", CLASSES, some_rows(3)[1])
    with ledger._transaction(write=True) as db:
        db.run("DELETE FROM labels WHERE id = (SELECT min(id) FROM labels)")
    with pytest.raises(LedgerError, match="has 2 labels instead of 3"):
        ledger.check()
    with ledger._transaction(write=True) as db:
        db.run("UPDATE format SET version = 9")
    with pytest.raises(LedgerError, match="has format version 9 and this release"):
        PostgresLedger(postgres_url, "broken")
    with pytest.raises(LedgerError, match="use small letters, digits"):
        PostgresLedger(postgres_url, "x; DROP SCHEMA broken")
    ledger.close()


def test_a_pickle_holds_the_url_and_a_repr_no_password(postgres_url):
    """Workers open their own connections."""
    ledger = PostgresLedger(postgres_url, "pickled", max_rows=3)
    twin = pickle.loads(pickle.dumps(ledger))
    keys, labels = some_rows(2)
    twin.record(keys, "t", CLASSES, labels)
    assert ledger.lookup(keys, "t", CLASSES)[0].all()
    assert twin.max_rows == 3
    ledger.url = "postgresql+psycopg://me:secret@host/labels"
    assert repr(ledger) == (
        "PostgresLedger('postgresql+psycopg://me:***@host/labels', 'pickled')"
    )
    ledger.close()
    twin.close()


def test_the_two_ledgers_on_sql_are_siblings():
    """A database has no path, so its ledger is not a ledger in a file."""
    assert not issubclass(PostgresLedger, LabelLedger)
    assert not issubclass(LabelLedger, PostgresLedger)


def test_leases_go_by_the_clock_of_the_database(postgres_url, monkeypatch):
    """A machine whose clock is a day ahead ends no claim of another."""
    keys, _ = some_rows(3)
    ledger = PostgresLedger(postgres_url, "clocks", lease=60.0)
    claim = ledger.claim(keys, "t", CLASSES)
    with ledger._transaction(write=True) as db:
        db.run("UPDATE claims SET owner = 'elsewhere boot 1 7 7'")
    day_ahead = time.time() + 86400
    monkeypatch.setattr(time, "time", lambda: day_ahead)
    assert not ledger.claim(keys, "t", CLASSES).granted.any()
    monkeypatch.undo()
    with ledger._transaction(write=True) as db:
        db.run("UPDATE claims SET expires = expires - 61")
    assert ledger.claim(keys, "t", CLASSES).granted.all()
    assert not ledger.renew(claim)
    ledger.close()


def test_a_client_that_hangs_is_an_error(postgres_url, monkeypatch):
    """A transaction that stays open keeps other writers waiting, but not forever."""
    monkeypatch.setattr(ledger_postgres, "_TIMEOUT", 0.5)
    keys, labels = some_rows(2)
    hung = PostgresLedger(postgres_url, "hung")
    other = PostgresLedger(postgres_url, "hung")
    with (
        hung._transaction(write=True),
        pytest.raises(LedgerError, match="lock timeout"),
    ):
        other.record(keys, "t", CLASSES, labels)
    other.record(keys, "t", CLASSES, labels)
    hung.close()
    other.close()
