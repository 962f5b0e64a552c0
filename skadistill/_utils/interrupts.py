"""Defer Ctrl-C while an interrupt would lose paid labels."""

import functools
import signal
import threading
from contextlib import contextmanager

__all__ = ["explained_interrupts", "held_interrupts", "noted_interrupts"]


def explained_interrupts(explain):
    """Let an interrupt leave a function with a note, below the traceback.

    `explain` gets the arguments and returns what was kept and how to go on. Of nested
    functions the outer one is explained, which is what somebody called.
    """

    def decorate(function):
        @functools.wraps(function)
        def explained(*args, **kwargs):
            try:
                return function(*args, **kwargs)
            except KeyboardInterrupt as stop:
                stop.__notes__ = [explain(*args, **kwargs)]
                raise

        return explained

    return decorate


@contextmanager
def held_interrupts(at_first=lambda: None):
    """Hold the first Ctrl-C back until the block ends; a second one goes through."""
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
    """Let each Ctrl-C through, and remember that one came."""
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
