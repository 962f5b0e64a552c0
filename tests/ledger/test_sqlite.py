"""A ledger in a file survives processes, full disks and parallel writers."""

import itertools
import multiprocessing
import os
import pickle
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from skadistill.exceptions import LedgerError
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, _catalog, row_keys
from skadistill.ledger._catalog import all_rows
from skadistill.teachers import FunctionTeacher
from skadistill.testing import check_ledger

DATA = Path(__file__).parents[1] / "data"
CLASSES = ["a", "b", "c"]
FORK = multiprocessing.get_context("fork")


def some_rows(n, seed=0, n_classes=3):
    rng = np.random.default_rng(seed)
    return row_keys(rng.normal(size=(n, 2))), rng.dirichlet(np.ones(n_classes), size=n)


def filled(path, n=40):
    keys, labels = some_rows(n)
    with_labels = LabelLedger(path)
    with_labels.record(keys, "t", CLASSES, labels, cost=2.0, seconds=0.5)
    return with_labels, keys, labels


def in_child(work, *args):
    """Run a function in a forked process; return its exit code."""
    child = FORK.Process(target=work, args=args)
    child.start()
    child.join()
    return child.exitcode


def answer_of_child(work, *args):
    """Run a function in a forked process; return what it returns."""
    with FORK.Pool(1) as pool:
        return pool.apply(work, args)


def test_the_contract_is_kept(tmp_path):
    """A ledger in a file passes what is asked of every ledger."""
    numbers = itertools.count()
    check_ledger(
        lambda **limits: LabelLedger(tmp_path / f"{next(numbers)}.sqlite", **limits)
    )


def test_labels_outlive_the_ledger(path):
    """Closed and opened again, everything is there to the bit, sums included."""
    ledger, keys, labels = filled(path)
    summary = ledger.summary()
    ledger.close()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    again = LabelLedger(path)
    known, found = again.lookup(keys, "t", CLASSES[::-1])
    assert known.all()
    assert (found[:, ::-1] == labels).all()
    assert again.summary() == summary
    again.check()


def test_pickles_and_clones_share_the_file(path):
    """A pickle carries path and limits, and nothing else."""
    ledger = LabelLedger(path, max_rows=50, max_cost=1.5)
    keys, labels = some_rows(2)
    twin = pickle.loads(pickle.dumps(ledger))
    ledger.record(keys, "t", CLASSES, labels)
    assert len(pickle.dumps(ledger)) < 500
    assert repr(twin) == repr(ledger)
    assert repr(ledger) == f"LabelLedger({str(path)!r}, max_rows=50, max_cost=1.5)"
    assert twin.lookup(keys, "t", CLASSES)[0].all()
    assert clone(ledger) is ledger


def test_hostile_names_are_names(path):
    """Quotes, blanks and nothing at all are just other teachers and classes."""
    names = ["'; DROP TABLE labels; --", "", 'a "b"', "ä\u2028", "%", "t"]
    keys, labels = some_rows(1)
    ledger = LabelLedger(path)
    for i, name in enumerate(names):
        classes = np.array([name, "x", 1.5], dtype=object)
        ledger.record(keys, name, classes, np.roll(labels, i))
    for i, name in enumerate(names):
        found = ledger.lookup(keys, name, np.array([1.5, name, "x"], dtype=object))[1]
        assert (found == np.roll(labels, i)[:, [2, 0, 1]]).all()


@pytest.mark.parametrize("label", [None, b"a", float("nan"), (1, 2)])
def test_classes_that_a_file_cannot_hold(path, label):
    """Classes are texts and finite numbers."""
    with pytest.raises(LedgerError, match="name classes by texts or finite numbers"):
        LabelLedger(path).record(
            some_rows(1)[0], "t", np.array([label, "b"], dtype=object), [[0.5, 0.5]]
        )


def test_opening_sees_one_state(path, monkeypatch):
    """What another process records while a ledger is opened is not taken for damage."""
    keys, labels = some_rows(3)
    other = LabelLedger(path)

    def read_slowly(db, table):
        rows = all_rows(db, table)
        monkeypatch.setattr(_catalog, "all_rows", all_rows)
        other.record(keys, f"t of {table}", CLASSES, labels)
        monkeypatch.setattr(_catalog, "all_rows", read_slowly)
        return rows

    monkeypatch.setattr(_catalog, "all_rows", read_slowly)
    ledger = LabelLedger(path)
    monkeypatch.undo()
    assert len(ledger) == len(other) == 6


def record_in_tens(path, keys, labels):
    ledger = LabelLedger(path)
    for start in range(0, len(keys), 10):
        rows = slice(start, start + 10)
        ledger.record(keys[rows], "t", CLASSES, labels[rows], cost=1.0)


