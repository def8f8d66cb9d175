"""The processes that bridges live in, on disk: `bridge-hosts/<place>-<number>/` with `wanted.json`, `held.json`, `log` and `lock`.

A process holds the lock of its folder from before its first instruction until it is gone, so whether it lives is asked of the lock.
What is on disk is enough for any control process to go on with.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.core.files import told_plainly, write_atomic
from penstock.platforms.remote.files import JsonFiles

WANTED, HELD, LOCK = "wanted.json", "held.json", "lock"
_CHILD_LOCK = 9  # the descriptor by which the process holds its lock


@dataclass(frozen=True, slots=True)
class Host:
    """`wanted`: spec by id; `told`: what the process says of each id; `memory_bytes`: of the process."""

    folder: Path
    alive: bool
    wanted: Mapping[str, Mapping[str, Any]]
    told: Mapping[str, Mapping[str, Any]]
    pid: int
    memory_bytes: int

    def want(self, replicas: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes the list, and starts the process unless it runs."""
        with told_plainly(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / WANTED, json.dumps(dict(replicas)).encode(), sync=False)
            if replicas:
                _start(self.folder)

    def clear(self) -> None:
        """Forgets what was wanted of a process that is gone."""
        for name in (WANTED, HELD):
            (self.folder / name).unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        if self.alive and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def hosts_in(folder: Path, files: JsonFiles, place: str = "*") -> list[Host]:
    """By number."""
    found = folder.glob(f"{place}-*") if folder.is_dir() else ()
    return [_read(one, files) for one in sorted(found, key=lambda one: (one.name.rpartition("-")[0], number_of(one)))]


def number_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def lives(folder: Path) -> bool:
    with _lock(folder, fcntl.LOCK_SH) as free:
        return not free


def _read(folder: Path, files: JsonFiles) -> Host:
    alive = lives(folder)  # asked first: what it told last is then on disk
    held = files.read(folder / HELD)
    return Host(folder, alive, files.read(folder / WANTED), held.get("replicas", {}), held.get("pid", 0), held.get("memory_bytes", 0))


def _start(folder: Path) -> None:
    """Unless it runs. In a session of its own, so that it outlives the control process."""
    with _lock(folder) as free:
        if not free:
            return
        arguments = [sys.executable, "-P", "-m", "penstock.serving.several", str(folder)]
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, free, _CHILD_LOCK),
        ]
        (folder / HELD).unlink(missing_ok=True)  # what an earlier process told
        _children.add(os.posix_spawn(sys.executable, arguments, os.environ, file_actions=files, setsid=True))


@contextlib.contextmanager
def _lock(folder: Path, kind: int = fcntl.LOCK_EX) -> Iterator[int]:
    """A descriptor with the lock on, above the child's own; 0 where the process has it."""
    for pid in list(_children):
        _reap(pid)
    with contextlib.ExitStack() as stack:
        try:
            opened = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            yield 0
            return
        handle = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _CHILD_LOCK + 1)
        os.close(opened)
        stack.callback(os.close, handle)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield 0
            return
        yield handle


_children: set[int] = set()


def _reap(pid: int) -> None:
    """Collects the exit of a child of this very process."""
    try:
        if os.waitpid(pid, os.WNOHANG)[0]:
            _children.discard(pid)
    except ChildProcessError:
        _children.discard(pid)
