"""Ctrl-C is held back where it would cost, and nowhere else."""

import signal
import threading

import pytest

from skadistill._utils.interrupts import held_interrupts, noted_interrupts
from skadistill.exceptions import LedgerError


def test_the_first_one_comes_at_the_end_of_the_block(ctrl_c):
    """What stands after it in the block is done; whoever asked is told at once."""
    done = []

    def work():
        with held_interrupts(lambda: done.append("told")):
            ctrl_c()
            done.append("recorded")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["told", "recorded"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_of_the_block_goes_first(ctrl_c):
    """It may hold labels that could not be recorded."""

    def work():
        with held_interrupts():
            ctrl_c()
            raise LedgerError("no space")

    with pytest.raises(LedgerError):
        work()


def test_a_handler_of_ones_own_stays_in_charge(ctrl_c):
    """Only Python's own is replaced."""
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    with held_interrupts():
        ctrl_c()
        assert seen == [signal.SIGINT]


def test_other_threads_are_left_alone():
    """They cannot set handlers, and Ctrl-C does not come to them."""
    entered = []

    def enter():
        with held_interrupts():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [True]


def test_noted_interrupts_are_told_from_raised_ones(ctrl_c):
    """Ctrl-C goes through and is noted; a ``raise`` in the code is not noted."""
    with noted_interrupts() as came:
        with pytest.raises(KeyboardInterrupt):
            raise KeyboardInterrupt
        assert not came()
        with pytest.raises(KeyboardInterrupt):
            ctrl_c()
        assert came()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_other_threads_nothing_is_noted():
    """Python hands signals to the main thread only."""
    told = []

    def enter():
        with noted_interrupts() as came:
            told.append(came())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert told == [False]
