"""The ledger gives back what was paid for, to the bit, and to nobody else."""

import copy
import os
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from skadistill.exceptions import LedgerError
from skadistill.teachers import BaseLedger, LedgerCopyWarning, MemoryLedger, row_keys

CLASSES = ["a", "b", "c"]


def some_rows(n, seed=0, n_classes=3):
    rng = np.random.default_rng(seed)
    return row_keys(rng.normal(size=(n, 2))), rng.dirichlet(np.ones(n_classes), size=n)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 60), n_classes=st.integers(1, 5))
def test_labels_come_back_to_the_bit(seed, n, n_classes):
    """Recorded in pieces and in any order of columns, looked up in another."""
    rng = np.random.default_rng(seed)
    classes = np.arange(n_classes) * 3
    keys, labels = some_rows(n, seed, n_classes)
    ledger = MemoryLedger()
    for piece in np.array_split(rng.permutation(n), 3):
        order = rng.permutation(n_classes)
        ledger.record(keys[piece], "t", classes[order], labels[piece][:, order])
    order, rows = rng.permutation(n_classes), rng.integers(0, max(n, 1), size=2 * n)
    known, found = ledger.lookup(keys[rows], "t", classes[order])
    assert known.all()
    assert (found == labels[rows][:, order]).all()
    assert found.dtype == np.float64
    assert len(ledger) == n


def test_what_is_not_known_is_not_known():
    """Other rows, another teacher and another set of classes are strangers."""
    keys, labels = some_rows(6)
    ledger = MemoryLedger()
    ledger.record(keys[:4], "t", CLASSES, labels[:4])
    known, found = ledger.lookup(keys, "t", CLASSES)
    assert known.tolist() == [True] * 4 + [False] * 2
    assert np.isnan(found[4:]).all()
    assert (found[:4] == labels[:4]).all()
    for teacher_id, classes in [
        ("u", CLASSES),
        ("t", ["a", "b"]),
        ("t", ["a", "b", "c", "d"]),
        ("t", ["a", "b", "d"]),
        ("t", [0, 1, 2]),
    ]:
        known, found = ledger.lookup(keys, teacher_id, classes)
        assert not known.any()
        assert found.shape == (6, len(classes))
        assert np.isnan(found).all()


def test_numbers_and_texts_are_different_classes():
    """The class 1 is 1.0, but it is not "1"."""
    keys, labels = some_rows(2, n_classes=2)
    ledger = MemoryLedger()
    ledger.record(keys, "t", np.array([0, 1]), labels)
    assert ledger.lookup(keys, "t", np.array([0.0, 1.0]))[0].all()
    assert not ledger.lookup(keys, "t", ["0", "1"])[0].any()


def test_the_first_label_stands_and_both_payments_count():
    """A row paid twice keeps its label; the money is gone twice."""
    keys, labels = some_rows(3)
    ledger = MemoryLedger()
    ledger.record(keys[[0, 0, 1]], "t", CLASSES, labels[[0, 2, 1]], cost=3.0)
    ledger.record(keys, "t", CLASSES, labels[::-1], cost=1.5, seconds=2.0)
    _, found = ledger.lookup(keys, "t", CLASSES)
    assert (found == labels[[0, 1, 0]]).all()
    assert len(ledger) == 3
    assert ledger.n_paid == 6
    assert ledger.summary()["cost"] == 4.5


def test_summary_adds_up():
    """Totals are the sums over teachers."""
    keys, labels = some_rows(5)
    ledger = MemoryLedger()
    assert ledger.summary() == {
        "n_labels": 0,
        "n_paid": 0,
        "n_calls": 0,
        "cost": 0.0,
        "seconds": 0.0,
        "teachers": {},
    }
    ledger.record(keys[:2], "t", CLASSES, labels[:2], cost=2.0, seconds=0.5)
    ledger.record(keys[2:], "t", CLASSES, labels[2:], seconds=0.25)
    ledger.record(keys[:1], "t", CLASSES[:2], [[0.5, 0.5]])
    ledger.record(keys[:1], "u", CLASSES, labels[:1])
    t = {"n_labels": 6, "n_paid": 6, "n_calls": 3, "cost": 2.0, "seconds": 0.75}
    u = {"n_labels": 1, "n_paid": 1, "n_calls": 1, "cost": 0.0, "seconds": 0.0}
    total = {"n_labels": 7, "n_paid": 7, "n_calls": 4, "cost": 2.0, "seconds": 0.75}
    assert ledger.summary() == {**total, "teachers": {"t": t, "u": u}}
    assert len(ledger) == 7
    assert repr(ledger) == "MemoryLedger(<7 labels of 2 teachers>)"


