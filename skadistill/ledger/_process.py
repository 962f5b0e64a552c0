"""Name a process so that others can tell, later, whether it has exited."""

import os
import platform
import socket
import sys
from functools import lru_cache
from pathlib import Path

__all__ = ["has_exited", "process_name"]


def process_name():
    """Name this process.

    Returns
    -------
    name : str
        Machine, process id and, if the system tells it (Linux), the start time, so
        that a process id that is used again makes another name.

    Examples
    --------
    >>> from skadistill.ledger._process import has_exited, process_name
    >>> has_exited(process_name())
    False
    """
    pid = os.getpid()
    return f"{_machine()} {pid} {_start_time(pid)}"


def has_exited(name):
    """Tell whether a process has exited.

    Parameters
    ----------
    name : str
        Made by `process_name`, perhaps on another machine.

    Returns
    -------
    exited : bool or None
        None if it cannot be known: the process belongs to another machine or
        container, or to a system that does not tell (Windows).

    Raises
    ------
    ValueError
        If `name` was not made by `process_name`.
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
    """Name the scope in which process ids are unique: host, boot and container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot, container = platform.system(), ""
    return f"{socket.gethostname()} {boot} {container}"


def _start_time(pid):
    """Return a process's start time in clock ticks; "exited" for a zombie."""
    try:
        # After the command's name, which may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "unknown"
    return "exited" if fields[0] in "ZX" else fields[19]
