"""HTTP/1.1 for gateway and replica: one asyncio.Protocol over httptools, answers in the order of the questions.

The protocol hands whole requests to a handler, which answers through the Exchange, at once or later. No task is made per request.
Refused here, before any handler sees them: heads over 64 KiB (431), bodies over the limit (413, before they are read), slow heads and
bodies (408), anything that is not HTTP (400). Not covered: TLS, HTTP/2, upgrades.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools

from penstock.serving.errors import error_body
from penstock.serving.snapshot import Limits

JSON, TEXT, EVENTS = b"application/json", b"text/plain; charset=utf-8", b"text/event-stream; charset=utf-8"
MAX_HEAD_BYTES = 64 << 10
MAX_WAITING = 8  # parsed requests of one connection that wait for their turn
MIN_BODY_RATE = 64 << 10  # bytes/s under which a body counts as slow
IDLE_S, LINGER_S, LINGER_BYTES, SWEEP_S = 75.0, 1.0, 1 << 20, 0.1
_STATUS = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}


class Exchange:
    """One request and the way to answer it: `reply` once, or `start`, `write` any number of times, `end`.

    `on_gone` is called when the client vanishes before the answer is complete; `on_writable(bool)` when its socket fills and empties.
    `cancel_on_eof`: a client that closes its sending side is taken for gone (work is long); else the answer is still sent.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "arrived",
        "body",
        "cancel_on_eof",
        "deadline",
        "finished",
        "headers",
        "keep_alive",
        "method",
        "on_gone",
        "on_writable",
        "path",
        "sent",
        "started",
        "state",
    )

    def __init__(self, connection: Connection, method: bytes, path: str, headers: dict[bytes, bytes], body: bytes) -> None:
        self._connection = connection
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.arrived = connection.began
        self.deadline = self.arrived + connection.server.limits.request_timeout_s
        self.keep_alive = True
        self.cancel_on_eof = self.started = self.finished = False
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[bool], None] | None = None
        self.sent = 0
        self.state: Any = None  # the handler's own
        self._chunked = connection.version_1_1

    @property
    def peer(self) -> str:
        return self._connection.peer

    @property
    def writable(self) -> bool:
        return not self._connection.write_paused

    def reply(self, status: int, body: bytes, headers: bytes = b"", kind: bytes = JSON) -> None:
        """`headers` are whole lines, each ending in CRLF."""
        if self.finished:
            return
        head = b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (_STATUS[status], kind, len(body), headers, self._persistence())
        self.sent += len(body)
        self._connection.send(head if self.method == b"HEAD" else head + body)
        self._connection.answered(self)

    def start(self, status: int, headers: bytes = b"", kind: bytes = EVENTS) -> None:
        if self.finished:
            return
        self.started = True
        if self._chunked:
            framing = b"transfer-encoding: chunked\r\n" + self._persistence()
        else:
            self.keep_alive, framing = False, b"connection: close\r\n"
        self._connection.send(b"%bcontent-type: %b\r\ncache-control: no-cache\r\n%b%b\r\n" % (_STATUS[status], kind, headers, framing))

    def write(self, data: bytes) -> None:
        if self.finished or not data:
            return
        self.sent += len(data)
        self._connection.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self, trailer: bytes = b"") -> None:
        """`trailer`: header lines after the last chunk, each ending in CRLF."""
        if self.finished:
            return
        if self._chunked:
            self._connection.send(b"0\r\n%b\r\n" % trailer)
        self._connection.answered(self)

    def cut(self) -> None:
        """Closes without the last chunk: the only honest end of a started answer that cannot be completed."""
        if not self.finished:
            self.keep_alive = False
            self._connection.answered(self)

    def _persistence(self) -> bytes:
        if self._connection.closing_soon():
            self.keep_alive = False
        if not self.keep_alive:
            return b"connection: close\r\n"
        return b"" if self._chunked else b"connection: keep-alive\r\n"


