"""What the gateway knows of a request before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from penstock.serving.balance import Want
from penstock.serving.lane import Lane
from penstock.serving.snapshot import KeyEntry
from penstock.serving.tracing import Trace


@dataclass(slots=True)
class Ticket:
    """What the gateway knows of a request before it is sent. `asked`: the model that was asked for, `exact` when its version was, too."""

    id: str
    route: str
    lane: Lane
    want: Want
    key: KeyEntry
    body: bytes
    trace: Trace
    asked: str
    exact: bool = False
    stream: bool = False
    granted: Any = None  # the limiter's Pass
    flags: tuple[str, ...] = ()
    guard_s: float = 0.0

    def change(self, value: Mapping[str, Any]) -> None:
        """Another body goes to the replica."""
        self.body = orjson.dumps(value)
        if self.want.prompt is not None:
            self.want.prompt = self.body

    def payload(self, ident: str = "") -> bytes:
        """The request for a replica. `ident`: instead of its own id."""
        head = f"POST {self.route} HTTP/1.1\r\nhost: replica\r\ncontent-length: {len(self.body)}\r\nx-request-id: {ident or self.id}\r\n"
        return f"{head}traceparent: {self.trace.header()}\r\n\r\n".encode() + self.body
