"""The file of a ledger is created whole, and damage to it is noticed."""

import json
import multiprocessing
import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import skadistill.ledger._file as ledger_file
from skadistill.exceptions import LedgerError
from skadistill.ledger import LabelLedger, row_keys

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


def test_nothing_is_ever_unpickled():
    """No file of the ledger imports what could run code from a file."""
    source = "".join(
        (Path(ledger_file.__file__).parent / name).read_text(encoding="utf8")
        for name in ("_sql.py", "_sqlite.py", "_file.py", "_frames.py")
    )
    for word in ("import pickle", "joblib", "allow_pickle", "eval(", "marshal"):
        assert word not in source


def test_keys_are_made_forever():
    """Rows have the keys under which a ledger of long ago would know them."""
    truth = json.loads((DATA / "row_keys.json").read_text())
    keys = row_keys(np.array(truth["rows"]))
    assert [key.hex() for key in keys.tolist()] == truth["keys"]


@pytest.mark.parametrize("version", [1, 2, 4])
def test_files_of_other_versions_are_refused(path, version):
    """A later one was written by a later release, an earlier one by none."""
    filled(path)[0].close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    with pytest.raises(LedgerError) as caught:
        LabelLedger(path)
    assert str(caught.value) == (
        f"the ledger {path} has format version 4 and this release reads versions up to "
        "3; install a newer skadistill."
        if version == 4
        else f"the ledger {path} has format version {version}, which no release wrote: "
        "it is of a development version, was edited or is damaged; restore it from a "
        "copy, or pass another path."
    )


def other_database(path):
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()


WRONG = {
    "text": (
        lambda p: p.write_text("key,label\n" * 500),
        "{path} is not a SQLite file, so it is not a ledger; pass the path of an "
        "existing or a new ledger.",
    ),
    "another database": (
        other_database,
        "{path} is a SQLite file but not a ledger (application id 0); pass the path of "
        "an existing or a new ledger.",
    ),
    "empty": (
        lambda p: p.write_bytes(b""),
        "the ledger {path} has 0 bytes: it was cut, or is not a ledger; restore it "
        "from "
        "a copy, or remove it to start a new one.",
    ),
    "folder": (
        lambda p: p.mkdir(),
        "{path} is not a file; pass the path of an existing or a new ledger.",
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
    with pytest.raises(LedgerError, match="has 199 labels instead of 200"):
        LabelLedger(path).check()


def test_a_label_of_the_wrong_width_is_damage(path):
    """Bytes that are no row of labels are not taken for one."""
    ledger, keys, _ = filled(path)
    with ledger._transaction(write=True) as db:
        db.run("UPDATE labels SET label = x'00' WHERE id = 3")
    with pytest.raises(LedgerError, match="rows read 40, damaged 1"):
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


def use_in_child(ledger, keys, labels):
    assert ledger.lookup(keys[:2], "t", CLASSES)[0].all()
    ledger.record(keys[2:], "t", CLASSES, labels[2:])


def test_a_ledger_crosses_a_fork(path):
    """Parent and child each have their own connection, also to one object."""
    keys, labels = some_rows(4)
    ledger = LabelLedger(path)
    ledger.record(keys[:2], "t", CLASSES, labels[:2])
    with ledger._transaction(write=True), ThreadPoolExecutor(1):
        pass
    assert in_child(use_in_child, ledger, keys, labels) == 0
    assert ledger.lookup(keys, "t", CLASSES)[0].all()
    ledger.check()


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


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800", b"labels.sqlite", "a" * 300])
def test_impossible_paths_are_named(path, tmp_path, monkeypatch):
    """Empty, null characters, surrogates, bytes, too long: one kind of error."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LedgerError, match="pass a"):
        LabelLedger(path)


def test_models_are_kept(path):
    """By teacher, in the file."""
    ledger = LabelLedger(path)
    keys, labels = some_rows(3, seed=7)
    ledger.record(keys, "t", CLASSES, labels, model="m 1")
    ledger.close()
    ledger = LabelLedger(path)
    ledger.check()
    assert ledger.models("t") == ledger.models() == {"m 1": 3}
    assert ledger.models("somebody") == {}


def test_models_are_texts(tmp_path):
    """Anything else is an error before anything is stored."""
    keys, labels = some_rows(3)
    ledger = LabelLedger(tmp_path / "labels.sqlite")
    with pytest.raises(LedgerError, match="model is 3; pass a string"):
        ledger.record(keys, "t", CLASSES, labels, model=3)
    assert len(ledger) == 0
