"""Processes that outlive whoever starts them: the background process and the gateway."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil


def start_detached(arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> int:
    """Starts `python arguments…` in a session of its own, its output appended to `log`; returns its pid."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    env = {**os.environ, **(environment or {})}
    return os.posix_spawn(sys.executable, [sys.executable, *arguments], env, file_actions=files, setsid=True)


def lives(pid: int) -> bool:
    """Whether the process runs; a dead child of ours is taken off the process table on the way."""
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_process(pid: int, wait_s: float) -> bool:
    """SIGTERM, then SIGKILL after `wait_s`; False when there was no such process."""
    try:
        process = psutil.Process(pid)
        process.terminate()
        try:
            process.wait(wait_s)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(wait_s)
    except psutil.NoSuchProcess:
        return False
    return True
