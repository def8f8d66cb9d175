"""HTTP/1.1 for gateway and replica: one asyncio.Protocol over httptools, answers in the order of the questions.

The protocol hands whole requests to a handler, which answers through the Exchange, at once or later. No task is made per request.
Reading is http1_read.py's, writing http1_write.py's; here is whose turn it is, and how long a client may take (408). A connection that
turns out to speak HTTP/2 is handed to http2.py. Not covered: upgrades.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import httptools

from penstock.serving.exchange import IDLE_S, Exchange, Listener
from penstock.serving.heads import Head
from penstock.serving.http1_read import Reader
from penstock.serving.http1_write import Writer, refusal

MAX_WAITING = 8  # parsed requests of one connection that wait for their turn
LINGER_S, LINGER_BYTES = 1.0, 1 << 20
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n"


class Connection(asyncio.Protocol):
    """One client socket."""

    def __init__(self, server: Listener) -> None:
        self.server = server
        self._transport: Any = None
        self._writer = Writer(server, self)
        self._reader = Reader(server, self._took, self._writer.go_on)
        self._waiting: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._deadline = 0.0  # of a connection that lies unused, or lingers; 0.0: it does since the last sweep
        self._dispatching = self._read_paused = self._lingering = False
        self._lingered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._writer.use(transport)
        ssl = transport.get_extra_info("ssl_object")
        if ssl is not None and ssl.selected_alpn_protocol() == "h2":
            _go_on_as_http2(self.server, transport)
            return
        self.server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if self._current is None and reader.known is not None and (body := reader.again(data)) is not None:
            now, server = time.monotonic(), self.server
            self._current = Exchange(self._writer, reader.known.head, body, now, now + server.limits.request_timeout_s)
            server.handler(self._current)
            return
        if self._lingering:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self._transport.abort()
            return
        if reader.refusal is not None:
            return
        try:
            reader.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if data.startswith(HTTP2_PREFACE) and self._current is None and not self._waiting:
                self.server.connections.discard(self)
                _go_on_as_http2(self.server, self._transport).data_received(data)
                return
            if reader.refusal is None:
                reader.refuse(400, f"This is not a well-formed HTTP/1.1 request ({type(error).__name__})", "malformed_request")
        self._advance()

    def eof_received(self) -> bool:
        current = self._current
        if current is None and not self._waiting:
            return False
        if current is not None and current.cancel_on_eof:
            return False
        self._writer.eof = True
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
        self._writer.paused = True
        if self._current is not None and self._current.on_writable is not None:
            self._current.on_writable(False)

    def resume_writing(self) -> None:
        self._writer.paused = False
        if self._current is not None and self._current.on_writable is not None:
            self._current.on_writable(True)

    def waits(self) -> bool:
        return bool(self._waiting) or self._reader.refusal is not None

    def answered(self, exchange: Exchange) -> None:
        exchange.finished = True
        self._current = None
        if not exchange.keep_alive:
            self._waiting.clear()
            self._transport.close()
        elif not self._dispatching:
            if self._waiting or self._read_paused or self._reader.refusal is not None or self._writer.eof or self.server.draining:
                self._advance()
            else:
                self._deadline = 0.0

    def sweep(self, now: float) -> None:
        """Called by the server some times a second."""
        current, reader = self._current, self._reader
        if current is not None:
            if now > current.deadline:
                self.server.on_timeout(current)
        elif reader.reading and not self._lingering:
            if now > reader.deadline and reader.refusal is None:
                reader.refuse(408, f"The request's {reader.reading} did not arrive in time", "request_timeout")
                self._advance()
        elif self._deadline == 0.0:
            self._deadline = now + IDLE_S
        elif now > self._deadline:
            self._transport.abort() if self._lingering else self._transport.close()

    def drain(self) -> None:
        """Closes when nothing is in flight; else the answer that is being made says `connection: close`."""
        if self._current is None and not self._waiting:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def _took(self, head: Head, body: bytes, began: float) -> None:
        self._waiting.append(Exchange(self._writer, head, body, began, began + self.server.limits.request_timeout_s))

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
            if self._reader.refusal is not None:
                self._send_refusal(*self._reader.refusal)
            elif self._writer.eof or (self.server.draining and not self._reader.reading):
                self._transport.close()
            elif not self._reader.reading:
                self._deadline = 0.0

    def _send_refusal(self, status: int, body: bytes) -> None:
        """Answers, ends our side, and reads on a little: closing over unread bytes would reset the answer away."""
        if self._lingering or self._transport.is_closing():
            return
        self.server.on_refused(status)
        self._transport.write(refusal(status, body))
        self._lingering, self._deadline = True, time.monotonic() + LINGER_S
        if self._writer.eof or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()


def _go_on_as_http2(server: Listener, transport: Any) -> asyncio.Protocol:
    from penstock.serving.http2 import Connection as Http2

    other = Http2(server)
    transport.set_protocol(other)
    other.connection_made(transport)
    return other
