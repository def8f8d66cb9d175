"""One process that serves one bundle: `python -m penstock.serving.replica --spec FILE`.

The spec is JSON (ReplicaSpec). When the engine is loaded and warm, `ready_file` says where the replica listens; when loading fails it
holds `{"error": …}` and the process exits with 1. SIGTERM: accept nothing new, finish what is in flight, exit 0. An engine that broke
for good, or could get no memory: the request is answered (503), then the process exits with 1, to be replaced.
Not covered: keys. A replica listens on loopback and trusts who reaches it; the gateway asks for keys.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson

from penstock.core.errors import BadInput, PenstockError
from penstock.core.files import write_atomic
from penstock.engines.contract import Engine
from penstock.engines.table import open_engine
from penstock.serving.adapters import LOAD, UNLOAD, AdapterAdmin, adapters, load_named
from penstock.serving.api import Api, Served
from penstock.serving.errors import error_body
from penstock.serving.exchange import TEXT, Exchange
from penstock.serving.following import Follower
from penstock.serving.identity import request_id
from penstock.serving.invocations import invoked
from penstock.serving.metrics import Labels, RequestMetrics
from penstock.serving.openapi import document_bytes
from penstock.serving.params import PARSERS
from penstock.serving.server import HttpServer
from penstock.serving.snapshot import Limits
from penstock.serving.warming import warm_up

log = logging.getLogger("penstock.replica")
CLOSE_S, BROKEN_DRAIN_S = 10.0, 2.0


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """`port` 0 takes a free one. `settings` go to the engine.

    `adapters` (name → folder) are loaded at start, those inside `adapter_root` on request; the list of adapters in folder `adapter_list`
    is followed while it serves (adapter_file.py).
    `engine_class` ("module:name", called with bundle and settings) is for bridges to other places and for tests.
    `invoked`: SageMaker's two routes are answered as well.
    """

    id: str
    bundle: str
    digest: str
    model: str
    version: str
    ready_file: str
    port: int = 0
    host: str = "127.0.0.1"
    settings: Mapping[str, Any] = field(default_factory=dict)
    drain_s: float = 30.0
    limits: Mapping[str, Any] = field(default_factory=dict)
    engine_class: str | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    adapter_root: str | None = None
    adapter_list: str | None = None
    invoked: bool = False


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Seconds until ready: of the interpreter and imports, of loading (verification of the bundle included), of the first requests."""

    start_seconds: float
    load_seconds: float
    warm_up_seconds: float


def read_spec(path: Path) -> ReplicaSpec:
    """Raises BadInput with the file and the reason."""
    try:
        return ReplicaSpec(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"the replica spec {path} cannot be read: {error}") from error


def open_spec_engine(spec: ReplicaSpec) -> Engine:
    """The engine that the bundle names."""
    if spec.engine_class is not None:
        module, _, name = spec.engine_class.partition(":")
        return cast(Engine, getattr(importlib.import_module(module), name)(Path(spec.bundle), dict(spec.settings)))
    return open_engine(Path(spec.bundle), settings=spec.settings, digest=spec.digest)


