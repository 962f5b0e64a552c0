"""Damage to a ledger file is never taken for a label, nor paid for in silence."""

import itertools
import os
import random
import shutil
import sqlite3
from collections import Counter

import numpy as np
import pytest

import skadistill.ledger._file as ledger_file
from skadistill.exceptions import LedgerError
from skadistill.ledger import LabelLedger, row_keys

CLASSES = [f"c{i}" for i in range(10)]


def make_whole(path, n=600):
    """Write a ledger with labels, embeddings and answers without a label; close it."""
    rng = np.random.default_rng(0)
    keys = row_keys([f"row {i}" for i in range(n)])
    labels = rng.dirichlet(np.ones(len(CLASSES)), n)
    labels[::50] = np.nan
    embeddings = rng.normal(size=(n, 3)).astype(np.float32)
    ledger = LabelLedger(path)
    for start in range(0, n, 100):
        some = slice(start, start + 100)
        ledger.record(
            keys[some], "m", CLASSES, labels[some], embeddings=embeddings[some], cost=1
        )
    ledger.record(keys[:50], "other", CLASSES, labels[50:100])
    ledger.close()
    return keys, labels, embeddings


def put(path, data):
    """Replace a file by some bytes, with nothing beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(data)


def use(path, keys, labels, embeddings):
    """Read a file as a fit does, and claim what it does not know; say what came out."""
    try:
        ledger = LabelLedger(path)
    except LedgerError:
        return "error at opening"
    try:
        for teacher, rows, truth in (
            ("m", keys, labels),
            ("other", keys[:50], labels[50:100]),
        ):
            known, found = ledger.lookup(rows, teacher, CLASSES)
            if not np.array_equal(found[known], truth[known], equal_nan=True):
                return "WRONG LABEL"
            if ledger.claim(rows, teacher, CLASSES).granted.any():
                return "PAID AGAIN"
        known, found = ledger.lookup_embeddings(keys, "m")
        if not (found[known] == embeddings[known]).all():
            return "WRONG EMBEDDING"
        if ledger.summary()["cost"] != 6.0:
            return "WRONG COST"
    except LedgerError:
        return "error when used"
    finally:
        ledger.close()
    try:
        LabelLedger(path).check()
    except LedgerError:
        return "error of check"
    return "no effect"


def check_outcomes(outcomes):
    assert not [o for o in outcomes if o.isupper()], outcomes
    assert outcomes["no effect"] < outcomes.total(), outcomes


def flip_bits(path, n_flips, seed):
    keys, labels, embeddings = make_whole(path)
    whole, outcomes = path.read_bytes(), Counter()
    rng = random.Random(seed)
    assert use(path, keys, labels, embeddings) == "no effect"
    for _ in range(n_flips):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        put(path, data)
        outcomes[use(path, keys, labels, embeddings)] += 1
    check_outcomes(outcomes)
    return outcomes


def test_flipped_bits(path):
    """Single bits anywhere in the file."""
    flip_bits(path, 60, seed=1)


def test_an_index_entry_of_another_label_set_is_noticed(path):
    """One bit makes the number 1 a 0 in the index, where a scan still passes it."""
    keys, labels, embeddings = make_whole(path)
    whole = path.read_bytes()
    key = keys[100].tobytes()
    # A header of 4 bytes: the types integer 1, blob of 16 bytes, integer of 2 bytes.
    at = whole.index(b"\x04\x09\x2c\x02" + key) + 1
    put(path, whole[:at] + b"\x08" + whole[at + 1 :])
    assert use(path, keys, labels, embeddings).startswith("error")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_very_many_flipped_bits(path, seed):
    """400 single bits, ten times."""
    flip_bits(path, 400, seed)


@pytest.mark.parametrize(
    "n_cuts", [20, pytest.param(200, marks=pytest.mark.slow)], ids=str
)
def test_cuts(path, n_cuts):
    """A file that ends early, at random bytes, with its log and without."""
    keys, labels, embeddings = make_whole(path)
    whole, outcomes = path.read_bytes(), Counter()
    rng = random.Random(0)
    for _ in range(n_cuts):
        put(path, whole[: rng.randrange(len(whole))])
        outcomes[use(path, keys, labels, embeddings)] += 1
    assert outcomes == {"error at opening": n_cuts}


def crash(path, log_of):
    """Copy a ledger in use, with its log, as a crash would leave it."""
    for suffix in ("", "-wal"):
        shutil.copyfile(
            path.with_name(path.name + suffix), log_of.with_name(log_of.name + suffix)
        )


@pytest.fixture
def crashed(tmp_path):
    """Return a ledger whose last labels are in its log, and its keys and labels."""
    source = LabelLedger(tmp_path / "source.sqlite")
    rng = np.random.default_rng(0)
    keys, labels = row_keys(rng.normal(size=(40, 2))), rng.dirichlet(np.ones(3), 40)
    for i in range(0, 40, 4):
        source.record(keys[i : i + 4], "t", ["a", "b", "c"], labels[i : i + 4])
    path = tmp_path / "crashed.sqlite"
    crash(tmp_path / "source.sqlite", path)
    source.close()
    return path, keys, labels


def test_a_log_of_its_own_is_replayed(crashed):
    """After a crash the log holds labels that the file lacks."""
    path, keys, labels = crashed
    known, found = LabelLedger(path).lookup(keys, "t", ["a", "b", "c"])
    assert known.all()
    assert (found == labels).all()


def test_a_log_without_its_file_starts_no_new_ledger(crashed):
    """The file was deleted and its log left: a new ledger would replay it."""
    path, *_ = crashed
    path.unlink()
    with pytest.raises(LedgerError, match="is the write-ahead log of a ledger that is"):
        LabelLedger(path)
    assert not path.exists()
    path.with_name(path.name + "-wal").unlink()
    assert len(LabelLedger(path)) == 0


def test_a_log_beside_another_ledger_is_not_replayed(crashed, tmp_path):
    """The file was replaced by a ledger of another project."""
    path, *_ = crashed
    other = LabelLedger(tmp_path / "other.sqlite")
    other.close()
    path.write_bytes((tmp_path / "other.sqlite").read_bytes())
    with pytest.raises(LedgerError, match="does not belong to"):
        LabelLedger(path)
    path.with_name(path.name + "-wal").unlink()
    assert len(LabelLedger(path)) == 0


def write_more(path, keys, labels):
    """Record row by row; return copies of the file and of the log after each.

    The log is emptied into the file after every seventh.
    """
    ledger, states = LabelLedger(path), []
    for i in range(len(keys)):
        ledger.record(keys[i : i + 1], "t", ["a", "b", "c"], labels[i : i + 1])
        if i % 7 == 6:
            with sqlite3.connect(path) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            other.close()
        log = path.with_name(path.name + "-wal")
        states.append((path.read_bytes(), log.read_bytes()))
    ledger.close()
    return states


def test_logs_of_other_times_never_mix_with_a_file(path, tmp_path, monkeypatch):
    """Any file state beside any log state: the state of the log's end, or an error."""
    monkeypatch.setattr(ledger_file, "_CHECKPOINT_EVERY", np.inf)
    rng = np.random.default_rng(0)
    keys, labels = row_keys(rng.normal(size=(24, 2))), rng.dirichlet(np.ones(3), 24)
    states = write_more(path, keys, labels)
    restored = tmp_path / "restored.sqlite"
    for of_file, of_log in itertools.product(range(0, 24, 5), range(24)):
        in_file = (of_file + 1) // 7 * 7
        first, last = (of_log + 1) // 7 * 7 + 1, of_log + 1
        put(restored, states[of_file][0])
        restored.with_name("restored.sqlite-wal").write_bytes(states[of_log][1])
        if first <= last and not first <= in_file + 1 <= last + 1:
            with pytest.raises(LedgerError, match="does not belong to"):
                LabelLedger(restored)
            continue
        ledger = LabelLedger(restored)
        known, found = ledger.lookup(keys, "t", ["a", "b", "c"])
        assert known.sum() == (last if first <= last else in_file)
        assert (found[known] == labels[known]).all()
        ledger.check()
        ledger.close()


