"""One request answered in memory: what a handler would write to a connection is held, for callers that have no socket (a function)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from penstock.serving.exchange import JSON, Exchange
from penstock.serving.heads import Head


@dataclass(frozen=True, slots=True)
class Held:
    """A whole answer. `headers` by name in small letters, `content-type` among them. `cut`: it was broken off."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool = False


async def answered(
    handle: Callable[[Exchange], None], on_timeout: Callable[[Exchange], None], head: Head, body: bytes, within_s: float
) -> Held:
    """What `handle` answers; after `within_s`, what `on_timeout` does. A stream is held until its end."""
    wire = HeldWire()
    now = time.monotonic()
    exchange = Exchange(wire, head, body, now, now + within_s)
    handle(exchange)
    try:
        await asyncio.wait_for(wire.done.wait(), max(within_s, 0.0))
    except TimeoutError:
        on_timeout(exchange)
    except asyncio.CancelledError:
        if exchange.on_gone is not None:
            exchange.on_gone()
        raise
    return wire.held()


class HeldWire:
    """The Wire of one exchange."""

    peer = "function"

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self._status, self._kind, self._lines, self._cut = 500, JSON, b"", False
        self._parts: list[bytes] = []

    def held(self) -> Held:
        lines = [line.partition(b":") for line in self._lines.split(b"\r\n") if line]
        headers = {name.decode("latin-1").lower(): value.strip().decode("latin-1") for name, _, value in lines}
        return Held(self._status, {"content-type": self._kind.decode(), **headers}, b"".join(self._parts), self._cut)

    def reply(self, exchange: Exchange, status: int, body: bytes, headers: bytes, kind: bytes) -> None:
        self.start(exchange, status, headers, kind)
        self._parts.append(body)
        self.end(exchange, b"")

    def start(self, exchange: Exchange, status: int, headers: bytes, kind: bytes) -> None:  # noqa: ARG002 (as Wire has it, here and below)
        self._status, self._lines, self._kind = status, headers, kind

    def write(self, exchange: Exchange, data: bytes) -> None:  # noqa: ARG002
        self._parts.append(data)

    def end(self, exchange: Exchange, trailer: bytes) -> None:
        self._lines += trailer
        exchange.finished = True
        self.done.set()

    def cut(self, exchange: Exchange) -> None:
        self._cut = exchange.finished = True
        self.done.set()

    def writable(self, exchange: Exchange) -> bool:  # noqa: ARG002
        return True
