"""One replica on disk and as a process: `replicas/<endpoint>/<id>/` with `spec.json`, `pid.json`, `ready.json` and `log`.

What is on disk is enough for any control process to adopt the replica.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.core.files import told_plainly, write_atomic
from penstock.platforms.contract import ReplicaState
from penstock.platforms.local.process import birth, kill_group
from penstock.serving.adapter_file import read_held

LOG_TAIL_BYTES = 4096
LOG_TAIL_LINES = 8


@dataclass(frozen=True, slots=True)
class Replica:
    """As read from its folder. `pid` 0: it was never started. `draining_since` in seconds since the epoch."""

    folder: Path
    spec: Mapping[str, Any]
    pid: int
    alive: bool
    started_at: float
    ready: Mapping[str, Any]
    draining_since: float | None
    failure: str | None

    @property
    def id(self) -> str:
        return self.folder.name

    def serves(self, version: str, bundle: str, settings: Mapping[str, Any]) -> bool:
        return (self.spec["version"], self.spec["digest"], self.spec["settings"]) == (version, bundle, dict(settings))

    def state(self) -> ReplicaState:
        address = f"{self.ready['host']}:{self.ready['port']}" if self.alive and "port" in self.ready else None
        if not self.alive:
            return ReplicaState(self.id, self.spec["version"], self.spec["digest"], "failed", None, self.why(), self.started_at)
        phase: Any = "draining" if self.draining_since is not None else "ready" if address else "starting"
        memory, cold = _memory_bytes(self.pid), self.cold_start_s() if address else None
        held = read_held(self.folder)
        errors = {name: why for name, (_, why) in held.errors.items()}
        known = (self.id, self.spec["version"], self.spec["digest"])
        return ReplicaState(*known, phase, address, None, self.started_at, memory, cold, held.loaded, errors)

    def cold_start_s(self) -> float | None:
        """From the start of the process until it said that it is ready."""
        with contextlib.suppress(FileNotFoundError):
            return max(0.0, (self.folder / "ready.json").stat().st_mtime - self.started_at)
        return None

    def why(self) -> str:
        """What it said before it ended, and where its log is."""
        log = self.folder / "log"
        if self.failure is not None:
            return self.failure
        told = self.ready.get("error")
        if told:
            return f"{told['message']} (log: {log})"
        with contextlib.suppress(FileNotFoundError), open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
            return "\n".join([f"the replica ended; its log {log} ends with:", *lines])
        return "the replica ended before it wrote a log"

    def drain(self, after_s: float) -> None:
        """Asks it to finish what it answers and leave; kills it when asked again `after_s` seconds later."""
        if not self.alive:
            self.forget()
        elif self.draining_since is None:
            write_atomic(self.folder / "draining.json", json.dumps(time.time()).encode(), sync=False)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
        elif not 0 <= time.time() - self.draining_since < after_s:
            self.kill()

    def kill(self) -> None:
        if self.alive:
            kill_group(self.pid)

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def read_replica(folder: Path) -> Replica | None:
    """None when its folder is half made or being removed."""
    try:
        spec = json.loads((folder / "spec.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    known = _json(folder / "pid.json") or _found_running(folder)
    ready, failure = _json(folder / "ready.json") or {}, _json(folder / "failure.json")
    _reap(known.get("pid", 0))
    alive = bool(known) and birth(known["pid"]) == known["born"]
    since = _json(folder / "draining.json")
    return Replica(folder, spec, known.get("pid", 0), alive, known.get("started_at", 0.0), ready, since, failure)


def read_replicas(endpoint: Path) -> list[Replica]:
    """Oldest first."""
    if not endpoint.is_dir():
        return []
    found = (read_replica(folder) for folder in sorted(endpoint.iterdir()) if folder.is_dir())
    return [replica for replica in found if replica is not None]


def start_replica(folder: Path, spec: Mapping[str, Any]) -> None:
    """Starts the process in a session of its own, so that it outlives the control process."""
    with told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "spec.json", json.dumps({**spec, "ready_file": str(folder / "ready.json")}).encode(), sync=False)
        arguments = [sys.executable, "-P", "-m", "penstock.serving.replica", "--spec", str(folder / "spec.json")]
        appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), appending, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        pid = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=files, setsid=True)
        _write_pid(folder, pid)


def record_failure(folder: Path, spec: Mapping[str, Any], message: str) -> None:
    """A replica that could not even be started."""
    write_atomic(folder / "failure.json", json.dumps(message).encode(), sync=False)
    write_atomic(folder / "spec.json", json.dumps(dict(spec)).encode(), sync=False)


def _write_pid(folder: Path, pid: int) -> dict[str, Any]:
    known = {"pid": pid, "born": birth(pid) or "", "started_at": time.time()}
    write_atomic(folder / "pid.json", json.dumps(known).encode(), sync=False)
    return known


def _found_running(folder: Path) -> dict[str, Any]:
    """Looks for the process of a replica whose starter was killed before it could write the number down."""
    if (folder / "failure.json").exists():
        return {}
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        if str(folder / "spec.json") in (process.info["cmdline"] or ()):
            return _write_pid(folder, process.pid)
    return {}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _reap(pid: int) -> None:
    """Collects the exit of a child of this very process, so that it is not mistaken for alive."""
    if pid:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _memory_bytes(pid: int) -> int | None:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return None
