"""What the gateway does with one request: check the key, find the model, relay or answer, count and record."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from pathlib import Path

import orjson

from penstock.serving.errors import RequestRefused, nearest
from penstock.serving.exchange import TEXT, Exchange
from penstock.serving.gateway_metrics import render
from penstock.serving.identity import request_id
from penstock.serving.metrics import RequestMetrics
from penstock.serving.params import parse_object
from penstock.serving.records import Record, RecordWriter
from penstock.serving.relay import Relay, Ticket
from penstock.serving.server import HttpServer
from penstock.serving.table import Table
from penstock.serving.workers import read_counts

STICKY_BYTES = 256
_GENERATIVE = ("/v1/completions", "/v1/chat/completions")
_RELAYED = frozenset(("/v1/classify", "/v1/embeddings", *_GENERATIVE))
_JSON_KINDS = (b"application/json", b"application/x-www-form-urlencoded")  # the second is what curl says when nobody said anything


class Gateway:
    """Checks, routes, relays and records. One per process."""

    def __init__(self, folder: Path, worker: int | None = None) -> None:
        self.folder, self.worker = folder, worker
        self.loop = asyncio.get_running_loop()
        self.table = Table(folder / "snapshot.json")
        self.metrics = RequestMetrics("penstock")
        self.records = RecordWriter(folder / "records")
        self.in_flight = self.retried = 0
        self.started = time.time()
        self.server: HttpServer | None = None
        self.scheme = "http"

    def handle(self, exchange: Exchange) -> None:
        ident = request_id(exchange.headers)
        try:
            if exchange.path in _RELAYED:
                self._relay(exchange, ident)
            else:
                self._own(exchange, ident)
        except RequestRefused as refused:
            headers = b"%bx-request-id: %b\r\n" % (refused.headers, ident.encode())
            exchange.reply(refused.status, refused.body(), headers)
            self._note(exchange, ident, refused.status)

    def timed_out(self, exchange: Exchange) -> None:
        if isinstance(exchange.state, Relay):
            exchange.state.time_out()

    def refused(self, status: int) -> None:
        self.metrics.done("", "", "", status, 0.0)

    def _relay(self, exchange: Exchange, ident: str) -> None:
        table, headers = self.table, exchange.headers
        key = table.keys.find(headers)
        if exchange.method != b"POST":
            raise RequestRefused(405, f"{exchange.path} answers POST only", "method_not_allowed", headers=b"allow: POST\r\n")
        _check_kind(headers)
        value = parse_object(exchange.body)
        name = value.get("model")
        if not isinstance(name, str):
            raise RequestRefused(400, "model must be a string: the name of a model (GET /v1/models lists them)", "invalid_value", "model")
        model = table.models.get(name)
        if model is None:
            hint = nearest(name, table.models)
            raise RequestRefused(404, f"There is no model {name[:80]!r} here{hint}", "model_not_found", "model")
        pinned = None
        if (version := headers.get(b"x-penstock-version")) is not None:
            pinned = version.decode("latin-1")
            if pinned not in model.versions:
                raise RequestRefused(404, f"Model {name!r} has no version {pinned[:40]!r} here", "version_not_found", "x-penstock-version")
        user = value.get("user")
        sticky = headers.get(b"x-penstock-session") or (user.encode() if isinstance(user, str) and user else b"")
        sticky = sticky[:STICKY_BYTES] or f"{key.id} {exchange.peer}".encode()
        payload = b"POST %b HTTP/1.1\r\nhost: replica\r\ncontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % (
            exchange.path.encode(),
            len(exchange.body),
            ident.encode(),
            exchange.body,
        )
        exchange.cancel_on_eof = exchange.path in _GENERATIVE
        ticket = Ticket(ident, exchange.path, model, sticky, pinned, key.id, table.snapshot.limits.retries)
        relay = exchange.state = Relay(ticket, exchange, payload, self._done)
        self.in_flight += 1
        relay.go()

    def _own(self, exchange: Exchange, ident: str) -> None:
        path, headers = exchange.path, b"x-request-id: %b\r\n" % ident.encode()
        listing = path == "/v1/models" or path.startswith("/v1/models/")
        if not listing and path not in ("/healthz", "/metrics"):
            raise RequestRefused(404, f"There is nothing at {path[:80]!r}", "unknown_route")
        if listing or not _loopback(exchange.peer):
            self.table.keys.find(exchange.headers)
        if exchange.method not in (b"GET", b"HEAD"):
            raise RequestRefused(405, f"{path} answers GET only", "method_not_allowed", headers=b"allow: GET\r\n")
        if path == "/healthz":
            draining = self.server is not None and self.server.draining
            health = {"status": "draining" if draining else "ok", "snapshot_version": self.table.snapshot.version}
            exchange.reply(503 if draining else 200, orjson.dumps(health), headers)
        elif path == "/metrics":
            exchange.reply(200, self._metrics(), headers, TEXT)
        elif path == "/v1/models":
            exchange.reply(200, orjson.dumps({"object": "list", "data": [self._model(m) for m in self.table.models]}), headers)
        else:
            name = path.removeprefix("/v1/models/")
            if name not in self.table.models:
                hint = nearest(name, self.table.models)
                raise RequestRefused(404, f"There is no model {name[:80]!r} here{hint}", "model_not_found", "model")
            exchange.reply(200, orjson.dumps(self._model(name)), headers)

    def _model(self, name: str) -> dict[str, object]:
        model = self.table.models[name]
        live = [{"version": v.name, "digest": v.digest, "weight": v.weight} for v in model.versions.values()]
        base = {"id": name, "object": "model", "created": int(self.started), "owned_by": "penstock"}
        return {**base, "task": model.task, "versions": live}

    def _done(self, relay: Relay, status: int) -> None:
        self.in_flight -= 1
        ticket, exchange, now = relay.ticket, relay.exchange, time.monotonic()
        version = relay.version.name if relay.version is not None else ""
        self.retried += max(relay.attempts - 1, 0)
        total = now - exchange.arrived
        self.metrics.done(ticket.route, ticket.model.name, version, status, total)
        prompt, completion = relay.usage
        self.metrics.used(ticket.model.name, version, prompt, completion)
        record = Record(
            ts=round(time.time() - total, 6),
            id=ticket.id,
            model=ticket.model.name,
            version=version or None,
            replica=relay.replica_id,
            route=ticket.route,
            key=ticket.key,
            status=status,
            bytes_in=len(exchange.body),
            bytes_out=exchange.sent,
            prompt_tokens=prompt,
            completion_tokens=completion,
            queue_ms=_ms((relay.sent or now) - exchange.arrived),
            first_ms=_ms((relay.first or now) - exchange.arrived),
            total_ms=_ms(total),
            attempts=relay.attempts,
        )
        self.records.add(record)

    def _note(self, exchange: Exchange, ident: str, status: int) -> None:
        """Counts and records a request that never got as far as a replica."""
        route = exchange.path if exchange.path in _RELAYED else ""
        total = time.monotonic() - exchange.arrived
        self.metrics.done(route, "", "", status, total)
        sizes = (len(exchange.body), exchange.sent, 0, 0)
        waits = (_ms(total), _ms(total), _ms(total), 0)
        self.records.add(Record(round(time.time() - total, 6), ident, None, None, None, route, None, status, *sizes, *waits))

    def sums(self) -> dict[str, float]:
        """This process's counts, by the names of gateway_metrics.SUMMED."""
        return {
            "in_flight": self.in_flight,
            "queue": sum(replica.queued for replica in self.table.replicas.values()),
            "connections": len(self.server.connections) if self.server is not None else 0,
            "snapshot_errors_total": self.table.errors,
            "retries_total": self.retried,
            "records_written_total": self.records.written,
            "records_dropped_total": self.records.dropped,
        }

    def _metrics(self) -> bytes:
        others = [] if self.worker is None else [c for n, c in read_counts(self.folder).items() if n != self.worker]
        return render(self.metrics, self.sums(), self.table, others)


def _check_kind(headers: dict[bytes, bytes]) -> None:
    kind = headers.get(b"content-type")
    if kind is not None:
        plain = kind.partition(b";")[0].strip().lower()
        if plain not in _JSON_KINDS and not plain.endswith(b"+json"):
            raise RequestRefused(415, f"Send application/json, not {plain.decode('latin-1')[:60]!r}", "unsupported_media_type")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RequestRefused(415, "Send the body uncompressed (no content-encoding)", "unsupported_encoding")


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
