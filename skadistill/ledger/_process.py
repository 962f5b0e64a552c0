"""Name a process so that others can tell, later, whether it has exited."""

import os
import platform
import re
import socket
import sys
from functools import lru_cache
from pathlib import Path

__all__ = ["describe_process", "has_exited", "process_name"]

#: The process ids of a machine without containers are those of this namespace.
_WHOLE_MACHINE = "pid:[4026531836]"


def process_name():
    """Name this process."""
    pid = os.getpid()
    return f"{_machine()} {pid} {_start_time(pid)}"


def has_exited(name):
    """Tell whether a process has exited."""
    machine, pid, start = name.rsplit(" ", 2)
    if not re.fullmatch(r"\d+", pid):
        raise ValueError(f"{name!r} has no process id")
    if sys.platform == "win32":
        return None
    if machine != _machine():
        return _was_before_reboot(machine) or None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _start_time(int(pid)) != start


def describe_process(name):
    """Say in words which process a name belongs to."""
    host, _, rest = name.partition(" ")
    fields = rest.rsplit(" ", 2)
    if host == "job":
        return name
    if len(fields) < 3:
        return f"{name!r}"
    if name == process_name():
        return f"this process ({fields[1]})"
    return f"process {fields[1]} on {host.partition('/')[0]}"


@lru_cache(maxsize=1)
def _machine():
    """Name the scope in which process ids are unique: host, boot and container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot, container = platform.system(), ""
    return f"{_host()} {boot} {container}"


@lru_cache(maxsize=1)
def _host():
    """Name this machine; host names alone are often equal."""
    try:
        number = Path("/etc/machine-id").read_text().strip()[:12]
    except OSError:
        number = ""
    return f"{socket.gethostname()}/{number}"


def _was_before_reboot(machine):
    """Tell whether a machine is this one before it was booted again.

    Containers are started again without a boot, and may have each other's names.
    """
    now, then = _machine().split(" ", 2), machine.split(" ", 2)
    return (
        len(then) == 3
        and not now[0].endswith("/")
        and now[2] == _WHOLE_MACHINE
        and (now[0], now[2]) == (then[0], then[2])
        and now[1] != then[1]
    )


def _start_time(pid):
    """Return a process's start time in clock ticks; "exited" for a zombie."""
    try:
        # After the command's name, which may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "unknown"
    return "exited" if fields[0] in "ZX" else fields[19]
