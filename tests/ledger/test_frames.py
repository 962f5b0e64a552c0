"""A ledger as a table, and back."""

import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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


def test_parquet_and_back(path, tmp_path):
    """Labels, embeddings, classes, teachers, costs and times go there and back."""
    ledger, keys, labels = filled(path)
    embeddings = np.random.default_rng(3).normal(size=(5, 2)).astype(np.float32)
    five = labels[:5]
    ledger.record(keys[:5], "u", [2, 0, 1], five, cost=1.0, embeddings=embeddings)
    ledger.to_parquet(tmp_path / "labels.parquet")
    other = LabelLedger(tmp_path / "other.sqlite")
    other.record(keys[:3], "t", CLASSES, [[0.0, 0.0, 1.0]] * 3)
    other.claim(keys[3:9], "t", CLASSES)  # somebody is paying; a label is welcome
    assert other.add_parquet(tmp_path / "labels.parquet") == 42
    assert other.add_parquet(tmp_path / "labels.parquet") == 0
    other.check()
    _, found = other.lookup(keys, "t", CLASSES)
    assert (found[3:] == labels[3:]).all()
    assert (found[:3] == [0, 0, 1]).all()
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
    with pytest.raises(LedgerError, match="row 39 of the frame cannot be read"):
        other.add_frame(broken)
    broken = frame.copy()
    broken["label"] = [row[:2] for row in broken["label"]]
    with pytest.raises(LedgerError, match=r"label has shape \(2,\)"):
        other.add_frame(broken)
    assert len(other) == 0


WRONG_VALUES = {
    "key": ["xyz", "00", 7],
    "teacher": [None, 3],
    "classes": ["x", '"a"', '["a", "a", "b"]', "[null, 1, 2]", 3],
    "label": [
        np.array([5.0, -4.0, 0.0]),
        np.array([0.5, np.nan, 0.5]),
        np.array([0.5, 0.5]),
        "text",
        None,
    ],
    "embedding": ["text", np.array([np.inf]), np.array([["a"]])],
    "paid_at": ["yesterday", None],
    "cost": [-100.0, float("nan"), "1", None],
    "seconds": [-1.0, True],
}


@pytest.mark.parametrize(
    ("column", "value"),
    [(column, value) for column, values in WRONG_VALUES.items() for value in values],
    ids=str,
)
def test_a_row_of_a_frame_that_cannot_be_read_is_named(path, column, value):
    """Nothing of the frame is added."""
    ledger, *_ = filled(path)
    frame = ledger.to_frame().astype(object)
    frame.at[17, column] = value
    frame.index = frame.index[::-1]  # positions count, not labels of the index
    other = LabelLedger(path.with_name("other.sqlite"))
    with pytest.raises(LedgerError, match="row 17 of the frame cannot be read"):
        other.add_frame(frame)
    assert len(other) == 0
    assert other.summary()["cost"] == 0


def test_a_file_that_is_not_parquet_is_an_error_of_ours(path, tmp_path):
    """It is named."""
    (tmp_path / "labels.parquet").write_text("key,label")
    with pytest.raises(LedgerError, match="cannot be read as a Parquet file"):
        LabelLedger(path).add_parquet(tmp_path / "labels.parquet")
    with pytest.raises(LedgerError, match="cannot be read as a Parquet file"):
        LabelLedger(path).add_parquet(tmp_path / "none.parquet")


def test_answers_without_a_label_go_there_and_back(path, tmp_path):
    """They stay known, and counted."""
    ledger, keys, _ = filled(path)
    ledger.record(keys[:3], "u", CLASSES, np.full((3, 3), np.nan), cost=1.5)
    ledger.to_parquet(tmp_path / "labels.parquet")
    other = LabelLedger(tmp_path / "other.sqlite")
    assert other.add_parquet(tmp_path / "labels.parquet") == 43
    assert other.summary()["n_no_label"] == 3
    assert other.lookup(keys[:3], "u", CLASSES)[0].all()
    other.check()


def test_models_go_there_and_back(path, tmp_path):
    """Who answered is in the table; tables of earlier releases lack it."""
    ledger, *_ = filled(path)
    more, of_more = some_rows(4, seed=5)
    ledger.record(more, "t", CLASSES, of_more, model="m 1")
    frame = ledger.to_frame()
    assert frame["model"].isna().sum() == 40
    other = LabelLedger(tmp_path / "other.sqlite")
    other.add_frame(frame)
    assert other.models("t") == {"m 1": 4}
    third = LabelLedger(tmp_path / "third.sqlite")
    assert third.add_frame(frame.drop(columns="model")) == 44
    assert third.models() == {}
