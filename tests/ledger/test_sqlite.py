"""A ledger in a file survives whatever happens to processes, disks and releases."""

import json
import multiprocessing
import os
import pickle
import resource
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import skadistill.ledger._sqlite as ledger_file
from skadistill.exceptions import LedgerError
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, row_keys
from skadistill.ledger._process import is_gone, process_name
from skadistill.teachers import FunctionTeacher

DATA = Path(__file__).parents[1] / "data"
CLASSES = ["a", "b", "c"]
FORK = multiprocessing.get_context("fork")


def some_rows(n, seed=0, n_classes=3):
    rng = np.random.default_rng(seed)
    return row_keys(rng.normal(size=(n, 2))), rng.dirichlet(np.ones(n_classes), size=n)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.sqlite"


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


def test_nothing_is_ever_unpickled():
    """No file of the ledger imports what could run code from a file."""
    source = "".join(
        (Path(ledger_file.__file__).parent / name).read_text(encoding="utf8")
        for name in ("_sql.py", "_sqlite.py", "_frames.py")
    )
    for word in ("import pickle", "joblib", "allow_pickle", "eval(", "marshal"):
        assert word not in source


def test_hostile_names_are_names(path):
    """Quotes, blanks and nothing at all are just other teachers and classes."""
    names = ["'; DROP TABLE labels; --", "", 'a "b"', "ä\u2028", "%", "t"]
    keys, labels = some_rows(1)
    ledger = LabelLedger(path)
    for i, name in enumerate(names):
        classes = np.array([name, "x", 1.5], dtype=object)
        ledger.record(keys, name, classes, labels + i)
    for i, name in enumerate(names):
        found = ledger.lookup(keys, name, np.array([1.5, name, "x"], dtype=object))[1]
        assert (found == (labels + i)[:, [2, 0, 1]]).all()


@pytest.mark.parametrize("label", [None, b"a", float("nan"), (1, 2)])
def test_classes_that_a_file_cannot_hold(path, label):
    """Classes are texts and finite numbers."""
    with pytest.raises(LedgerError, match="name classes by texts or finite numbers"):
        LabelLedger(path).record(
            some_rows(1)[0], "t", np.array([label, "b"], dtype=object), [[0.5, 0.5]]
        )


def test_the_first_format_is_read_forever(tmp_path):
    """A file of format version 1, written when it was new, gives back its labels."""
    path = tmp_path / "old.sqlite"
    path.write_bytes((DATA / "ledger_v1.sqlite").read_bytes())
    truth = json.loads((DATA / "ledger_v1.json").read_text())
    ledger = LabelLedger(path)
    ledger.check()
    for shelf in truth["label_sets"]:
        keys = np.array([bytes.fromhex(k) for k in shelf["keys"]], dtype="V16")
        known, labels = ledger.lookup(keys, shelf["teacher"], shelf["classes"])
        assert known.all()
        assert labels.tolist() == shelf["labels"]
        known, embeddings = ledger.lookup_embeddings(keys, shelf["teacher"])
        assert embeddings[known].tolist() == shelf["embeddings"]
    assert ledger.summary() == truth["summary"]


def test_keys_of_the_first_format_are_made_forever():
    """The rows that the old file knows still have the keys it knows them by."""
    truth = json.loads((DATA / "ledger_v1.json").read_text())
    X = np.array(truth["rows"])
    keys = [k.hex() for k in row_keys(X).tolist()]
    assert keys == truth["label_sets"][0]["keys"]


