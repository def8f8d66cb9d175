"""One process that serves one bundle: `python -m penstock.serving.replica --spec FILE`.

The spec is JSON (ReplicaSpec). When the engine is loaded and warm, `ready_file` says where the replica listens; when loading fails it
holds `{"error": …}` and the process exits with 1. SIGTERM: accept nothing new, finish what is in flight, exit 0.
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
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson

from penstock.core.errors import BadInput, PenstockError
from penstock.core.files import write_atomic
from penstock.engines.contract import ClassifyRequest, EmbedRequest, Engine, GenerateRequest, Request
from penstock.engines.table import open_engine
from penstock.serving.api import Api, Served
from penstock.serving.errors import error_body
from penstock.serving.exchange import TEXT, Exchange
from penstock.serving.identity import request_id
from penstock.serving.metrics import RequestMetrics
from penstock.serving.params import PARSERS
from penstock.serving.server import HttpServer
from penstock.serving.snapshot import Limits

log = logging.getLogger("penstock.replica")
CLOSE_S = 10.0


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """`port` 0 takes a free one. `settings` go to the engine.

    `engine_class` ("module:Class", called with bundle and settings) is for tests.
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


async def warm_up(engine: Engine) -> None:
    """One small request, so that the first client does not pay for lazy initialisation."""
    requests: dict[str, Request] = {"text-classification": ClassifyRequest(["warm up"]), "embedding": EmbedRequest(["warm up"])}
    request = requests.get(engine.info.task, GenerateRequest(prompt="warm up", max_tokens=1, temperature=0.0))
    async with aclosing(cast(Any, engine.generate(request))) as chunks:
        async for _ in chunks:
            pass


class Replica:
    """Routes exchanges of one process: health, metrics, /v1/models and, through Api, the rest."""

    def __init__(self, spec: ReplicaSpec, engine: Engine) -> None:
        self.spec, self.engine = spec, engine
        self.metrics = RequestMetrics("penstock_replica")
        self.api = Api(Served(engine, spec.model, spec.version, spec.id), self.metrics)
        self.server: HttpServer | None = None
        self.started = time.time()

    def handle(self, exchange: Exchange) -> None:
        exchange.state = request_id(exchange.headers)
        if exchange.path in PARSERS:
            if exchange.method == b"POST":
                self.api.accept(exchange)
            else:
                self._refuse(exchange, 405, "POST")
        elif exchange.method not in (b"GET", b"HEAD"):
            self._refuse(exchange, 405, "GET")
        elif exchange.path == "/healthz":
            draining = self.server is not None and self.server.draining
            status = {
                "status": "draining" if draining else "ok",
                "id": self.spec.id,
                "model": self.spec.model,
                "version": self.spec.version,
            }
            exchange.reply(503 if draining else 200, orjson.dumps(status))
        elif exchange.path == "/metrics":
            exchange.reply(200, self._metrics(), kind=TEXT)
        elif exchange.path == "/v1/models":
            model = {"id": self.spec.model, "object": "model", "created": int(self.started), "owned_by": "penstock"}
            exchange.reply(200, orjson.dumps({"object": "list", "data": [model]}))
        else:
            exchange.reply(404, error_body(404, f"There is nothing at {exchange.path[:80]!r}", "unknown_route"))

    def timed_out(self, exchange: Exchange) -> None:
        if exchange.on_gone is not None:
            exchange.on_gone()
        if exchange.started:
            exchange.cut()
        else:
            exchange.reply(504, error_body(504, "The request took longer than the limit", "timeout"))

    def refused(self, status: int) -> None:
        self.metrics.done("", "", "", status, 0.0)

    def _refuse(self, exchange: Exchange, status: int, allow: str) -> None:
        message = f"{exchange.path} answers {allow} only"
        exchange.reply(status, error_body(status, message, "method_not_allowed"), b"allow: %b\r\n" % allow.encode())

    def _metrics(self) -> bytes:
        self.metrics.gauge("in_flight", "Requests being answered.", {(): self.api.in_flight})
        for name, value in self.engine.metrics().items():
            self.metrics.gauge(f"engine_{name}", "Given by the engine.", {(): value}, "untyped")
        return self.metrics.render()


async def serve(spec: ReplicaSpec) -> int:
    """Loads, announces, serves until SIGTERM or SIGINT. Returns the exit code."""
    begun = time.monotonic()
    engine = open_spec_engine(spec)
    await warm_up(engine)
    replica = Replica(spec, engine)
    limits = Limits(**{"max_body_bytes": 64 << 20, "request_timeout_s": 600.0, **spec.limits})
    server = replica.server = HttpServer(replica.handle, on_timeout=replica.timed_out, on_refused=replica.refused, limits=limits)
    listener = socket.create_server((spec.host, spec.port), backlog=2048)
    port = listener.getsockname()[1]
    await server.adopt(listener)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        server.loop.add_signal_handler(number, stop.set)
    ready = {"id": spec.id, "pid": os.getpid(), "host": spec.host, "port": port, "started": replica.started}
    write_atomic(Path(spec.ready_file), orjson.dumps({**ready, "load_seconds": time.monotonic() - begun}))
    log.info("replica %s serves %s version %s on %s:%d", spec.id, spec.model, spec.version, spec.host, port)
    await stop.wait()
    clean = await server.drain(spec.drain_s)
    try:
        await asyncio.wait_for(engine.close(), CLOSE_S)
    except TimeoutError:
        log.warning("the engine did not close within %g s", CLOSE_S)
    log.info("replica %s %s", spec.id, "drained" if clean else f"cut what still ran after {spec.drain_s:g} s")
    return 0


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
        told = (
            error.as_json()
            if isinstance(error, PenstockError)
            else {"code": "replica-failed", "message": f"{type(error).__name__}: {error}"}
        )
        log.exception("the replica could not start" if spec is None or not Path(spec.ready_file).exists() else "the replica stopped")
        log.error("%s", told["message"])
        if spec is not None:
            write_atomic(Path(spec.ready_file), orjson.dumps({"id": spec.id, "pid": os.getpid(), "error": told}))
        return 1


if __name__ == "__main__":
    sys.exit(main())