class Connection(asyncio.Protocol):
    """One client socket."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.peer = ""
        self.version_1_1 = True
        self.began = 0.0
        self.write_paused = False
        self._transport: Any = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._url = b""
        self._body: list[bytes] = []
        self._body_size = self._head_size = self._lingered = 0
        self._reading = ""  # "", "head", "body", "linger"
        self._deadline = 0.0
        self._waiting: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._refusal: tuple[int, bytes] | None = None
        self._dispatching = self._eof = self._read_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        address = transport.get_extra_info("peername")
        self.peer = address[0] if address else ""
        self.server.connections.add(self)
        self._idle()

    def data_received(self, data: bytes) -> None:
        if self._reading == "linger":
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self._transport.abort()
            return
        if self._refusal is not None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._refusal is None:
                self._refuse(400, f"This is not a well-formed HTTP/1.1 request ({type(error).__name__})", "malformed_request")
        if self._reading == "head":
            self._head_size += len(data)
            if self._head_size > MAX_HEAD_BYTES:
                self._refuse(431, f"The request head is over {MAX_HEAD_BYTES} bytes", "head_too_large")
        self._advance()

    def eof_received(self) -> bool:
        current = self._current
        if current is None and not self._waiting:
            return False
        if current is not None and current.cancel_on_eof:
            return False
        self._eof = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self.server.connections.discard(self)
        self._waiting.clear()
        current, self._current = self._current, None
        if current is not None and not current.finished:
            current.finished = True
            if current.on_gone is not None:
                current.on_gone()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self._current is not None and self._current.on_writable is not None:
            self._current.on_writable(False)

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._current is not None and self._current.on_writable is not None:
            self._current.on_writable(True)

    def on_message_begin(self) -> None:
        self._headers, self._url, self._body = {}, b"", []
        self._body_size = self._head_size = 0
        self._reading = "head"
        self.began = time.monotonic()
        self._deadline = self.began + self.server.limits.header_timeout_s

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading == "head":  # a trailer must not overrule the head
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        limits, length = self.server.limits, self._headers.get(b"content-length")
        size = int(length) if length is not None else 0
        self._reading = "body"
        expected = size if length is not None else limits.max_body_bytes
        self._deadline = self.began + limits.header_timeout_s + expected / MIN_BODY_RATE
        if size > limits.max_body_bytes:
            self._too_large(size)
        elif size and self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._body_size += len(data)
        if self._body_size > self.server.limits.max_body_bytes:
            self._body.clear()
            self._too_large(self._body_size)
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        self._reading = ""
        if self._refusal is not None:
            return
        parser = self._parser
        self.version_1_1 = parser.get_http_version() == "1.1"
        path = self._url.partition(b"?")[0].decode("latin-1")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        exchange = Exchange(self, parser.get_method(), path, self._headers, body)
        exchange.keep_alive = parser.should_keep_alive()
        self._waiting.append(exchange)

    def send(self, data: bytes) -> None:
        self._transport.write(data)

    def abort(self) -> None:
        self._transport.abort()

    def closing_soon(self) -> bool:
        """True when the answer being written is the last one on this connection."""
        return self.server.draining or (self._eof and not self._waiting and self._refusal is None)

    def answered(self, exchange: Exchange) -> None:
        exchange.finished = True
        self._current = None
        if not exchange.keep_alive:
            self._waiting.clear()
            self._transport.close()
        elif not self._dispatching:
            self._advance()

    def sweep(self, now: float) -> None:
        """Called by the server some times a second."""
        current = self._current
        if current is not None:
            if now > current.deadline:
                self.server.on_timeout(current)
        elif now > self._deadline:
            if self._reading in ("head", "body"):
                self._refuse(408, f"The request's {self._reading} did not arrive in time", "request_timeout")
                self._advance()
            else:
                self._transport.abort() if self._reading == "linger" else self._transport.close()

    def drain(self) -> None:
        """Closes when nothing is in flight; else the answer that is being made says `connection: close`."""
        if self._current is None and not self._waiting:
            self._transport.close()

    def _idle(self) -> None:
        self._deadline = time.monotonic() + IDLE_S

    def _advance(self) -> None:
        self._dispatching = True
        while self._current is None and self._waiting and not self._transport.is_closing():
            self._current = self._waiting.popleft()
            self.server.handler(self._current)
        self._dispatching = False
        crowded = len(self._waiting) >= MAX_WAITING
        if crowded != self._read_paused and not self._transport.is_closing():
            self._read_paused = crowded
            self._transport.pause_reading() if crowded else self._transport.resume_reading()
        if self._current is None and not self._waiting:
            if self._refusal is not None:
                self._send_refusal()
            elif self._eof or (self.server.draining and not self._reading):
                self._transport.close()
            elif not self._reading:
                self._idle()

    def _too_large(self, size: int) -> None:
        limit = self.server.limits.max_body_bytes
        self._refuse(413, f"The request body has {size} bytes or more; the limit is {limit}", "body_too_large")

    def _refuse(self, status: int, message: str, code: str) -> None:
        self._refusal = (status, error_body(status, message, code))

    def _send_refusal(self) -> None:
        """Answers, ends our side, and reads on a little: closing over unread bytes would reset the answer away."""
        if self._reading == "linger" or self._transport.is_closing() or self._refusal is None:
            return
        status, body = self._refusal
        self.server.on_refused(status)
        head = b"%bcontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (_STATUS[status], JSON, len(body))
        self._transport.write(head + body)
        self._reading, self._deadline = "linger", time.monotonic() + LINGER_S
        if self._eof:
            self._transport.close()
        else:
            self._transport.write_eof()


class HttpServer:
    """Listens, sweeps timeouts, drains. `handler(exchange)` must not raise and must not block."""

    def __init__(
        self,
        handler: Callable[[Exchange], None],
        *,
        on_timeout: Callable[[Exchange], None],
        on_refused: Callable[[int], None],
        limits: Limits,
    ) -> None:
        self.handler, self.on_timeout, self.on_refused, self.limits = handler, on_timeout, on_refused, limits
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.draining = False
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def adopt(self, listener: socket.socket) -> None:
        """Starts to accept on a socket that listens already."""
        self._server = await self.loop.create_server(lambda: Connection(self), sock=listener, backlog=2048)
        self._sweep()

    async def drain(self, within_s: float) -> bool:
        """Stops accepting and waits for what is in flight; False when time ran out and connections were cut."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drain()
        end = self.loop.time() + within_s
        while self.connections and self.loop.time() < end:
            await asyncio.sleep(0.02)
        clean = not self.connections
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        return clean

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self.connections):
            connection.sweep(now)
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
