"""Defer Ctrl-C while an interrupt would lose paid labels."""

import signal
import threading
from contextlib import contextmanager

__all__ = ["held_interrupts", "noted_interrupts"]


@contextmanager
def held_interrupts(at_first=lambda: None):
    """Hold the first Ctrl-C back until the block ends; a second one goes through.

    It is raised at the end of the block, unless another error leaves it. Only where
    Ctrl-C would raise `KeyboardInterrupt` here: in the main thread, and with Python's
    own handler.

    Parameters
    ----------
    at_first : callable, optional
        Called without arguments when the first one comes, between any two
        instructions of the block.

    Yields
    ------
    None

    Raises
    ------
    KeyboardInterrupt
        At the end, if one came; at once, if a second came.
    """
    usual = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread()
    if not here or usual is not signal.default_int_handler:
        yield
        return
    held = False

    def hold(signum, frame):
        nonlocal held
        if held:
            usual(signum, frame)
        held = True
        at_first()

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if held:
        raise KeyboardInterrupt


@contextmanager
def noted_interrupts():
    """Let each Ctrl-C through, and remember that one came.

    Code that says ``raise KeyboardInterrupt`` sends no signal; this tells the two
    apart. In other threads than the main one there is nothing to note: Python hands
    signals to the main thread only.

    Yields
    ------
    came : callable
        Returns whether a Ctrl-C came since the block began.
    """
    usual = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread()
    came = False
    if not here or not callable(usual):
        yield lambda: came
        return

    def note(signum, frame):
        nonlocal came
        came = True
        return usual(signum, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, usual)
