"""What a ledger knows before a fit pays for anything."""

from types import SimpleNamespace

import numpy as np

from skadistill._fit import known as known_module
from skadistill._fit.known import KnownAnswers
from skadistill.ledger import MemoryLedger, row_keys

X = np.arange(12.0).reshape(6, 2)


def test_the_pool_is_hashed_once(monkeypatch):
    """Also for a teacher with jobs, which looks for known rows and for those held."""
    ledger, keys = MemoryLedger(), row_keys(X)
    ledger.record(keys[:1], "t", [0, 1], [[1.0, 0.0]])
    claim = ledger.claim(keys[3:5], "t", [0, 1])
    ledger.hand_to_job(claim, "job-1")
    teacher = SimpleNamespace(
        is_fitted=True, identity="t", submit_rows=0, poll_job=0, max_wait=None
    )
    table = SimpleNamespace(
        blocks=lambda rows, _: (X[rows[i : i + 2]] for i in range(0, len(rows), 2))
    )
    hashed = []

    def counting(block):
        hashed.extend(block[:, 0].tolist())
        return row_keys(block)

    monkeypatch.setattr(known_module, "row_keys", counting)
    known = KnownAnswers(teacher, ledger, np.array([0, 1]))
    labeled, _ = known.find(table, np.arange(5))
    assert labeled.tolist() == [0]
    assert known.in_flight(table, np.array([5, 3, 1, 4])).tolist() == [3, 4]
    assert sorted(hashed) == X[:, 0].tolist()
