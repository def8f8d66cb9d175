"""A deterministic engine without weights, and replica and gateway as real processes on free ports."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.core.errors import BadInput
from penstock.engines.contract import (
    Chunk,
    Classified,
    ClassifyRequest,
    Embedded,
    EmbedRequest,
    EngineInfo,
    GenerateRequest,
    Request,
    Text,
)
from penstock.serving.snapshot import KeyEntry, Limits, ModelRoute, ReplicaRoute, Snapshot, VersionRoute, write_snapshot

ECHO = "penstock.testing.serving:EchoEngine"
SECRET = "psk-test-0123456789abcdef"
KEY = KeyEntry("key-test", "test", hashlib.sha256(SECRET.encode()).hexdigest())
LABELS = ("billing", "cards", "transfers")


class EchoEngine:
    """Says the prompt's words back, one a step, round and round. Same request, same answer.

    Settings: `task`, `step_s` (pause per token or per request), `fail` ("load" raises when made), `steps_file` (one byte a step).
    A text that contains `\\x00` is refused (BadInput); one that contains `boom` makes it raise.
    """

    def __init__(self, bundle: Path, settings: Mapping[str, Any]) -> None:
        if settings.get("fail") == "load":
            raise BadInput(f"the bundle {bundle} was told to fail")
        self._step_s = float(settings.get("step_s", 0.0))
        self._steps_file = settings.get("steps_file")
        self._requests = 0
        self.info = EngineInfo("echo", str(settings.get("task", "text-generation")), None, "none", 4096, LABELS, dict(settings))

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        self._requests += 1
        if isinstance(request, ClassifyRequest):
            await self._pause(request.texts)
            yield Classified([_scores(text)[: request.top_k] for text in request.texts], sum(_count(t) for t in request.texts))
        elif isinstance(request, EmbedRequest):
            await self._pause(request.texts)
            yield Embedded([[1.0, 0.0, 0.0] for _ in request.texts], sum(_count(t) for t in request.texts))
        elif isinstance(request, GenerateRequest):
            async for chunk in self._words(request):
                yield chunk

    async def _words(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        prompt = request.prompt if request.prompt is not None else request.messages[-1].content
        self._check([prompt])
        words = prompt.split() or ["…"]
        said = ""
        for number in range(request.max_tokens):
            await self._pause(())
            word = words[number % len(words)] + " "
            said += word
            stopped = any(stop in said for stop in request.stop)
            last = stopped or number + 1 == request.max_tokens
            reason = ("stop" if stopped else "length") if last else None
            yield Text("" if stopped else word, reason, _count(prompt), number + 1)
            if last:
                return

    async def _pause(self, texts: Sequence[str]) -> None:
        self._check(texts)
        await asyncio.sleep(self._step_s)
        if self._steps_file is not None:
            with open(self._steps_file, "ab") as file:
                file.write(b".")

    def _check(self, texts: Sequence[str]) -> None:
        if any("\x00" in text for text in texts):
            raise BadInput("the text holds a NUL character")
        if any("boom" in text for text in texts):
            raise RuntimeError(f"the engine broke on {texts!r}")

    def metrics(self) -> Mapping[str, float]:
        return {"requests": float(self._requests)}

    async def close(self) -> None: ...


def _scores(text: str) -> list[tuple[str, float]]:
    first = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=2).digest()[0] % len(LABELS)
    order = (*LABELS[first:], *LABELS[:first])
    return list(zip(order, (0.7, 0.2, 0.1), strict=True))


def _count(text: str) -> int:
    return len(text.split())


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

    def apply(self, snapshot: Snapshot, timeout_s: float = 10.0) -> None:
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
        wait_for(lambda: ready.exists() or process.poll() is not None, 60, f"replica {ident}")
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
        return self._start("penstock.serving.replica", ["--spec", str(file)], log), ready, log

    def gateway(self, snapshot: Snapshot | None, port: int = 0, workers: int = 1) -> RunningGateway:
        folder = self.folder / "gateway"
        folder.mkdir(parents=True, exist_ok=True)
        if snapshot is not None:
            write_snapshot(folder / "snapshot.json", snapshot)
        state, log = folder / "state.json", self.folder / "gateway.log"
        state.unlink(missing_ok=True)
        process = self._start("penstock.serving.gateway", ["--home", str(folder), "--port", str(port), "--workers", str(workers)], log)
        wait_for(lambda: state.exists() or process.poll() is not None, 30, "the gateway")
        if process.poll() is not None:
            raise RuntimeError(f"the gateway did not start: {log.read_text()}")
        return RunningGateway(process, folder, json.loads(state.read_bytes())["port"], log)

    def _start(self, module: str, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=file, stderr=file, env=dict(os.environ))
        self._running.append(process)
        return process


def snapshot_of(
    number: int, *versions: tuple[str, float, Sequence[RunningReplica]], model: str = "echo", limits: Limits | None = None
) -> Snapshot:
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


def _stop(process: subprocess.Popen[bytes], number: int, timeout_s: float) -> int:
    if process.poll() is None:
        process.send_signal(number)
    return process.wait(timeout_s)
