"""One request's way through the gateway: pick a version and a replica, send, pass the answer on, retry while nothing was passed on.

A client that vanishes takes the upstream connection with it, so the replica stops. A replica that dies or refuses with 503 before the
first byte went to the client is replaced by another one: of the same version if there is one, else of the next.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.serving.errors import RequestRefused, busy
from penstock.serving.exchange import EVENTS, Exchange
from penstock.serving.routing import pick_version
from penstock.serving.upstream import Connection, Replica

log = logging.getLogger("penstock.gateway")
_CLIENT_GONE = 499


@dataclass(slots=True)
class Version:
    name: str
    digest: str
    weight: float
    replicas: list[Replica]
    header: bytes  # x-penstock-version, as a header line

    def best(self, now: float, tried: set[Replica]) -> Replica | None:
        """The least loaded replica that was not tried; one that failed lately only when there is no other."""
        left = [r for r in self.replicas if r not in tried]
        if not left:
            return None
        if len(left) == 1:
            return left[0]
        return min(left, key=lambda r: (not r.up(now), r.load))


@dataclass(slots=True)
class Model:
    name: str
    task: str
    versions: dict[str, Version]
    weights: dict[str, float]


@dataclass(slots=True)
class Ticket:
    """What the gateway knows of a request before it is sent."""

    id: str
    route: str
    model: Model
    sticky: bytes
    pinned: str | None
    key: str
    retries: int


class Relay:
    """A Call for upstream, and the exchange it answers."""

    __slots__ = (
        "_body",
        "_done",
        "_headers",
        "_replica",
        "_status",
        "_streaming",
        "_tried",
        "attempts",
        "cancelled",
        "connection",
        "exchange",
        "first",
        "payload",
        "sent",
        "ticket",
        "usage",
        "version",
    )

    def __init__(self, ticket: Ticket, exchange: Exchange, payload: bytes, done: Callable[[Relay, int], None]) -> None:
        self.ticket, self.exchange, self.payload = ticket, exchange, payload
        self._done = done
        self.connection: Connection | None = None
        self.cancelled = self._streaming = False
        self.attempts = 0
        self.sent = self.first = 0.0
        self.usage = (0, 0)
        self.version: Version | None = None
        self._replica: Replica | None = None
        self._tried: set[Replica] = set()
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        exchange.on_gone = self._client_gone
        exchange.on_writable = self._writable

    @property
    def replica_id(self) -> str | None:
        return self._replica.route.id if self._replica is not None else None

    def go(self) -> None:
        """Sends to the best place that is left. Answers 503 when there is none."""
        now = time.monotonic()
        found = self._choose(now)
        if found is None:
            self.refuse(busy(f"No replica of {self.ticket.model.name!r} can answer now; try again soon", "no_replica"))
            return
        self.version, self._replica = found
        self._tried.add(self._replica)
        self.attempts += 1
        self.sent = now
        if not self._replica.submit(self):
            self._again()

    def _choose(self, now: float) -> tuple[Version, Replica] | None:
        model, ticket = self.ticket.model, self.ticket
        if ticket.pinned is not None:
            pinned = model.versions[ticket.pinned]
            replica = pinned.best(now, self._tried)
            return (pinned, replica) if replica is not None else None
        exhausted: list[str] = []
        while (name := pick_version(model.weights, ticket.sticky, exhausted)) is not None:
            version = model.versions[name]
            replica = version.best(now, self._tried)
            if replica is not None:
                return version, replica
            exhausted.append(name)
        return None

    def refuse(self, refused: RequestRefused) -> None:
        self.exchange.reply(refused.status, refused.body(), refused.headers + self._identity())
        self._done(self, refused.status)

    def time_out(self) -> None:
        self._drop()
        if self._streaming:
            self.exchange.cut()
            self._done(self, 504)
        else:
            self.refuse(RequestRefused(504, "The request took longer than the limit", "timeout"))

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._status, self._headers = status, headers

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def flush(self) -> None:
        if not self._body:
            return
        if not self._streaming:
            if self._status != 200 or not self._headers.get(b"content-type", b"").startswith(b"text/event-stream"):
                return
            self._streaming = True
            self.first = time.monotonic()
            self.exchange.start(200, self._identity(), EVENTS)
        self.exchange.write(b"".join(self._body))
        self._body.clear()

    def on_end(self, headers: dict[bytes, bytes]) -> None:
        if self._status == 503 and not self._streaming:
            self._again()
            return
        self.flush()
        usage = headers.get(b"x-penstock-usage")
        if usage is not None:
            prompt, _, completion = usage.partition(b",")
            self.usage = (int(prompt), int(completion))
        if self._streaming:
            self.exchange.end()
        else:
            self.first = time.monotonic()
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self.exchange.reply(self._status, body, self._identity(), headers.get(b"content-type", b"application/json"))
        self._done(self, self._status)

    def on_lost(self, reason: str) -> None:
        if self.cancelled:
            return
        log.warning("request %s lost replica %s: %s", self.ticket.id, self.replica_id, reason)
        self.flush()
        if self._streaming:
            refused = RequestRefused(502, "The replica was lost in the middle of the answer", "replica_lost")
            self.exchange.write(b"data: %b\n\n" % refused.body())
            self.exchange.cut()
            self._done(self, 502)
        else:
            self._again()

    def _again(self) -> None:
        self._body.clear()
        if self.attempts > self.ticket.retries:
            self.refuse(busy(f"Replicas of {self.ticket.model.name!r} did not take it in {self.attempts} attempts", "no_replica"))
        else:
            self.go()

    def _identity(self) -> bytes:
        head = b"x-request-id: %b\r\n" % self.ticket.id.encode()
        if self.version is None or self._replica is None:
            return head
        return b"%b%bx-penstock-replica: %b\r\n" % (head, self.version.header, self._replica.route.id.encode())

    def _client_gone(self) -> None:
        self._drop()
        self._done(self, _CLIENT_GONE)

    def _drop(self) -> None:
        if self._replica is not None:
            call: Any = self
            self._replica.cancel(call)

    def _writable(self, writable: bool) -> None:
        if self.connection is not None:
            self.connection.pause(not writable)