def test_ten_processes_lose_nothing(path):
    """10 processes x 200 rows make one file at once and are all in it."""
    keys, labels = some_rows(2000)
    children = [
        FORK.Process(
            target=record_in_tens,
            args=(path, keys[200 * k : 200 * (k + 1)], labels[200 * k : 200 * (k + 1)]),
        )
        for k in range(10)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 10
    ledger = LabelLedger(path)
    known, found = ledger.lookup(keys, "t", CLASSES)
    assert known.all()
    assert (found == labels).all()
    assert ledger.summary()["cost"] == 200.0
    ledger.check()


def spend(path, keys, labels):
    ledger = LabelLedger(path, max_rows=70, max_cost=35.0)
    for start in range(0, len(keys), 4):
        rows = np.arange(start, start + 4)
        claim = ledger.claim(keys[rows], "t", CLASSES, max_cost_per_row=0.5)
        rows = rows[claim.granted]
        cost = len(rows) / 2
        ledger.record(keys[rows], "t", CLASSES, labels[rows], cost=cost, claim=claim)


def test_five_processes_share_a_budget(path):
    """Together they spend all of it and no row more."""
    keys, labels = some_rows(200)
    LabelLedger(path).close()
    children = [
        FORK.Process(target=spend, args=(path, keys[k::5], labels[k::5]))
        for k in range(5)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 5
    assert len(LabelLedger(path)) == 70
    assert LabelLedger(path).summary()["cost"] == 35.0


def die_with_a_claim(path, keys, labels):
    ledger = LabelLedger(path)
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=0.5)
    ledger.sending(claim, keys[:3])
    ledger.record(keys[:3], "t", CLASSES, labels[:3], cost=0.75, claim=claim)
    ledger.sending(claim, keys[3:7])
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_charges_what_was_sent(path, caplog):
    """All rows are free again; those sent count as spent, and a warning says so."""
    keys, labels = some_rows(10)
    in_child(die_with_a_claim, path, keys, labels)
    ledger = LabelLedger(path, max_rows=12)
    claim = ledger.claim(keys, "t", CLASSES)
    assert claim.granted.tolist() == [False] * 3 + [True] * 5 + [False] * 2
    assert claim.refused.tolist() == [False] * 8 + [True] * 2
    summary = ledger.summary()
    assert (summary["n_paid"], summary["n_lost"], summary["cost"]) == (3, 4, 0.75)
    assert (summary["lost_cost"], summary["max_lost_cost"]) == (1.0, 2.0)
    (warned,) = caplog.messages
    assert "without a label for 4 rows that had been sent" in warned
    assert "may be billed, 2 at most" in warned
    ledger.check()


def move(ledger, owner, seconds):
    """Give the open claims to another process, and let their leases end earlier."""
    with ledger._transaction(write=True) as db:
        db.run("UPDATE claims SET owner = ?", (owner,))
        db.run("UPDATE claims SET expires = expires - ?", (seconds,))


def test_claims_from_elsewhere_last_as_long_as_their_lease(path):
    """A claim that seems to be over is watched for half a lease: clocks differ."""
    keys, _ = some_rows(4)
    ledger = LabelLedger(path, lease=1.0)
    claim = ledger.claim(keys, "t", CLASSES)
    move(ledger, "elsewhere boot 1 7 7", 0.0)
    assert not ledger.claim(keys, "t", CLASSES).granted.any()
    move(ledger, "elsewhere boot 1 7 7", 3600.0)
    assert not ledger.claim(keys, "t", CLASSES).granted.any()
    time.sleep(0.3)
    # Its owner is alive, on a machine whose clock is an hour behind.
    ledger.renew(claim)
    move(ledger, "elsewhere boot 1 7 7", 3600.0)
    time.sleep(0.3)
    assert not ledger.claim(keys, "t", CLASSES).granted.any()
    time.sleep(0.6)
    assert ledger.claim(keys, "t", CLASSES).granted.all()


def test_a_claim_of_a_running_process_ends_with_its_lease(path):
    """Whatever keeps its owner from releasing it, it is not held forever."""
    keys, _ = some_rows(4)
    ledger = LabelLedger(path, lease=0.3)
    claim = ledger.claim(keys, "t", CLASSES)
    with ThreadPoolExecutor(1) as pool:  # this thread would end its own claim
        early = pool.submit(ledger.claim, keys, "t", CLASSES).result()
        assert not early.granted.any()
        time.sleep(0.4)
        late = pool.submit(ledger.claim, keys, "t", CLASSES).result()
        assert late.granted.all()
    assert not ledger.renew(claim)


def test_a_lease_is_renewed_while_rows_are_on_the_wire(path):
    """An answer may take longer than the lease; afterwards the claim can end."""
    keys, labels = some_rows(4)
    ledger = LabelLedger(path, lease=0.3)
    claim = ledger.claim(keys, "t", CLASSES)
    assert ledger.sending(claim, keys[:2]).all()
    with ThreadPoolExecutor(1) as pool:
        time.sleep(1.0)
        other = pool.submit(ledger.claim, keys, "t", CLASSES).result()
        assert not other.granted.any()
        ledger.record(keys, "t", CLASSES, labels, claim=claim)
    assert ledger.summary()["n_lost"] == 0
    assert ledger.claims() == []


def test_a_lease_is_not_renewed_after_its_thread_has_ended(path):
    """Other processes, which cannot see threads, are granted the rows then."""
    keys, _ = some_rows(4)
    ledger = LabelLedger(path, lease=0.3)

    def send():
        claim = ledger.claim(keys, "t", CLASSES)
        ledger.sending(claim, keys)
        return claim

    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(send).result()
    time.sleep(0.8)
    (listed,) = ledger.claims()
    assert listed["until"] < datetime.now(UTC)
    assert ledger.renew(claim)


def test_a_claim_that_was_dropped_is_not_renewed(path):
    """Nobody would record its answers."""
    keys, _ = some_rows(4)
    ledger = LabelLedger(path, lease=0.3)
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=1.0)
    ledger.sending(claim, keys[:1])
    del claim
    with ThreadPoolExecutor(1) as pool:
        time.sleep(0.8)
        assert pool.submit(ledger.claim, keys, "t", CLASSES).result().granted.all()
    assert ledger.summary()["max_lost_cost"] == 1.0


