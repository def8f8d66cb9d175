"""One request and the way to answer it, whatever HTTP it came over; what handlers, connections and the server know of each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from penstock.serving.heads import Head
from penstock.serving.snapshot import Limits

JSON, TEXT, EVENTS = b"application/json", b"text/plain; charset=utf-8", b"text/event-stream; charset=utf-8"
MAX_HEAD_BYTES = 64 << 10
MIN_BODY_RATE = 64 << 10  # bytes/s under which a body counts as slow
IDLE_S = 75.0  # for which a connection may lie unused


class Wire(Protocol):
    """What an exchange needs of its connection: the framing of answers."""

    peer: str

    def reply(self, exchange: Exchange, status: int, body: bytes, headers: bytes, kind: bytes) -> None: ...

    def start(self, exchange: Exchange, status: int, headers: bytes, kind: bytes) -> None: ...

    def write(self, exchange: Exchange, data: bytes) -> None: ...

    def end(self, exchange: Exchange, trailer: bytes) -> None: ...

    def cut(self, exchange: Exchange) -> None: ...

    def writable(self, exchange: Exchange) -> bool: ...


class Listener(Protocol):
    """What a connection needs of the server that accepted it."""

    limits: Limits
    handler: Callable[[Exchange], None]
    on_timeout: Callable[[Exchange], None]
    on_refused: Callable[[int], None]
    draining: bool
    connections: set[Any]


class Exchange:
    """One request and the way to answer it: `reply` once, or `start`, `write` any number of times, `end`.

    `on_gone` is called when the client vanishes before the answer is complete; `on_writable(bool)` when its socket fills and empties.
    `cancel_on_eof`: a client that closes its sending side is taken for gone (work is long); else the answer is still sent.
    """

    __slots__ = (
        "_wire",
        "arrived",
        "body",
        "cancel_on_eof",
        "deadline",
        "finished",
        "head",
        "headers",
        "keep_alive",
        "method",
        "on_gone",
        "on_writable",
        "path",
        "sent",
        "started",
        "state",
        "stream",
    )

    def __init__(self, wire: Wire, head: Head, body: bytes, arrived: float, deadline: float) -> None:
        """`arrived` and `deadline`: monotonic."""
        self._wire, self.head, self.body, self.arrived, self.deadline = wire, head, body, arrived, deadline
        self.method, self.path, self.headers = head.method, head.path, head.headers
        self.keep_alive = head.keep_alive  # HTTP/1 only
        self.stream = 0  # number within the connection, HTTP/2 only
        self.cancel_on_eof = self.started = self.finished = False
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[bool], None] | None = None
        self.sent = 0
        self.state: Any = None  # the handler's own

    @property
    def peer(self) -> str:
        return self._wire.peer

    @property
    def writable(self) -> bool:
        return self._wire.writable(self)

    def reply(self, status: int, body: bytes, headers: bytes = b"", kind: bytes = JSON) -> None:
        """`headers` are whole lines, each ending in CRLF."""
        if not self.finished:
            self.sent += len(body)
            self._wire.reply(self, status, body, headers, kind)

    def start(self, status: int, headers: bytes = b"", kind: bytes = EVENTS) -> None:
        if not self.finished:
            self.started = True
            self._wire.start(self, status, headers, kind)

    def write(self, data: bytes) -> None:
        if data and not self.finished:
            self.sent += len(data)
            self._wire.write(self, data)

    def end(self, trailer: bytes = b"") -> None:
        """`trailer`: header lines after the last byte of the body, each ending in CRLF."""
        if not self.finished:
            self._wire.end(self, trailer)

    def cut(self) -> None:
        """Closes without the proper end: the only honest end of a started answer that cannot be completed."""
        if not self.finished:
            self._wire.cut(self)
