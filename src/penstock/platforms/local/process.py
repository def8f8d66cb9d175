"""Telling one process from a later one with the same number, and measuring or ending a whole tree of them."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from pathlib import Path


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def birth(pid: int) -> str | None:
    """What tells process `pid` from any other that had or will have its number; None when there is none, or only its corpse.

    On Linux the boot and the kernel's start tick, which no clock jump changes; elsewhere psutil's creation time.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return _birth_elsewhere(pid) if not os.path.isdir("/proc/self") else None
    except ProcessLookupError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # from field 3, the state; the start tick is field 22 (proc(5))
    return None if fields[0] in (b"Z", b"X") else f"{_boot()}:{int(fields[19])}"


def _birth_elsewhere(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def alive(pid: int, born: str) -> bool:
    return birth(pid) == born


def tree_memory_bytes(pid: int) -> int:
    """Resident memory of a process and all its descendants; 0 when it is gone. Shared pages count once per process."""
    import psutil

    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        total = process.memory_info().rss
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += child.memory_info().rss
    return total


def kill_tree(pid: int) -> None:
    """Kills a process and all that it started; one that is gone is fine."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def kill_group(group: int, number: int = signal.SIGKILL) -> None:
    """Signals a whole process group; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