def test_embeddings_come_back_to_the_bit():
    """Each row's float32 embedding, whatever the classes; strangers have none."""
    keys, labels = some_rows(6)
    embeddings = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    ledger = MemoryLedger()
    assert ledger.lookup_embeddings(keys, "t")[1].shape == (6, 0)
    ledger.record(keys[:2], "t", CLASSES, labels[:2])
    assert not ledger.lookup_embeddings(keys, "t")[0].any()
    ledger.record(keys[:4], "t", CLASSES, labels[:4], embeddings=embeddings[:4])
    ledger.record(keys[:1], "t", ["a", "b"], [[0.5, 0.5]], embeddings=embeddings[5:])
    for ledger_ in (ledger, pickle.loads(pickle.dumps(ledger))):
        known, found = ledger_.lookup_embeddings(keys, "t")
        assert known.tolist() == [True] * 4 + [False] * 2
        assert found.dtype == np.float32
        assert (found[:4] == embeddings[:4]).all()
        assert np.isnan(found[4:]).all()
        assert not ledger_.lookup_embeddings(keys, "u")[0].any()


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (
            np.zeros((3, 2)),
            "embeddings have shape (3, 2) where there are 2 keys; pass one row of "
            "numbers a key.",
        ),
        (
            np.zeros(2),
            "embeddings have shape (2,) where there are 2 keys; pass one row of "
            "numbers a key.",
        ),
        (
            np.array([[0.0, np.nan], [0.0, 0.0]]),
            "embeddings hold nan; record finite numbers (float32 ends at 3.4e38).",
        ),
        (
            np.zeros((2, 3)),
            "embeddings have 3 columns where those recorded of 't' have 2; give a "
            "teacher whose embeddings have changed a new version.",
        ),
    ],
)
def test_embeddings_that_cannot_be_recorded(embeddings, message):
    """They are refused, and the labels beside them are not kept either."""
    keys, labels = some_rows(4)
    ledger = MemoryLedger()
    ledger.record(keys[2:], "t", CLASSES, labels[2:], embeddings=np.ones((2, 2)))
    with pytest.raises(LedgerError) as caught:
        ledger.record(keys[:2], "t", CLASSES, labels[:2], embeddings=embeddings)
    assert str(caught.value) == message
    assert len(ledger) == 2


def test_recorded_and_found_arrays_are_the_callers():
    """Changing what was recorded or found changes nothing in the ledger."""
    keys, labels = some_rows(3)
    ledger, kept = MemoryLedger(), labels.copy()
    ledger.record(keys, "t", CLASSES, labels)
    labels[:] = 7
    ledger.lookup(keys, "t", CLASSES)[1][:] = 7
    assert (ledger.lookup(keys, "t", CLASSES)[1] == kept).all()


def test_an_empty_ledger_is_a_ledger():
    """`ledger or other` must not throw an empty ledger away."""
    assert MemoryLedger()
    assert len(MemoryLedger()) == 0
    assert isinstance(MemoryLedger(), BaseLedger)


def test_clones_share_a_ledger():
    """scikit-learn's clone returns the ledger itself."""
    ledger = MemoryLedger()
    assert clone(ledger) is ledger


@pytest.mark.parametrize(
    ("keys", "classes", "labels", "message"),
    [
        (
            np.array([b"a"], dtype="S16"),
            ["a", "b"],
            [[0.5, 0.5]],
            "keys have dtype |S16 and shape (1,); pass what row_keys returns, one key "
            "a row.",
        ),
        (
            row_keys([[1.0]]),
            ["a", "a"],
            [[0.5, 0.5]],
            "classes are ['a', 'a'], with repeats; name every column once.",
        ),
        (
            row_keys([[1.0]]),
            ["a", "b"],
            [[0.5, 0.5]] * 2,
            "labels have shape (2, 2) where there are 1 keys and 2 classes; pass one "
            "row a key and one column a class.",
        ),
        (
            row_keys([[1.0]]),
            ["a", "b"],
            [[0.5, np.nan]],
            "labels hold nan; record answers that were checked, as BaseTeacher.ask "
            "returns them.",
        ),
    ],
)
def test_what_cannot_be_recorded(keys, classes, labels, message):
    """Keys, classes and labels that do not fit are refused, and nothing is kept."""
    ledger = MemoryLedger()
    with pytest.raises(LedgerError) as caught:
        ledger.record(keys, "t", classes, labels)
    assert str(caught.value) == message
    assert len(ledger) == 0


def test_ten_threads_lose_nothing():
    """10 threads x 200 rows, half of them shared, are all there."""
    keys, labels = some_rows(1100)
    ledger = MemoryLedger()

    def work(k):
        for i in range(200):
            row = [100 * k + i]
            ledger.record(keys[row], "t", CLASSES, labels[row], cost=1.0)
            ledger.lookup(keys[row], "t", CLASSES[::-1])

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))
    known, found = ledger.lookup(keys, "t", CLASSES)
    assert known.all()
    assert (found == labels).all()
    assert len(ledger) == 1100
    assert ledger.n_paid == 2000
    assert ledger.summary()["cost"] == 2000.0


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
    "This MemoryLedger is a copy in another process than its original's, with 1 "
    "labels: what is paid here is not remembered there, so rows can be paid for again; "
    "share a ledger on disk between processes, or use joblib's threading backend."
)

ELSEWHERE = """
import pickle, sys, warnings
ledger = pickle.loads(bytes.fromhex(sys.argv[1]))
from skadistill.teachers import row_keys
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    len(ledger), ledger.summary(), repr(ledger)
    print(len(caught))
    known, _ = ledger.lookup(row_keys([[1.0]]), "t", ["a", "b"])
    ledger.record(row_keys([[2.0]]), "t", ["a", "b"], [[0.5, 0.5]])
print(len(caught), caught[0].category.__name__)
print(caught[0].message)
print(known.tolist(), len(ledger))
print(pickle.dumps(ledger).hex())
"""


def test_a_copy_in_another_process_warns_before_it_is_used():
    """Loading is silent; the first use warns once; coming home is silent."""
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


def test_a_fork_is_another_process(monkeypatch):
    """The process id alone tells a forked copy."""
    ledger = MemoryLedger()
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    with pytest.warns(LedgerCopyWarning):
        ledger.record(row_keys([[1.0]]), "t", ["a", "b"], [[0.25, 0.75]])
    assert len(ledger) == 1
