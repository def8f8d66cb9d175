"""What the gateway answers itself: models, health, metrics, feedback, its own description."""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from penstock.serving.asking import may
from penstock.serving.caller import Caller, posted
from penstock.serving.errors import RequestRefused, nearest
from penstock.serving.exchange import TEXT, Exchange
from penstock.serving.feedback import answer_of, parse_feedback
from penstock.serving.gateway_metrics import render
from penstock.serving.params import parse_object
from penstock.serving.signals_file import FILE, SignalsFile
from penstock.serving.snapshot import KeyEntry
from penstock.serving.workers import read_counts

if TYPE_CHECKING:
    from penstock.serving.feedback import FeedbackWriter
    from penstock.serving.machine import Machine
    from penstock.serving.metrics import RequestMetrics
    from penstock.serving.server import HttpServer
    from penstock.serving.table import Table

_OPEN = ("/healthz", "/metrics", "/openapi.json")  # no key is asked for over loopback


class Serving(Protocol):
    """What is asked of the gateway here; handling.Gateway is one."""

    folder: Path
    worker: int | None
    started: float
    table: Table
    server: HttpServer | None
    metrics: RequestMetrics
    feedback: FeedbackWriter

    def sums(self) -> dict[str, float]: ...

    def later(self, exchange: Exchange, ident: str, work: Any) -> None: ...


class OwnRoutes:
    """Of one gateway."""

    def __init__(self, gateway: Serving) -> None:
        self.gateway = gateway
        self.machine: Machine | None = None
        self.signals = SignalsFile(gateway.folder / FILE)

    def answer(self, exchange: Exchange, ident: str) -> None:
        """Raises RequestRefused."""
        path, lines = exchange.path, b"x-request-id: %b\r\n" % ident.encode()
        listing = path == "/v1/models" or path.startswith("/v1/models/")
        if not listing and path not in _OPEN and path != "/v1/feedback":
            raise RequestRefused(404, f"There is nothing at {path[:80]!r}", "unknown_route")
        key = None
        if path not in _OPEN or not _loopback(exchange.peer):
            caller = exchange.state = Caller(exchange, self.gateway.table.keys)
            key = caller.key
        if path == "/v1/feedback":
            posted(exchange)
            self.gateway.later(exchange, ident, self._feedback(exchange, parse_object(exchange.body), key, lines))
            return
        if exchange.method not in (b"GET", b"HEAD"):
            raise RequestRefused(405, f"{path} answers GET only", "method_not_allowed", headers=b"allow: GET\r\n")
        if path == "/healthz":
            self._health(exchange, lines)
        elif path == "/metrics":
            exchange.reply(200, self._metrics(), lines, TEXT)
        elif path == "/openapi.json":
            from penstock.serving.openapi import document_bytes

            exchange.reply(200, document_bytes("gateway"), lines)
        else:
            self._models(exchange, key, lines)

    def _health(self, exchange: Exchange, lines: bytes) -> None:
        gateway = self.gateway
        draining = gateway.server is not None and gateway.server.draining
        health = {"status": "draining" if draining else "ok", "snapshot_version": gateway.table.snapshot.version}
        exchange.reply(503 if draining else 200, orjson.dumps(health), lines)

    def _models(self, exchange: Exchange, key: KeyEntry | None, lines: bytes) -> None:
        """Those that the key may use."""
        known = {name for name, (lane, _) in self.gateway.table.names.items() if key is None or may(key, lane)}
        names = [name for name in self.gateway.table.names if name in known]
        if exchange.path == "/v1/models":
            exchange.reply(200, orjson.dumps({"object": "list", "data": [self._model(name) for name in names]}), lines)
            return
        name = exchange.path.removeprefix("/v1/models/")
        if name not in known:
            raise RequestRefused(404, f"There is no model {name[:80]!r} here{nearest(name, names)}", "model_not_found", "model")
        exchange.reply(200, orjson.dumps(self._model(name)), lines)

    def _model(self, name: str) -> dict[str, object]:
        lane, adapter = self.gateway.table.names[name]
        versions = [v for v in lane.model.versions.values() if adapter is None or adapter in v.adapters]
        live = [{"version": v.name, "digest": v.digest, "weight": v.weight} for v in versions]
        base: dict[str, object] = {"id": name, "object": "model", "created": int(self.gateway.started), "owned_by": "penstock"}
        if adapter is not None:
            base |= {"parent": lane.model.name, "adapter": adapter}
        return {**base, "task": lane.model.route.task, "versions": live}

    async def _feedback(self, exchange: Exchange, value: dict[str, Any], key: KeyEntry | None, lines: bytes) -> None:
        said = parse_feedback(value, key.id if key is not None else None, time.time())
        await self.gateway.feedback.add(said)
        exchange.reply(200, answer_of(said), lines)

    def _metrics(self) -> bytes:
        gateway = self.gateway
        others = [] if gateway.worker is None else [c for n, c in read_counts(gateway.folder).items() if n != gateway.worker]
        return render(gateway.metrics, gateway.sums(), gateway.table, others, self.machine) + self.signals.render()


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
