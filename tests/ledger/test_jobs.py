"""Asynchronous jobs hold rows of a ledger across threads and processes."""

import gc
import multiprocessing
import uuid

import numpy as np
import pytest

from skadistill.exceptions import LedgerError
from skadistill.ledger import LabelLedger, MemoryLedger, PostgresLedger, row_keys

CLASSES = ["a", "b"]
FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["memory", "file", "postgres"])
def ledger(request, tmp_path):
    if request.param == "memory":
        yield MemoryLedger(max_rows=10)
    elif request.param == "file":
        yield LabelLedger(tmp_path / "labels.sqlite", max_rows=10)
    else:
        url = request.getfixturevalue("postgres_url")
        ledger = PostgresLedger(url, f"jobs_{uuid.uuid4().hex}", max_rows=10)
        yield ledger
        ledger.close()


def some_keys(n, start=0):
    return row_keys(np.arange(start, start + n, dtype=float)[:, None])


def submit(ledger, keys, job="job-1", price=0.5):
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=price)
    ledger.sending(claim, keys)
    ledger.hand_to_job(claim, job)


def test_a_job_holds_its_rows_until_they_are_recorded(ledger):
    """Nobody else is granted them, they count in the budget, and nothing is lost."""
    keys = some_keys(6)
    submit(ledger, keys)
    gc.collect()
    assert not ledger.claim(keys, "t", CLASSES).granted.any()
    assert ledger.claim(some_keys(8, 50), "t", CLASSES).granted.sum() == 4
    (job,) = ledger.jobs("t", CLASSES)
    assert (job.job, job.keys.tolist()) == ("job-1", sorted(keys.tolist()))
    assert "job job-1" in [claim["owner"] for claim in ledger.claims()]
    labels = np.eye(2)[[0, 1, 1, 0]]
    ledger.record(job.keys[:4], "t", CLASSES, labels, cost=1.0, claim=job.claim)
    (job,) = ledger.jobs("t", CLASSES)
    assert len(job.keys) == 2
    ledger.release(job.claim)
    assert ledger.jobs("t", CLASSES) == []
    counts = ledger.summary()
    assert (counts["n_paid"], counts["n_lost"], counts["cost"]) == (4, 0, 1.0)


def test_answers_of_a_job_are_recorded_once(ledger):
    """Two that poll the same job do not count its cost twice."""
    submit(ledger, some_keys(4))
    (first,), (second,) = ledger.jobs("t", CLASSES), ledger.jobs("t", CLASSES)
    labels = np.eye(2)[[0, 1, 1, 0]]
    ledger.record(first.keys[:3], "t", CLASSES, labels[:3], cost=0.3, claim=first.claim)
    ledger.record(second.keys, "t", CLASSES, labels, cost=0.4, claim=second.claim)
    ledger.record(second.keys, "t", CLASSES, labels, cost=0.4, claim=second.claim)
    counts = ledger.summary()
    assert (counts["n_paid"], counts["cost"]) == (4, pytest.approx(0.4))


def test_jobs_are_those_of_a_teacher_and_its_classes(ledger):
    """Neither of another teacher, nor of another question."""
    submit(ledger, some_keys(2))
    assert ledger.jobs("u", CLASSES) == []
    assert ledger.jobs("t", ["a", "c"]) == []
    assert len(ledger.jobs("t", ["b", "a"])) == 1


def test_a_job_outlives_its_process(tmp_path):
    """Another process finds it; it is not counted as lost."""
    path = tmp_path / "labels.sqlite"
    child = FORK.Process(target=lambda: submit(LabelLedger(path), some_keys(3)))
    child.start()
    child.join()
    ledger = LabelLedger(path)
    assert ledger.claim(some_keys(5), "t", CLASSES).granted.sum() == 2
    assert [len(job.keys) for job in ledger.jobs("t", CLASSES)] == [3]
    assert ledger.summary()["n_lost"] == 0


def test_a_job_can_be_given_up_by_hand(ledger):
    """Its rows are free again and count as lost, since they may be billed."""
    submit(ledger, some_keys(3))
    assert ledger.free_claims(owner="job job-1") == 3
    assert ledger.jobs("t", CLASSES) == []
    counts = ledger.summary()
    assert (counts["n_lost"], counts["max_lost_cost"]) == (3, 1.5)


def test_what_cannot_be_handed_over_is_an_error(ledger):
    """A claim that has ended, and a job without a name."""
    keys = some_keys(2)
    claim = ledger.claim(keys, "t", CLASSES)
    with pytest.raises(LedgerError, match="job is ''"):
        ledger.hand_to_job(claim, "")
    ledger.release(claim)
    with pytest.raises(LedgerError, match="'job-1' has ended"):
        ledger.hand_to_job(claim, "job-1")


def test_models_are_counted(ledger):
    """Which model answered how many rows, of one teacher and of all."""
    keys = some_keys(5)
    labels = np.tile([1.0, 0.0], (5, 1))
    ledger.record(keys[:3], "t", CLASSES, labels[:3], model="m 1")
    ledger.record(keys[3:], "u", CLASSES, labels[3:], model="m 2")
    assert ledger.models("t") == {"m 1": 3}
    assert ledger.models() == {"m 1": 3, "m 2": 2}
