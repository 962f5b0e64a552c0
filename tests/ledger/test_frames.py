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
