"""Whether a process has exited can be told later."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

from skadistill.ledger._process import has_exited, process_name

DATA = Path(__file__).parents[1] / "data"
CLASSES = ["a", "b", "c"]
FORK = multiprocessing.get_context("fork")


def test_has_exited():
    """A process that ended, a zombie and a reused number have exited."""
    me = process_name()
    machine, pid, start = me.rsplit(" ", 2)
    assert has_exited(me) is False
    assert has_exited(f"{machine} {pid} {start}9") is True
    assert has_exited(f"elsewhere {pid} {start}") is None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    name = f"{machine} {child.pid} {stat[19]}"
    assert has_exited(name) is False
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert has_exited(name) is True
    child.wait()
    child.stdin.close()
    assert has_exited(name) is True