class Replica:
    """Routes exchanges of one process: health, metrics, /v1/models, adapters and, through Api, the rest.

    `broken` says what broke the engine, once it did; `stop` is set then, and by signals.
    """

    def __init__(self, spec: ReplicaSpec, engine: Engine, cold: ColdStart) -> None:
        self.spec, self.engine, self.cold = spec, engine, cold
        self.metrics = RequestMetrics("penstock_replica")
        self.api = Api(Served(engine, spec.model, spec.version, spec.id), self.metrics, self._broke)
        self.admin = AdapterAdmin(engine, spec.adapters, spec.adapter_root)
        self.server: HttpServer | None = None
        self.started = time.time()
        self.stop, self.broken = asyncio.Event(), ""
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, exchange: Exchange) -> None:
        exchange.state = request_id(exchange.headers)
        posted = exchange.path in PARSERS or exchange.path in (LOAD, UNLOAD)
        if exchange.method not in ((b"POST",) if posted else (b"GET", b"HEAD")):
            self._refuse(exchange, 405, "POST" if posted else "GET")
        elif exchange.path in PARSERS:
            self.api.accept(exchange)
        elif posted:
            task = asyncio.get_running_loop().create_task(self.admin.handle(exchange))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif exchange.path == "/healthz":
            health = self.health()
            exchange.reply(200 if health["status"] == "ok" else 503, orjson.dumps(health))
        elif exchange.path == "/metrics":
            exchange.reply(200, self._metrics(), kind=TEXT)
        elif exchange.path == "/v1/models":
            exchange.reply(200, orjson.dumps({"object": "list", "data": self._models()}))
        elif exchange.path == "/openapi.json":
            exchange.reply(200, document_bytes("replica"))
        else:
            exchange.reply(404, error_body(404, f"There is nothing at {exchange.path[:80]!r}", "unknown_route"))

    def health(self) -> dict[str, Any]:
        """Sizes in bytes, times in seconds; `status` is ok, draining or broken."""
        draining = self.server is not None and self.server.draining
        return {
            "status": "broken" if self.broken else "draining" if draining else "ok",
            "id": self.spec.id,
            "model": self.spec.model,
            "version": self.spec.version,
            "digest": self.spec.digest,
            "adapters": list(adapters(self.engine)),
            "in_flight": self.api.in_flight,
            "queue": self._queue(),
            "memory_bytes": memory_bytes(),
            "started": self.started,
            **asdict(self.cold),
        }

    def timed_out(self, exchange: Exchange) -> None:
        if exchange.on_gone is not None:
            exchange.on_gone()
        if exchange.started:
            exchange.cut()
        else:
            exchange.reply(504, error_body(504, "The request took longer than the limit", "timeout"))

    def refused(self, status: int) -> None:
        self.metrics.done("", "", "", status, 0.0)

    def _broke(self, reason: str) -> None:
        self.broken = self.broken or reason
        self.stop.set()

    def _models(self) -> list[dict[str, Any]]:
        model = {"id": self.spec.model, "object": "model", "created": int(self.started), "owned_by": "penstock"}
        return [model, *({**model, "id": f"{self.spec.model}:{name}", "parent": self.spec.model} for name in adapters(self.engine))]

    def _refuse(self, exchange: Exchange, status: int, allow: str) -> None:
        message = f"{exchange.path} answers {allow} only"
        exchange.reply(status, error_body(status, message, "method_not_allowed"), b"allow: %b\r\n" % allow.encode())

    def _queue(self) -> int:
        """Requests that the engine has and did not begin."""
        return int(self.engine.metrics().get("waiting", 0))

    def _metrics(self) -> bytes:
        self.metrics.gauge("in_flight", "Requests being answered.", {(): self.api.in_flight})
        self.metrics.gauge("queue", "Requests that wait in the engine.", {(): self._queue()})
        self.metrics.gauge("memory_bytes", "Resident memory of the process.", {(): memory_bytes()})
        phases: dict[Labels, float] = {(("phase", name.removesuffix("_seconds")),): value for name, value in asdict(self.cold).items()}
        self.metrics.gauge("cold_start_seconds", "How long it took to become ready, by phase.", phases)
        for name, value in self.engine.metrics().items():
            self.metrics.gauge(f"engine_{name}", "Given by the engine.", {(): value}, "untyped")
        return self.metrics.render()


def memory_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


async def open_warm(spec: ReplicaSpec, start_s: float | None = None) -> tuple[Engine, Follower | None, ColdStart]:
    """The engine with its adapters, after its first requests. Raises what makes it unfit. `start_s`: if younger than the process."""
    import psutil

    begun = time.monotonic()
    start = max(0.0, time.time() - psutil.Process().create_time()) if start_s is None else start_s
    engine = open_spec_engine(spec)
    await load_named(engine, spec.adapters)
    follower = Follower(engine, Path(spec.adapter_list)) if spec.adapter_list is not None else None
    if follower is not None:
        await follower.converge()
    loaded = time.monotonic()
    await warm_up(engine)
    return engine, follower, ColdStart(round(start, 3), round(loaded - begun, 3), round(time.monotonic() - loaded, 3))