def test_migration(path, monkeypatch):
    """An old file is brought up to date at opening; one too new is refused."""
    filled(path)[0].close()
    monkeypatch.setattr(ledger_file, "FORMAT_VERSION", 3)
    statements = ["ALTER TABLE labels ADD COLUMN note TEXT", "UPDATE labels SET note=1"]
    monkeypatch.setattr(ledger_file, "MIGRATIONS", {1: statements, 2: []})
    ledger = LabelLedger(path)
    assert len(ledger) == 40
    with ledger._file.transaction(write=False) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert db.execute("SELECT total(note) FROM labels").fetchone() == (40.0,)
    ledger.close()
    monkeypatch.undo()
    with pytest.raises(LedgerError) as caught:
        LabelLedger(path)
    assert str(caught.value) == (
        f"The ledger {path} has format version 3 and this release reads versions up to "
        "1; install a newer skadistill."
    )


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    """The file stays as it was, and is read by the release that wrote it."""
    filled(path)[0].close()
    with monkeypatch.context() as patch:
        patch.setattr(ledger_file, "FORMAT_VERSION", 2)
        patch.setattr(ledger_file, "MIGRATIONS", {1: ["DELETE FROM labels", "oops"]})
        with pytest.raises(LedgerError, match="failed"):
            LabelLedger(path)
    ledger = LabelLedger(path)
    ledger.check()
    assert len(ledger) == 40


def other_database(path):
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()


