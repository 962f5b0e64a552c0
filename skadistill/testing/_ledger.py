"""The contract of a ledger, as checks."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone

from skadistill.ledger import row_keys
from skadistill.ledger._counts import NO_COUNTS
from skadistill.testing._strategy import check_that

__all__ = ["check_ledger"]

CLASSES = ("a", "b", "c")


def check_ledger(make_ledger: Callable[..., Any]) -> None:
    """Check that a ledger keeps the contract that buying labels relies on.

    - Memory: labels and embeddings come back to the last bit, whatever the order of
      the columns; nothing is known of other rows, teachers and sets of classes; the
      first label of a row stands; an answer without a label is known, and replaced
      by a label.
    - Counts: every payment is counted, also one for a row that has a label.
    - Claims: rows that one thread is paying for are granted to no other until they
      are recorded or released; threads lose nothing.
    - Budget: `max_rows` and `max_cost` are spent to the last row, and not exceeded.

    Parameters
    ----------
    make_ledger : callable
        Called as ``make_ledger(max_rows=..., max_cost=...)``, with neither or one of
        the two. Must return a new, empty ledger each time.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says where.

    Examples
    --------
    >>> from skadistill.ledger import MemoryLedger
    >>> from skadistill.testing import check_ledger
    >>> check_ledger(MemoryLedger)
    """
    rng = np.random.default_rng(0)
    keys = row_keys(rng.normal(size=(12, 2)))
    labels = rng.dirichlet(np.ones(len(CLASSES)), size=12)
    _check_memory(make_ledger(), keys, labels)
    _check_answers_without_label(make_ledger(), keys, labels)
    _check_embeddings(make_ledger(), keys, labels)
    _check_counts(make_ledger(), keys, labels)
    _check_claims(make_ledger(), keys, labels)
    _check_budget(make_ledger, keys, labels)
    _check_threads(make_ledger(max_rows=8), keys, labels)


def _check_memory(ledger, keys, labels):
    check_that(len(ledger) == 0, "a new ledger is not empty")
    check_that(bool(ledger), "an empty ledger counts as false")
    check_that(clone(ledger) is ledger, "clone returns another ledger")
    ledger.record(keys[:8], "t", CLASSES, labels[:8])
    known, found = ledger.lookup(keys, "t", CLASSES[::-1])
    check_that(known.tolist() == [True] * 8 + [False] * 4, "it knows other rows")
    check_that(np.isnan(found[8:]).all(), "a row that is not known has a label")
    check_that(
        (found[:8] == labels[:8, ::-1]).all(),
        "labels do not come back to the last bit, in the order of the classes",
    )
    for teacher, classes in (("u", CLASSES), ("t", CLASSES[:2]), ("t", (0, 1, 2))):
        check_that(
            not ledger.lookup(keys, teacher, classes)[0].any(),
            "it answers for another teacher or another set of classes",
        )
    ledger.record(keys[:8], "t", CLASSES, labels[4:])
    check_that(
        (ledger.lookup(keys[:8], "t", CLASSES)[1] == labels[:8]).all(),
        "a second label replaces the first",
    )
    found[:] = 7
    check_that(
        (ledger.lookup(keys[:8], "t", CLASSES)[1] == labels[:8]).all(),
        "changing what was found changes the ledger",
    )


def _check_answers_without_label(ledger, keys, labels):
    nothing = np.full((3, len(CLASSES)), np.nan)
    ledger.record(keys[:3], "t", CLASSES, nothing)
    known, found = ledger.lookup(keys, "t", CLASSES)
    check_that(
        known.tolist() == [True] * 3 + [False] * 9 and np.isnan(found[:3]).all(),
        "an answer without a label is not known",
    )
    counts = ledger.summary()
    check_that(
        (counts["n_labels"], counts["n_no_label"], counts["n_paid"]) == (0, 3, 3),
        "answers without a label are not counted in n_no_label and n_paid",
    )
    ledger.record(keys[:2], "t", CLASSES, labels[:2])
    check_that(
        (ledger.lookup(keys[:2], "t", CLASSES)[1] == labels[:2]).all(),
        "a label does not replace an answer without one",
    )
    check_that(
        ledger.summary()["n_no_label"] == 1, "n_no_label counts rows that have a label"
    )


def _check_embeddings(ledger, keys, labels):
    embeddings = np.arange(48, dtype=np.float32).reshape(12, 4) / 7
    ledger.record(keys[:4], "t", CLASSES, labels[:4], embeddings=embeddings[:4])
    ledger.record(keys[4:6], "t", CLASSES, labels[4:6])
    ledger.record_embeddings(keys[4:6], "t", embeddings[4:6])
    known, found = ledger.lookup_embeddings(keys, "t")
    check_that(
        known.tolist() == [True] * 6 + [False] * 6
        and (found[:6] == embeddings[:6]).all(),
        "embeddings do not come back to the last bit",
    )
    check_that(
        not ledger.lookup_embeddings(keys, "u")[0].any(),
        "it knows embeddings of another teacher",
    )


def _check_counts(ledger, keys, labels):
    check_that(
        ledger.summary() == {**NO_COUNTS, "teachers": {}},
        "the summary of an empty ledger does not count nothing",
    )
    ledger.record(keys[:4], "t", CLASSES, labels[:4], cost=2.0, seconds=0.5)
    ledger.record(keys[2:6], "t", CLASSES, labels[2:6], cost=np.float32(1))
    ledger.record(keys[:1], "u", CLASSES[:2], [[0.5, 0.5]])
    counts = ledger.summary()
    wanted = {"n_labels": 7, "n_paid": 9, "n_calls": 3, "cost": 3.0, "seconds": 0.5}
    for name, count in wanted.items():
        check_that(
            counts[name] == count, f"{name} is {counts[name]!r} instead of {count!r}"
        )
    check_that(len(ledger) == 7, "its length is not the number of labels")
    check_that(
        all(
            counts[name] == sum(t[name] for t in counts["teachers"].values())
            for name in NO_COUNTS
        ),
        "the counts of the teachers do not add up to the totals",
    )


def _check_claims(ledger, keys, labels):
    with _OtherThread(lambda: ledger.claim(keys[:4], "t", CLASSES)) as first:
        check_that(first.granted.all(), "rows that are free are not granted")
        second = ledger.claim(keys[:6], "t", CLASSES)
        check_that(
            second.granted.tolist() == [False] * 4 + [True] * 2,
            "rows that another buyer is paying for are granted",
        )
        check_that(
            not second.refused.any(),
            "rows that another buyer is paying for are refused",
        )
        check_that(
            ledger.claim(keys[:4], "t", CLASSES[:2]).granted.all(),
            "a claim on rows keeps a buyer of other classes away",
        )
        ledger.record(keys[:2], "t", CLASSES, labels[:2], claim=first)
        ledger.release(first, fault="TeacherCallError", cost=0.25)
        ledger.release(first, fault="TeacherCallError", cost=0.25)
        counts = ledger.summary()
        check_that(
            (counts["n_failed"], counts["cost"]) == (2, 0.25),
            "a fault is not counted once, for the rows without an answer",
        )
        again = ledger.claim(keys[:4], "t", CLASSES)
        check_that(
            again.granted.tolist() == [False] * 2 + [True] * 2,
            "released rows are not free again, or recorded ones are",
        )
        check_that(
            ledger.sending(again, keys[2:4]).all(), "a claim does not hold its own rows"
        )


def _check_budget(make_ledger, keys, labels):
    ledger = make_ledger(max_rows=5)
    claim = ledger.claim(keys, "t", CLASSES)
    check_that(claim.granted.sum() == 5, "max_rows is not what is granted")
    ledger.record(keys[:5], "t", CLASSES, labels[:5], claim=claim)
    check_that(
        ledger.claim(keys, "t", CLASSES).refused[5:].all(),
        "rows are not refused after max_rows is spent",
    )
    ledger = make_ledger(max_cost=1.0)
    n_paid = 0
    while True:
        claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=0.3)
        rows = np.flatnonzero(claim.granted)
        check_that(
            not (claim.granted & claim.refused).any(), "granted rows are refused"
        )
        if not len(rows):
            break
        # Each costs a third of what it could have cost.
        n_paid += len(rows)
        cost = 0.1 * len(rows)
        ledger.record(keys[rows], "t", CLASSES, labels[rows], cost=cost, claim=claim)
    # 0.8 is spent after 8 rows: less than another 0.3 is left.
    check_that(n_paid == 8, f"max_cost pays for {n_paid} rows instead of 8")
    check_that(claim.refused.sum() == 4, "rows are not refused after max_cost is spent")


def _check_threads(ledger, keys, labels):
    barrier = threading.Barrier(4)

    def buy():
        barrier.wait()
        for row in range(12):
            one = slice(row, row + 1)
            claim = ledger.claim(keys[one], "t", CLASSES)
            if claim.granted.any():
                ledger.record(keys[one], "t", CLASSES, labels[one], claim=claim)

    threads = [threading.Thread(target=buy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_that(
        ledger.summary()["n_paid"] == len(ledger) == 8,
        "threads pay for a row twice, lose one or exceed max_rows",
    )
    known, found = ledger.lookup(keys, "t", CLASSES)
    check_that((found[known] == labels[known]).all(), "threads mix up labels")


class _OtherThread:
    """A thread that has made a claim and runs until the block ends."""

    def __init__(self, make_claim):
        self._make_claim = make_claim
        self._made, self._end = threading.Event(), threading.Event()
        self._claim = None
        # A broken ledger must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self._claim = self._make_claim()
        finally:
            self._made.set()
        self._end.wait()

    def __enter__(self):
        self._thread.start()
        self._made.wait()
        return self._claim

    def __exit__(self, *error):
        self._end.set()
        self._thread.join()
