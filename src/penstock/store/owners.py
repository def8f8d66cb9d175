"""Who holds a lease: `host:pid:start`, and whether that process still lives.

`host` is the host's name and its process-number space, so two containers on one host are never taken for each other.
`start` is the process's start in clock ticks since boot: a reused pid is another owner.
"""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path


def this_owner(worker: str = "") -> str:
    """The calling process; `worker` tells threads apart that must not share a lease."""
    pid = os.getpid()
    mine = f"{host()}:{pid}:{_start(pid) or 0}"
    return f"{mine}:{worker}" if worker else mine


@functools.cache
def host() -> str:
    try:
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        space = "0"
    return f"{socket.gethostname().replace(':', '-')}/{space}"


@functools.cache
def boot() -> str:
    """Names this boot of this host; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def alive(owner: str) -> bool | None:
    """False: that process is gone, for certain. None: it is on another host, or the name does not tell."""
    parts = owner.split(":")
    if len(parts) < 3 or parts[0] != host() or not parts[1].isdigit() or not parts[2].isdigit():
        return None
    pid, start = int(parts[1]), int(parts[2])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True if not start else _start(pid) == start
    found = _start(pid)
    return True if not start or found is None else found == start


def _start(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc(5)); None for a zombie's absence or a system without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return -1 if fields[0] in ("Z", "X") else int(fields[19])
