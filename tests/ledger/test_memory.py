"""A ledger in memory is a copy elsewhere, and says so."""

import copy
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

from skadistill.exceptions import LedgerCopyWarning
from skadistill.ledger import MemoryLedger, row_keys
from skadistill.testing import check_ledger

CLASSES = ["a", "b", "c"]


def some_rows(n, seed=0, n_classes=3):
    rng = np.random.default_rng(seed)
    return row_keys(rng.normal(size=(n, 2))), rng.dirichlet(np.ones(n_classes), size=n)


def test_the_contract_is_kept():
    """A ledger in memory passes what is asked of every ledger."""
    check_ledger(MemoryLedger)


def test_a_memory_ledger_shows_its_size():
    """Labels and teachers are counted in its repr."""
    keys, labels = some_rows(3)
    ledger = MemoryLedger()
    ledger.record(keys, "t", CLASSES, labels)
    ledger.record(keys[:1], "u", CLASSES, labels[:1])
    assert repr(ledger) == "MemoryLedger(<4 labels of 2 teachers>)"


def test_a_copy_in_this_process_is_silent_and_apart():
    """Pickling keeps every label; what the copy learns is its own."""
    keys, labels = some_rows(4)
    ledger = MemoryLedger()
    ledger.record(keys[:3], "t", CLASSES, labels[:3], cost=1.0)
    twins = pickle.loads(pickle.dumps(ledger)), copy.deepcopy(ledger), copy.copy(ledger)
    for twin in twins:
        assert twin.summary() == ledger.summary()
        twin.record(keys[3:], "t", CLASSES, labels[3:])
        known, found = twin.lookup(keys, "t", CLASSES)
        assert known.all()
        assert (found == labels).all()
        assert len(ledger) == 3
        assert ledger.n_paid == 3


MESSAGE = (
    "this MemoryLedger is a copy, in a worker process, of 1 labels: labels paid for "
    "here are missing in the original, so rows can be paid for again; share a ledger "
    "on disk between processes, or use joblib's threading backend."
)

ELSEWHERE = """
import pickle, sys, warnings
ledger = pickle.loads(bytes.fromhex(sys.argv[1]))
from skadistill.ledger import row_keys
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    len(ledger), ledger.summary(), repr(ledger)
    known, _ = ledger.lookup(row_keys([[1.0]]), "t", ["a", "b"])
    ledger.claim(row_keys([[1.0]]), "t", ["a", "b"])
    print(len(caught))
    ledger.record(row_keys([[2.0]]), "t", ["a", "b"], [[0.5, 0.5]])
print(len(caught), caught[0].category.__name__)
print(caught[0].message)
print(known.tolist(), len(ledger))
print(pickle.dumps(ledger).hex())
"""


def test_a_copy_in_a_worker_process_warns_before_it_pays():
    """Reading is silent; the first payment warns once; coming home is silent."""
    ledger = MemoryLedger()
    ledger.record(row_keys([[1.0]]), "t", ["a", "b"], [[0.25, 0.75]])
    out = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, pickle.dumps(ledger).hex()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert out[0] == "0"
    assert out[1] == "1 LedgerCopyWarning"
    assert out[2] == MESSAGE
    assert out[3] == "[True] 2"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        home = pickle.loads(bytes.fromhex(out[4]))
        assert home.lookup(row_keys([[2.0]]), "t", ["a", "b"])[0].all()


def test_a_ledger_loaded_later_is_as_good_as_the_original(tmp_path):
    """Another program saved it and has ended: nothing is lost if we pay for rows."""
    save = """
import pickle, sys
from skadistill.ledger import MemoryLedger, row_keys
ledger = MemoryLedger()
ledger.record(row_keys([[1.0]]), "t", ["a", "b"], [[0.25, 0.75]])
pickle.dump(ledger, open(sys.argv[1], "wb"))
"""
    path = tmp_path / "ledger.pickle"
    subprocess.run([sys.executable, "-c", save, path], check=True)
    loaded = pickle.loads(path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        claim = loaded.claim(row_keys([[1.0], [2.0]]), "t", ["a", "b"])
        assert claim.granted.tolist() == [False, True]
        loaded.record(row_keys([[2.0]]), "t", ["a", "b"], [[0.5, 0.5]], claim=claim)
    assert len(loaded) == 2


def test_a_fork_is_another_process(monkeypatch):
    """The process id alone tells a forked copy."""
    ledger = MemoryLedger()
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    with pytest.warns(LedgerCopyWarning):
        ledger.record(row_keys([[1.0]]), "t", ["a", "b"], [[0.25, 0.75]])
    assert len(ledger) == 1


def test_labels_recorded_one_by_one_are_not_copied_each_time():
    """As the answers of a ChatTeacher arrive: the table grows by doubling."""
    ledger, tables = MemoryLedger(), []
    keys = row_keys(np.arange(1000.0)[:, None])
    for i in range(1000):
        ledger.record(keys[i : i + 1], "t", ["a", "b"], [[0.25, 0.75]])
        ((_, table),) = ledger._labels.values()
        if not any(table.rows is rows for rows in tables):
            tables.append(table.rows)
    assert len(ledger) == 1000
    assert len(tables) <= 8