@pytest.mark.parametrize("rest", ["cut", "zeros", "torn"])
def test_a_log_that_ends_early_is_replayed_up_to_its_last_commit(path, tmp_path, rest):
    """A kill or a power cut while the log is written, at any byte of it.

    Also before its first commit: it then commits nothing, and the file stands alone.
    """
    rng = np.random.default_rng(0)
    keys, labels = row_keys(rng.normal(size=(9, 2))), rng.dirichlet(np.ones(3), 9)
    in_file, log = write_more(path, keys, labels)[-1]
    damaged, seen = tmp_path / "damaged.sqlite", []
    for end in [*range(0, len(log), 1021), len(log)]:
        put(damaged, in_file)
        kept = log[:end]
        if rest == "zeros":
            kept += bytes(len(log) - end)
        elif rest == "torn":
            kept += log[end:].replace(b"skadistill-stamp", bytes(16))
        damaged.with_name("damaged.sqlite-wal").write_bytes(kept)
        ledger = LabelLedger(damaged)
        known, found = ledger.lookup(keys, "t", ["a", "b", "c"])
        assert (found[known] == labels[known]).all()
        ledger.check()
        ledger.close()
        seen.append(int(known.sum()))
    assert set(seen) == {7, 8, 9}


def edit(path, *statements):
    """Run statements on a file as somebody with another program would."""
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(*statement)
    db.close()