WRONG = {
    "text": (
        lambda p: p.write_text("key,label\n" * 500),
        "{path} is not a SQLite file, so it is no ledger; pass the path of a ledger, "
        "or of no file to start one.",
    ),
    "another database": (
        other_database,
        "{path} is a SQLite file but no ledger (application id 0); pass the path of a "
        "ledger, or of no file to start one.",
    ),
    "empty": (
        lambda p: p.write_bytes(b""),
        "The ledger {path} has 0 bytes: it was cut, or is no ledger; restore it from a "
        "copy, or remove it to start a new one.",
    ),
    "folder": (
        lambda p: p.mkdir(),
        "{path} is no file; pass the path of a ledger, or of none.",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_refused_and_left_alone(path, kind):
    """Each has its sentence, and keeps its bytes."""
    make, message = WRONG[kind]
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerError) as caught:
        LabelLedger(path)
    assert str(caught.value) == message.format(path=path)
    assert before is None or path.read_bytes() == before


def test_a_folder_that_is_not_there(tmp_path):
    """A ledger makes its file and not its folder."""
    with pytest.raises(LedgerError, match="check that its folder exists"):
        LabelLedger(tmp_path / "no" / "labels.sqlite")
    assert not list(tmp_path.iterdir())


def test_a_file_cut_anywhere_is_an_error(path):
    """Every page boundary, each byte beside it, and some in between."""
    filled(path, n=200)[0].close()
    whole = path.read_bytes()
    cuts = {0, 1, 15, 16, 27, 28, 31, 32, 99, 100, len(whole) - 1, len(whole) - 8}
    for page in range(0, len(whole), 4096):
        cuts |= {page + d for d in (-1, 0, 1, 2048) if 0 <= page + d < len(whole)}
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        with pytest.raises(LedgerError):
            LabelLedger(path)
    path.write_bytes(whole)
    assert len(LabelLedger(path)) == 200
    assert len(cuts) > 50


def test_damage_in_the_middle_is_found_by_check(path):
    """A page overwritten and a label gone are errors, not silence."""
    filled(path, n=200)[0].close()
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[-4096:] = b"\xff" * 4096
    path.write_bytes(damaged)
    with pytest.raises(LedgerError, match="is damaged"):
        LabelLedger(path).check()
    path.write_bytes(whole)
    db = sqlite3.connect(path)
    db.execute("DELETE FROM labels WHERE id = 7")
    db.commit()
    db.close()
    with pytest.raises(LedgerError, match="lacks 1 of its labels"):
        LabelLedger(path).check()


def test_a_label_of_the_wrong_width_is_damage(path):
    """Bytes that are no row of labels are not taken for one."""
    ledger, keys, _ = filled(path)
    with ledger._file.transaction(write=True) as db:
        db.execute("UPDATE labels SET label = x'00' WHERE id = 3")
    with pytest.raises(LedgerError, match="40 rows hold 937 bytes where 3 numbers"):
        ledger.lookup(keys, "t", CLASSES)


def die_after_recording(path, keys, labels):
    ledger = LabelLedger(path)
    for i in range(len(keys)):
        ledger.record(keys[i : i + 1], "t", CLASSES, labels[i : i + 1])
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_was_recorded_survives_sigkill(path):
    """Nothing closed, nothing flushed: the log is replayed at opening."""
    keys, labels = some_rows(30)
    assert in_child(die_after_recording, path, keys, labels) == -signal.SIGKILL
    assert path.with_name(path.name + "-wal").stat().st_size > 0
    known, found = LabelLedger(path).lookup(keys, "t", CLASSES)
    assert known.all()
    assert (found == labels).all()


def test_a_cut_file_whose_log_is_left_is_checked_page_by_page(path):
    """After a crash the log may hold the rest; where it does not, it is an error."""
    keys, labels = some_rows(100)
    in_child(die_after_recording, path, keys, labels)
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(size - 5000)
    try:
        ledger = LabelLedger(path)
        ledger.check()
        known, found = ledger.lookup(keys, "t", CLASSES)
    except LedgerError as error:
        assert "damaged" in str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert known.all()
        assert (found == labels).all()


def test_a_file_grown_while_it_is_looked_at_is_whole(path, monkeypatch):
    """The last writer leaves, and its log becomes the file, between the two looks."""
    keys, labels = some_rows(100)
    writer = LabelLedger(path)
    writer.record(keys[:1], "t", CLASSES, labels[:1])
    monkeypatch.setattr(ledger_file, "_CHECKPOINT_EVERY", np.inf)
    writer.record(keys[1:], "t", CLASSES, labels[1:])
    connect = ledger_file._connect

    def connect_late(path, mode):
        writer._file.close()
        return connect(path, mode)

    size = path.stat().st_size
    monkeypatch.setattr(ledger_file, "_connect", connect_late)
    known, _ = LabelLedger(path).lookup(keys, "t", CLASSES)
    assert known.all()
    assert path.stat().st_size > size


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
    ledger.record(keys[:3], "t", CLASSES, labels[:3], cost=1.5, claim=claim)
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_claims_of_the_dead_are_lost_and_counted(path, caplog):
    """Their rows are free again; the money may be gone, counts as spent, is told."""
    keys, labels = some_rows(10)
    in_child(die_with_a_claim, path, keys, labels)
    ledger = LabelLedger(path, max_rows=14)
    claim = ledger.claim(keys, "t", CLASSES)
    assert claim.granted.tolist() == [False] * 3 + [True] * 4 + [False] * 3
    assert claim.refused.tolist() == [False] * 7 + [True] * 3
    summary = ledger.summary()
    assert (summary["n_paid"], summary["n_lost"], summary["cost"]) == (3, 7, 5.0)
    (warned,) = caplog.messages
    assert "when it ended: 7; they may be billed, count as 3.5" in warned


def test_claims_from_elsewhere_last_as_long_as_their_lease(path):
    """Nobody can tell whether a process of another machine lives."""
    keys, _ = some_rows(4)
    ledger = LabelLedger(path, lease=1000.0)
    ledger.claim(keys, "t", CLASSES)
    with ledger._file.transaction(write=True) as db:
        db.execute("UPDATE claims SET owner = 'elsewhere boot 1 7 7'")
    assert not ledger.claim(keys, "t", CLASSES).granted.any()
    with ledger._file.transaction(write=True) as db:
        db.execute("UPDATE claims SET expires = expires - 1001")
    assert ledger.claim(keys, "t", CLASSES).granted.all()
    with ledger._file.transaction(write=True) as db:  # ours do not expire
        db.execute("UPDATE claims SET expires = 0")
    assert not ledger.claim(keys, "t", CLASSES).granted.any()


def test_is_gone_knows_the_dead():
    """A live process lives; an ended one, a zombie and a reused number do not."""
    me = process_name()
    machine, pid, start = me.rsplit(" ", 2)
    assert is_gone(me) is False
    assert is_gone(f"{machine} {pid} {start}9") is True
    assert is_gone(f"elsewhere {pid} {start}") is None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    name = f"{machine} {child.pid} {stat[19]}"
    assert is_gone(name) is False
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert is_gone(name) is True
    child.wait()
    child.stdin.close()
    assert is_gone(name) is True


def use_in_child(ledger, keys, labels):
    assert ledger.lookup(keys[:2], "t", CLASSES)[0].all()
    ledger.record(keys[2:], "t", CLASSES, labels[2:])


def test_a_ledger_crosses_a_fork(path):
    """Parent and child each have their own connection, also to one object."""
    keys, labels = some_rows(4)
    ledger = LabelLedger(path)
    ledger.record(keys[:2], "t", CLASSES, labels[:2])
    with ledger._file.transaction(write=True), ThreadPoolExecutor(1):
        pass
    assert in_child(use_in_child, ledger, keys, labels) == 0
    assert ledger.lookup(keys, "t", CLASSES)[0].all()
    ledger.check()


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
    assert "make room on the disk and go on" in message
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


def record_as_nobody(path):
    os.setgid(65534)
    os.setuid(65534)
    try:
        LabelLedger(path).record(*some_rows(1)[:1], "t", ["a"], [[1.0]])
    except LedgerError as error:
        return str(error)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_read_only_file_is_named(path):
    """Somebody who may only read is told so before anything is paid."""
    filled(path)[0].close()
    before = path.read_bytes()
    for folder in path.parents:
        if folder.stat().st_mode & 0o5 == 0o5:
            break
        folder.chmod(0o755)  # pytest's own folders are their owner's alone
    assert "cannot be opened for writing" in answer_of_child(record_as_nobody, path)
    assert path.read_bytes() == before


def test_threads_share_one_object(path):
    """Readers and writers take turns on one connection."""
    ledger, keys, labels = filled(path)

    def work(k):
        ledger.record(keys, f"u{k}", CLASSES, labels)
        return ledger.lookup(keys, "t", CLASSES)[0].all()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert len(ledger) == 9 * 40


def test_parquet_and_back(path, tmp_path):
    """Labels, embeddings, classes, teachers, costs and times go there and back."""
    ledger, keys, labels = filled(path)
    embeddings = np.random.default_rng(3).normal(size=(5, 2)).astype(np.float32)
    five = labels[:5]
    ledger.record(keys[:5], "u", [2, 0, 1], five, cost=1.0, embeddings=embeddings)
    ledger.to_parquet(tmp_path / "labels.parquet")
    other = LabelLedger(tmp_path / "other.sqlite")
    other.record(keys[:3], "t", CLASSES, labels[:3] * 0 + 1)
    other.claim(keys[3:9], "t", CLASSES)  # somebody is paying; a label is welcome
    assert other.add_parquet(tmp_path / "labels.parquet") == 42
    assert other.add_parquet(tmp_path / "labels.parquet") == 0
    other.check()
    _, found = other.lookup(keys, "t", CLASSES)
    assert (found[3:] == labels[3:]).all()
    assert (found[:3] == 1).all()
    assert (other.lookup(keys[:5], "u", [0, 1, 2])[1] == five[:, [1, 2, 0]]).all()
    known, found = other.lookup_embeddings(keys, "u")
    assert known.sum() == 5
    assert (found[:5] == embeddings).all()
    assert other.summary()["cost"] == pytest.approx(1.0 + 2.0 * 37 / 40)
    assert other.summary()["n_paid"] == 45
    frame = ledger.to_frame()
    at = frame["paid_at"]
    assert (other.to_frame()["paid_at"].min() - at.min()).total_seconds() < 60
    assert (pd.Timestamp.now(tz="UTC") - at.max()).total_seconds() < 600
    assert frame["cost"].sum() == pytest.approx(3.0)
    assert frame["key"][0] == keys[0].tobytes().hex()


def test_frames_that_are_none(path):
    """A frame of something else is refused whole."""
    ledger, *_ = filled(path)
    frame = ledger.to_frame()
    other = LabelLedger(path.with_name("other.sqlite"))
    with pytest.raises(LedgerError, match="lacks the columns 'label'"):
        other.add_frame(frame.drop(columns="label"))
    broken = frame.copy()
    broken.loc[39, "key"] = "xyz"
    with pytest.raises(LedgerError, match="under the teacher 't' cannot be read"):
        other.add_frame(broken)
    broken = frame.copy()
    broken["label"] = [row[:2] for row in broken["label"]]
    with pytest.raises(LedgerError, match="labels have shape"):
        other.add_frame(broken)
    assert len(other) == 0