def test_an_edited_claim_is_an_error_that_says_how_to_end_it(path):
    """Its owner is not the name of a process."""
    keys, _ = some_rows(4)
    ledger = LabelLedger(path)
    claim = ledger.claim(keys, "t", CLASSES)
    assert claim.granted.all()
    move(ledger, "x", 0.0)
    with pytest.raises(LedgerError, match=r"end it with free_claims\(\)"):
        ledger.claim(keys, "t", CLASSES)
    assert ledger.free_claims() == 4
    assert ledger.claim(keys, "t", CLASSES).granted.all()


def teach(X):
    p = 1 / (1 + np.exp(-X[:, 0]))
    return np.column_stack([p, 1 - p])


def buy_until_the_disk_is_full(path, X, limit):
    ledger, n_seen = LabelLedger(path), [0]
    record = ledger.record

    def record_and_count(keys, *args, **options):
        record(keys, *args, **options)
        n_seen.append(n_seen[-1] + len(keys))

    ledger.record = record_and_count
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    try:
        buy_labels(
            FunctionTeacher(teach, name="t"),
            X,
            classes=[0, 1],
            ledger=ledger,
            batch_size=100,
        )
    except LedgerError as error:
        unrecorded = getattr(error, "unrecorded", None)
        return str(error), n_seen[-1], unrecorded
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))


@pytest.mark.parametrize("limit", range(90_000, 150_000, 12_000))
def test_a_full_disk_is_an_error_and_loses_nothing(path, limit):
    """What was recorded stays; a batch that was paid for is handed over."""
    X = np.random.default_rng(0).normal(size=(4000, 3))
    keys = row_keys(X)
    said = answer_of_child(buy_until_the_disk_is_full, path, X, limit)
    message, n_before, unrecorded = said
    assert "free space on the disk and go on" in message
    assert ("`unrecorded`" in message) == (unrecorded is not None)
    ledger = LabelLedger(path)
    ledger.check()
    known, labels = ledger.lookup(keys, "t", [0, 1])
    assert 0 < known.sum() == n_before < 4000
    if unrecorded is not None:
        rows, labels = unrecorded
        assert rows.tolist() == list(range(n_before, n_before + 100))
        np.testing.assert_allclose(labels, teach(X[rows]), rtol=1e-15)
    bought = buy_labels(
        FunctionTeacher(teach, name="t"), X, classes=[0, 1], ledger=ledger
    )
    assert bought.n_paid == 4000 - n_before


def test_threads_share_one_object(path):
    """Readers and writers take turns on one connection."""
    ledger, keys, labels = filled(path)

    def work(k):
        ledger.record(keys, f"u{k}", CLASSES, labels)
        return ledger.lookup(keys, "t", CLASSES)[0].all()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert len(ledger) == 9 * 40
