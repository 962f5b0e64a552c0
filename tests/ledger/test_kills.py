"""Kills, interrupts and crowds: nothing is lost, and nothing is charged unsent."""

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import threading
import time

import numpy as np
import pytest

from skadistill.ledger import LabelLedger, MemoryLedger, row_keys
from skadistill.ledger._file import LedgerFile

FORK = multiprocessing.get_context("fork")
CLASSES = ["a", "b"]
PER_CALL, HIGHEST, COST = 4, 0.04, 0.01


def keys_of(n_rows):
    return row_keys([f"row {i}" for i in range(n_rows)])


def append(path, rows):
    """Write row numbers to a file, which survives a kill of the writer."""
    with open(path, "a") as stream:
        stream.write("".join(f"{i}\n" for i in rows))


def numbers_in(path):
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def buy(path, n_rows, *, max_wait=0.002):
    """Pay for rows as a buyer does: claim 40, send 4, record 4."""
    ledger, keys = LabelLedger(path), keys_of(n_rows)
    rng = random.Random(os.getpid())
    for start in range(0, n_rows, 40):
        rows = np.arange(start, min(start + 40, n_rows))
        claim = ledger.claim(keys[rows], "m", CLASSES, max_cost_per_row=HIGHEST)
        rows = rows[claim.granted]
        for i in range(0, len(rows), PER_CALL):
            some = rows[i : i + PER_CALL]
            assert ledger.sending(claim, keys[some]).all()
            append(path.with_suffix(".sent"), some)
            time.sleep(rng.uniform(0, max_wait))
            labels = np.full((len(some), 2), 0.5)
            cost = COST * len(some)
            ledger.record(keys[some], "m", CLASSES, labels, cost=cost, claim=claim)
            append(path.with_suffix(".recorded"), some)


def kill_buyers(path, n_kills, n_rows):
    """Kill one buyer after another while it works; check the counts."""
    rng = random.Random(0)
    LabelLedger(path).close()
    for _ in range(n_kills):
        before = len(numbers_in(path.with_suffix(".sent")))
        child = FORK.Process(target=buy, args=(path, n_rows))
        child.start()
        while child.is_alive():
            if len(numbers_in(path.with_suffix(".sent"))) > before:
                break
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    sent = numbers_in(path.with_suffix(".sent"))
    recorded = numbers_in(path.with_suffix(".recorded"))
    ledger, keys = LabelLedger(path), keys_of(n_rows)
    # Whoever claims next ends the claim of the last one.
    ledger.release(ledger.claim(keys[-1:], "other", CLASSES))
    assert ledger.claims() == []
    assert ledger.lookup(keys[recorded], "m", CLASSES)[0].all()
    counts = ledger.summary()
    assert counts["n_paid"] >= len(recorded)
    # Between a mark and its call a kill may come; one call for each kill.
    n_counted = counts["n_paid"] + counts["n_lost"]
    assert len(sent) <= n_counted <= len(sent) + n_kills * PER_CALL
    assert counts["cost"] == pytest.approx(counts["n_paid"] * COST)
    assert counts["lost_cost"] == pytest.approx(counts["n_lost"] * COST)
    assert counts["max_lost_cost"] == pytest.approx(counts["n_lost"] * HIGHEST)
    ledger.check()
    return {
        "kills": n_kills,
        "sent": len(sent),
        "recorded": len(recorded),
        "counted": n_counted,
        "lost": counts["n_lost"],
        "cost": counts["cost"] + counts["lost_cost"],
    }


def test_kills(path):
    """No label is lost; what is charged is what was on the wire, and a call at most."""
    kill_buyers(path, 8, 2000)


@pytest.mark.slow
def test_two_hundred_kills(path):
    """The same, 200 times."""
    print(kill_buyers(path, 200, 20_000))


