"""HTTP/1.1 for gateway and replica: one asyncio.Protocol over httptools, answers in the order of the questions.

The protocol hands whole requests to a handler, which answers through the Exchange, at once or later. No task is made per request.
Refused here, before any handler sees them: heads over 64 KiB (431), bodies over the limit (413, before they are read), slow heads and
bodies (408), anything that is not HTTP (400). A connection that turns out to speak HTTP/2 is handed to http2.py. Not covered: upgrades.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import Any

import httptools

from penstock.serving.errors import error_body
from penstock.serving.exchange import IDLE_S, JSON, MAX_HEAD_BYTES, MIN_BODY_RATE, Exchange, Listener

MAX_WAITING = 8  # parsed requests of one connection that wait for their turn
LINGER_S, LINGER_BYTES = 1.0, 1 << 20
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n"
STATUS = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}


class Connection(asyncio.Protocol):
    """One client socket."""

    def __init__(self, server: Listener) -> None:
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
        ssl = transport.get_extra_info("ssl_object")
        if ssl is not None and ssl.selected_alpn_protocol() == "h2":
            self._become_http2(b"")
            return
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
            if data.startswith(HTTP2_PREFACE) and self._current is None and not self._waiting:
                self._become_http2(data)
                return
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
        exchange.arrived = self.began
        exchange.deadline = self.began + self.server.limits.request_timeout_s
        exchange.keep_alive = parser.should_keep_alive()
        self._waiting.append(exchange)

    def reply(self, exchange: Exchange, status: int, body: bytes, headers: bytes, kind: bytes) -> None:
        end = b"%b\r\n" % self._persistence(exchange)
        head = b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b" % (STATUS[status], kind, len(body), headers, end)
        self._transport.write(head if exchange.method == b"HEAD" else head + body)
        self._answered(exchange)

    def start(self, exchange: Exchange, status: int, headers: bytes, kind: bytes) -> None:
        if self.version_1_1:
            framing = b"transfer-encoding: chunked\r\n" + self._persistence(exchange)
        else:
            exchange.keep_alive, framing = False, b"connection: close\r\n"
        self._transport.write(b"%bcontent-type: %b\r\ncache-control: no-cache\r\n%b%b\r\n" % (STATUS[status], kind, headers, framing))

    def write(self, exchange: Exchange, data: bytes) -> None:  # noqa: ARG002 - one exchange at a time
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self.version_1_1 else data)

    def end(self, exchange: Exchange, trailer: bytes) -> None:
        if self.version_1_1:
            self._transport.write(b"0\r\n%b\r\n" % trailer)
        self._answered(exchange)

    def cut(self, exchange: Exchange) -> None:
        exchange.keep_alive = False
        self._answered(exchange)

    def writable(self, exchange: Exchange) -> bool:  # noqa: ARG002 - one exchange at a time
        return not self.write_paused

    def abort(self) -> None:
        self._transport.abort()

    def _persistence(self, exchange: Exchange) -> bytes:
        if self.server.draining or (self._eof and not self._waiting and self._refusal is None):
            exchange.keep_alive = False  # the last answer on this connection
        if not exchange.keep_alive:
            return b"connection: close\r\n"
        return b"" if self.version_1_1 else b"connection: keep-alive\r\n"

    def _answered(self, exchange: Exchange) -> None:
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

    def _become_http2(self, data: bytes) -> None:
        from penstock.serving.http2 import Connection as Http2

        self.server.connections.discard(self)
        other = Http2(self.server)
        self._transport.set_protocol(other)
        other.connection_made(self._transport)
        if data:
            other.data_received(data)

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
        head = b"%bcontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (STATUS[status], JSON, len(body))
        self._transport.write(head + body)
        self._reading, self._deadline = "linger", time.monotonic() + LINGER_S
        if self._eof or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()
