"""Name a process so that others can tell, later, whether it still lives."""

import os
import platform
import socket
import sys
from functools import lru_cache
from pathlib import Path

__all__ = ["is_gone", "process_name"]


def process_name():
    """Name this process.

    Returns
    -------
    name : str
        Machine, process id and, where the system tells (Linux), the start time, so
        that a process id that is used again is another name.

    Examples
    --------
    >>> from skadistill.ledger._process import is_gone, process_name
    >>> is_gone(process_name())
    False
    """
    pid = os.getpid()
    return f"{_machine()} {pid} {_start_time(pid)}"


def is_gone(name):
    """Tell whether a process has ended.

    Parameters
    ----------
    name : str
        Made by `process_name`, perhaps on another machine.

    Returns
    -------
    gone : bool or None
        None where it cannot be known: the process belongs to another machine or
        container, or to a system that cannot be asked (Windows).
    """
    machine, pid, start = name.rsplit(" ", 2)
    if machine != _machine() or sys.platform == "win32":
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _start_time(int(pid)) != start


@lru_cache(maxsize=1)
def _machine():
    """Name what process ids are unique in: host, boot and container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot, container = platform.system(), ""
    return f"{socket.gethostname()} {boot} {container}"


def _start_time(pid):
    """Return a process's start time in clock ticks; "dead" for a zombie."""
    try:
        # After the command's name, which may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "unknown"
    return "dead" if fields[0] in "ZX" else fields[19]