@dataclass(slots=True)
class Listening:
    """A replica that answers. `ready`: what it says of itself to who started it."""

    replica: Replica
    server: HttpServer
    ready: Mapping[str, Any]
    following: asyncio.Task[None] | None

    async def end(self) -> None:
        """Accepts nothing new and finishes what is in flight, for as long as its spec says."""
        replica, spec = self.replica, self.replica.spec
        if self.following is not None:
            self.following.cancel()
        clean = await self.server.drain(BROKEN_DRAIN_S if replica.broken else spec.drain_s)
        try:
            await asyncio.wait_for(replica.engine.close(), CLOSE_S)
        except TimeoutError:
            log.warning("the engine did not close within %g s", CLOSE_S)
        log.info("replica %s %s", spec.id, "drained" if clean else "cut what still ran")


async def listen(spec: ReplicaSpec, start_s: float | None = None) -> Listening:
    """Loads and warms up, then listens. Raises what makes it unfit to serve. `start_s` as open_warm has it."""
    engine, follower, cold = await open_warm(spec, start_s)
    replica = Replica(spec, engine, cold)
    limits = Limits(**{"max_body_bytes": 64 << 20, "request_timeout_s": 600.0, **spec.limits})
    handle = invoked(replica.handle, replica.timed_out, engine.info.task) if spec.invoked else replica.handle
    server = replica.server = HttpServer(handle, on_timeout=replica.timed_out, on_refused=replica.refused, limits=limits)
    listener = socket.create_server((spec.host, spec.port), backlog=2048)
    port = listener.getsockname()[1]
    await server.adopt(listener)
    ready = {"id": spec.id, "pid": os.getpid(), "host": spec.host, "port": port, "started": replica.started, **asdict(cold)}
    following = server.loop.create_task(follower.follow()) if follower is not None else None
    log.info("replica %s serves %s version %s on %s:%d", spec.id, spec.model, spec.version, spec.host, port)
    return Listening(replica, server, ready, following)


async def serve(spec: ReplicaSpec) -> int:
    """Loads, announces, serves until SIGTERM or SIGINT, or until the engine breaks. Returns the exit code."""
    listening = await listen(spec)
    replica = listening.replica
    for number in (signal.SIGTERM, signal.SIGINT):
        listening.server.loop.add_signal_handler(number, replica.stop.set)
    write_atomic(Path(spec.ready_file), orjson.dumps({**listening.ready, "memory_bytes": memory_bytes()}))
    await replica.stop.wait()
    if replica.broken:
        log.error("the engine broke (%s); this replica ends, to be replaced", replica.broken)
    await listening.end()
    if replica.broken:
        logging.shutdown()
        os._exit(1)  # threads of a broken engine may never end
    return 0


def told_of(error: Exception) -> dict[str, Any]:
    """Why a replica cannot serve: `code`, `message` and, for errors of ours, the way out."""
    return (
        error.as_json() if isinstance(error, PenstockError) else {"code": "replica-failed", "message": f"{type(error).__name__}: {error}"}
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.serving.replica", description="Serves one bundle.")
    parser.add_argument("--spec", required=True, type=Path, help="JSON file with the fields of ReplicaSpec")
    path: Path = parser.parse_args(arguments).spec
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    spec: ReplicaSpec | None = None
    try:
        import uvloop

        spec = read_spec(path)
        return uvloop.run(serve(spec))
    except Exception as error:
        told = told_of(error)
        log.exception("the replica could not start" if spec is None or not Path(spec.ready_file).exists() else "the replica stopped")
        log.error("%s", told["message"])
        if spec is not None:
            write_atomic(Path(spec.ready_file), orjson.dumps({"id": spec.id, "pid": os.getpid(), "error": told}))
        return 1


if __name__ == "__main__":
    sys.exit(main())
