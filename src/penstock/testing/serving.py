"""Replica and gateway as real processes on free ports."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil

from penstock.platforms.contract import ReplicaState
from penstock.serving.record_files import read_records
from penstock.serving.snapshot import KeyEntry, Limits, ModelRoute, ReplicaRoute, Snapshot, VersionRoute, write_snapshot
from penstock.testing.patience import PATIENT_S
from penstock.testing.plain import PLAIN

ECHO = "penstock.testing.echo:EchoEngine"
SECRET = "psk-test-0123456789abcdef"
KEY = KeyEntry("key-test", "test", hashlib.sha256(SECRET.encode()).hexdigest())


@dataclass(slots=True)
class RunningReplica:
    process: subprocess.Popen[bytes]
    route: ReplicaRoute
    log: Path

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 15.0) -> int:
        """Sends the signal and waits; returns the exit code."""
        return _stop(self.process, number, timeout_s)


@dataclass(slots=True)
class RunningGateway:
    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 15.0) -> int:
        return _stop(self.process, number, timeout_s)

    def ask(self, headers: Mapping[str, str] | None = None, **fields: object) -> httpx.Response:
        """A completion of the words `a b`; `fields` go into the body, `headers` over those with the test key."""
        body = {"model": "echo", "prompt": "a b", "max_tokens": 2, **fields}
        sent = {"authorization": f"Bearer {SECRET}", **(headers or {})}
        return httpx.post(f"{self.url}/v1/completions", json=body, headers=sent, timeout=PATIENT_S, **PLAIN)

    def stream(self, **fields: object) -> tuple[bytes, bool]:
        """The events as far as they came, and whether the answer was complete."""
        body, events = {"model": "echo", "prompt": "a b", "stream": True, **fields}, b""
        headers = {"authorization": f"Bearer {SECRET}"}
        with httpx.stream("POST", f"{self.url}/v1/completions", json=body, headers=headers, timeout=PATIENT_S, **PLAIN) as answer:
            try:
                for part in answer.iter_raw():
                    events += part
            except httpx.RemoteProtocolError:
                return events, False
        return events, True

    def metric(self, name: str) -> float:
        """The sum of all series whose line begins with `name`."""
        text = httpx.get(f"{self.url}/metrics", timeout=PATIENT_S, **PLAIN).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def records(self, count: int) -> list[dict[str, Any]]:
        """All records, once there are `count`."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            found[:] = read_records(self.folder / "records")
            return len(found) >= count

        wait_for(enough, PATIENT_S, f"{count} records")
        return found

    def apply(self, snapshot: Snapshot, timeout_s: float = PATIENT_S) -> None:
        """Writes the snapshot and waits until it is in force."""
        write_snapshot(self.folder / "snapshot.json", snapshot)
        wait_for(lambda: self.in_force() == snapshot.version, timeout_s, f"snapshot {snapshot.version} in force")

    def in_force(self) -> int:
        return int(json.loads((self.folder / "state.json").read_bytes())["snapshot_version"])


@dataclass(slots=True)
class Stage:
    """Processes of one test; `close` ends them all. Use as a context manager."""

    folder: Path
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait(10)

    def replica(self, ident: str, model: str = "echo", version: str = "1", **spec: Any) -> RunningReplica:
        """Starts a replica and waits until it is ready. `spec` adds to ReplicaSpec; without `engine_class` it is the echo engine."""
        process, ready, log = self.start_replica(ident, model, version, **spec)
        wait_for(lambda: ready.exists() or process.poll() is not None, PATIENT_S, f"replica {ident}")
        facts = json.loads(ready.read_bytes())
        if "port" not in facts:
            raise RuntimeError(f"replica {ident} did not start: {facts}")
        return RunningReplica(process, ReplicaRoute(ident, facts["host"], facts["port"]), log)

    def start_replica(self, ident: str, model: str, version: str, **spec: Any) -> tuple[subprocess.Popen[bytes], Path, Path]:
        """Starts without waiting: the process, its ready file, its log."""
        folder = self.folder / "replicas"
        folder.mkdir(parents=True, exist_ok=True)
        ready, file = folder / f"{ident}.ready.json", folder / f"{ident}.json"
        base = {"id": ident, "bundle": str(folder), "digest": "sha256:" + "0" * 64, "model": model, "version": version}
        file.write_text(json.dumps({**base, "ready_file": str(ready), "engine_class": ECHO, **spec}))
        log = folder / f"{ident}.log"
        return self.start("penstock.serving.replica", ["--spec", str(file)], log), ready, log

    def gateway(self, snapshot: Snapshot | None, port: int = 0, workers: int = 1, options: Sequence[str] = ()) -> RunningGateway:
        folder = self.folder / "gateway"
        folder.mkdir(parents=True, exist_ok=True)
        if snapshot is not None:
            write_snapshot(folder / "snapshot.json", snapshot)
        state, log = folder / "state.json", self.folder / "gateway.log"
        state.unlink(missing_ok=True)
        arguments = ["--home", str(folder), "--port", str(port), "--workers", str(workers), *options]
        process = self.start("penstock.serving.gateway", arguments, log)
        wait_for(lambda: state.exists() or process.poll() is not None, PATIENT_S, "the gateway")
        if process.poll() is not None:
            raise RuntimeError(f"the gateway did not start: {log.read_text()}")
        return RunningGateway(process, folder, json.loads(state.read_bytes())["port"], log)

    def start(self, module: str, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Starts `python -m module arguments`, which ends with the stage."""
        with log.open("ab") as file:
            process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=file, stderr=file, env=dict(os.environ))
        self._running.append(process)
        return process


class Routed(Protocol):
    @property
    def route(self) -> ReplicaRoute: ...


def snapshot_of(number: int, *versions: tuple[str, float, Sequence[Routed]], model: str = "echo", limits: Limits | None = None) -> Snapshot:
    """A snapshot of one model: (version, weight, replicas) each."""
    routes = tuple(VersionRoute(name, "sha256:" + "0" * 64, weight, tuple(r.route for r in found)) for name, weight, found in versions)
    return Snapshot(number, (ModelRoute(model, "text-generation", routes),), (KEY,), limits or Limits())


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Polls every 10 ms. Raises TimeoutError naming `what`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.01)


def living_children(*words: str) -> list[psutil.Process]:
    """Of this process: those whose command line has all `words`. Those that ended and wait to be seen are not among them."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie, too
            command = " ".join(process.cmdline())
            found += [process] if all(word in command for word in words) else []
    return found


def _stop(process: subprocess.Popen[bytes], number: int, timeout_s: float) -> int:
    if process.poll() is None:
        process.send_signal(number)
    return process.wait(timeout_s)


def gateway_to(folder: Path, name: str, replicas: Sequence[ReplicaState]) -> tuple[Stage, RunningGateway]:
    """A gateway that routes model `name` to those replicas, an even share to each version. The caller enters the stage."""
    stage = Stage(folder)
    by_version: dict[str, list[ReplicaRoute]] = {}
    for replica in replicas:
        host, _, port = str(replica.address).rpartition(":")
        by_version.setdefault(replica.version, []).append(ReplicaRoute(replica.id, host, int(port)))
    adapters = tuple(sorted({one for replica in replicas for one in replica.adapters}))
    routes = tuple(VersionRoute(v, "sha256:" + "0" * 64, 1 / len(by_version), tuple(found), adapters) for v, found in by_version.items())
    return stage, stage.gateway(Snapshot(1, (ModelRoute(name, "text-generation", routes),), (KEY,)))
