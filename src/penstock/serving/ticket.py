"""What the gateway knows of a request before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from penstock.serving.balance import Want
from penstock.serving.caller import STICKY_BYTES, Caller
from penstock.serving.exchange import Exchange
from penstock.serving.lane import Lane
from penstock.serving.told import metadata_of
from penstock.serving.tracing import trace_of


class Ticket(Want):
    """What the gateway knows of a request before it is sent. `asked`: the model that was asked for, `exact` when its version was, too.

    `granted` is the limiter's Pass, `flags` and `guard_s` are what the deployment's checks found and took.
    """

    __slots__ = (
        "asked",
        "body",
        "exact",
        "flags",
        "granted",
        "guard_s",
        "id",
        "key",
        "lane",
        "metadata",
        "route",
        "stream",
        "trace",
        "training",
    )

    def __init__(self, exchange: Exchange, ident: str, caller: Caller, place: tuple[Lane, str | None], value: Mapping[str, Any]) -> None:
        self.lane, self.adapter = place
        self.id, self.key, self.route, self.body = ident, caller.key, exchange.path, exchange.body
        model = self.lane.model
        self.asked = model.name
        self.pinned = model.ruled(exchange.headers) if model.rules else None
        self.exact = self.stream = False
        self.training = caller.training
        self.metadata = metadata_of(value, model.route.metadata) if model.route.metadata else None
        if caller.version is not None:
            self.pinned, self.exact = caller.version, True
        self.sticky, user = caller.session, value.get("user")
        if not self.sticky:
            self.sticky = user.encode("utf-8", "replace")[:STICKY_BYTES] if user and isinstance(user, str) else caller.own
        self.prompt = None
        if caller.generative:
            self.prompt, self.stream = self.body, value.get("stream") is True
        self.tried, self.marks = (), None
        self.trace = trace_of(exchange.headers)
        self.granted: Any = None
        self.flags: tuple[str, ...] = ()
        self.guard_s = 0.0

    def change(self, value: Mapping[str, Any]) -> None:
        """Another body goes to the replica."""
        self.body = orjson.dumps(value)
        if self.prompt is not None:
            self.prompt = self.body

    def pass_on(self, lane: Lane) -> None:
        """Another model is to answer: what was asked of the first one's versions means nothing there."""
        self.lane, self.pinned, self.adapter, self.tried, self.marks = lane, None, None, (), None
        self.body = orjson.dumps({**orjson.loads(self.body), "model": lane.model.name})

    def payload(self, ident: str = "") -> bytes:
        """The request for a replica. `ident`: instead of its own id."""
        head = f"POST {self.route} HTTP/1.1\r\nhost: replica\r\ncontent-length: {len(self.body)}\r\nx-request-id: {ident or self.id}\r\n"
        trace, span, _, flags = self.trace
        return f"{head}traceparent: 00-{trace}-{span}-{flags}\r\n\r\n".encode() + self.body