EDITS = {
    "format version": ("PRAGMA user_version = 0",),
    "other classes": ('UPDATE label_sets SET classes = \'["b", "z"]\'',),
    "classes that are not JSON": ("UPDATE label_sets SET classes = 'x'",),
    "another teacher": ("UPDATE teachers SET identity = 'you' WHERE identity = 'm'",),
    "a cost": ("UPDATE teachers SET cost = 0",),
    "a cost that is a text": ("UPDATE teachers SET cost = 'much'",),
    "a text as label": ("UPDATE labels SET label = 'a text' WHERE id = 7",),
    "a number as label": ("UPDATE labels SET label = 5 WHERE id = 7",),
    "another label": (
        "UPDATE labels SET label = ? WHERE id = 7",
        (np.eye(10)[0].tobytes() + bytes(8),),
    ),
    "labels of two rows": (
        "UPDATE labels SET label = (SELECT label FROM labels WHERE id = 8) "
        "WHERE id = 7",
    ),
    "label of the other teacher": (
        "UPDATE labels SET label = (SELECT l.label FROM labels l WHERE l.key = "
        "labels.key AND l.label_set = 2) WHERE label_set = 1 AND id BETWEEN 2 AND 40",
    ),
    "another key": ("UPDATE labels SET key = zeroblob(16) WHERE id = 7",),
    "a short key": ("UPDATE labels SET key = x'00' WHERE id = 7",),
    "a label less": ("DELETE FROM labels WHERE id = 7",),
    "no label set": ("DELETE FROM label_sets WHERE id = 2",),
    "no teacher": ("DELETE FROM teachers WHERE id = 2",),
    "another column": ("ALTER TABLE labels RENAME COLUMN payment TO bill",),
    "no table": ("DROP TABLE lost_rows",),
    "no stamp": ("DELETE FROM state",),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_file_is_an_error_of_ours(path, what):
    """It names what was found, and no label of it is handed out."""
    keys, labels, embeddings = make_whole(path)
    edit(path, EDITS[what])
    assert use(path, keys, labels, embeddings) in (
        "error at opening",
        "error when used",
    )


def test_what_others_add_to_a_file_does_not_matter(path):
    """Tables and indexes of one's own are no damage."""
    keys, labels, embeddings = make_whole(path)
    edit(path, ("CREATE TABLE notes (x)",), ("CREATE INDEX i ON labels (payment)",))
    edit(path, ("ANALYZE",), ("VACUUM",))
    assert use(path, keys, labels, embeddings) == "no effect"


def test_check_compares_embeddings(path):
    """Also those that no fit asks for."""
    make_whole(path)
    edit(path, ("UPDATE embeddings SET embedding = zeroblob(20) WHERE id = 5",))
    with pytest.raises(LedgerError, match="1 embeddings differ from their checksum"):
        LabelLedger(path).check()


def test_damaged_labels_can_be_given_up(path):
    """The others are read again, and those given up are asked for again."""
    keys, labels, _ = make_whole(path)
    edit(
        path,
        ("UPDATE labels SET label = zeroblob(88) WHERE id IN (3, 8)",),
        ("UPDATE embeddings SET embedding = zeroblob(20) WHERE id = 5",),
    )
    ledger = LabelLedger(path)
    with pytest.raises(LedgerError, match=r"damaged 2\); .* call drop_damaged\(\)"):
        ledger.lookup(keys, "m", CLASSES)
    with pytest.raises(LedgerError, match="damaged"):
        ledger.to_frame()
    assert ledger.drop_damaged() == 2
    ledger.check()
    known, found = ledger.lookup(keys, "m", CLASSES)
    assert known.sum() == 598
    assert np.array_equal(found[known], labels[known], equal_nan=True)
    assert ledger.lookup_embeddings(keys, "m")[0].sum() == 599
    assert ledger.claim(keys, "m", CLASSES).granted.sum() == 2


def test_drafts_left_by_kills_are_deleted(path):
    """Old ones of this ledger only: a new one may be in use."""
    old = path.with_name(path.name + "." + "0" * 32 + ".new")
    for draft in (old, old.with_name(old.name + "-wal")):
        draft.write_text("draft")
        os.utime(draft, (0, 0))
    fresh = path.with_name(path.name + "." + "1" * 32 + ".new")
    other = path.with_name("other." + "0" * 32 + ".new")
    for kept in (fresh, other):
        kept.write_text("draft")
    os.utime(other, (0, 0))
    LabelLedger(path).close()
    names = sorted(p.name for p in path.parent.iterdir())
    assert names == sorted([path.name, fresh.name, other.name])