def run_together(path, n_processes, n_rows):
    children = [
        FORK.Process(target=buy, args=(path, n_rows), kwargs={"max_wait": 0.0})
        for _ in range(n_processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * n_processes


def test_twelve_processes_pay_for_each_row_once(path):
    """They want the same rows; together they make the file, too."""
    run_together(path, 12, 480)
    ledger = LabelLedger(path)
    assert ledger.n_paid == len(ledger) == 480
    assert len(numbers_in(path.with_suffix(".sent"))) == 480
    assert ledger.claims() == []
    ledger.check()


def press_ctrl_c(ledger, n_times, ctrl_c):
    """Interrupt a buyer at random moments; return how often it was interrupted."""
    rng = random.Random(0)
    keys = keys_of(40 * n_times)
    usual = signal.signal(signal.SIGALRM, lambda *_: ctrl_c())
    n_interrupts = 0

    def buy_forty(rows):
        claim = ledger.claim(keys[rows], "m", CLASSES)
        try:
            for i in range(0, 40, PER_CALL):
                some = rows[i : i + PER_CALL]
                ledger.sending(claim, keys[some])
                labels = np.full((len(some), 2), 0.5)
                ledger.record(keys[some], "m", CLASSES, labels, claim=claim)
                ledger.lookup(keys[rows], "m", CLASSES)
        finally:
            ledger.release(claim)

    try:
        for k in range(n_times):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0002, 0.01))
                buy_forty(np.arange(40 * k, 40 * k + 40))
                # Faster than the alarm: wait for it here.
                time.sleep(0.1)
            except KeyboardInterrupt:
                n_interrupts += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, usual)
    return n_interrupts


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize(
    "n_times", [60, pytest.param(2000, marks=pytest.mark.slow)], ids=str
)
def test_interrupts_leave_no_claim_that_is_not_freed(path, ctrl_c, kind, n_times):
    """The process lives on; whoever claims next frees what an interrupt has left."""
    ledger = LabelLedger(path) if kind == "file" else MemoryLedger()
    assert press_ctrl_c(ledger, n_times, ctrl_c) == n_times
    ledger.release(ledger.claim(keys_of(1), "other", CLASSES))
    assert ledger.claims() == []
    counts = ledger.summary()
    assert counts["n_labels"] == counts["n_paid"] == PER_CALL * counts["n_calls"]
    if kind == "file":
        ledger.check()


def press_at(n_events, ctrl_c):
    """Return a trace function that presses Ctrl-C while a transaction opens."""
    transaction = LedgerFile.transaction.__wrapped__.__code__
    left = [n_events]

    def trace(frame, event, arg):
        own = frame.f_code is transaction or (
            frame.f_code.co_name == "__enter__"
            and frame.f_code.co_filename == contextlib.__file__
        )
        if own and event in ("line", "return"):
            left[0] -= 1
            if left[0] == 0:
                ctrl_c()
        return trace

    return trace, left


@pytest.mark.skipif(sys.gettrace() is not None, reason="traced for coverage")
def test_an_interrupt_while_a_transaction_opens_holds_no_lock(path, ctrl_c):
    """At every event, though a notebook keeps the traceback and its frames."""
    ledger, keys = LabelLedger(path), keys_of(4)
    ledger.record(keys, "m", CLASSES, np.full((4, 2), 0.5))
    kept, n_events = [], 0
    while True:
        n_events += 1
        trace, left = press_at(n_events, ctrl_c)
        sys.settrace(trace)
        try:
            ledger.lookup(keys, "m", CLASSES)
        except KeyboardInterrupt as error:
            kept.append(error)
        finally:
            sys.settrace(None)
        if left[0] > 0:
            break
        # A daemon: if it waits forever, the interpreter can still exit.
        other = threading.Thread(
            target=ledger.lookup, args=(keys, "m", CLASSES), daemon=True
        )
        other.start()
        other.join(10)
        assert not other.is_alive(), n_events
        ledger.release(ledger.claim(keys, "other", CLASSES))
    assert len(kept) == n_events - 1 > 10
