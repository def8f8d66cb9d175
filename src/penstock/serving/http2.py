"""HTTP/2 (RFC 9113) over h2: many exchanges at once on one socket, each with its own flow control.

A connection comes here by ALPN (TLS) or because it began with the HTTP/2 preface. Refused here: heads over 64 KiB, bodies over the
limit, slow ones, more than 128 streams at once, and clients that reset streams faster than they let them be answered (CVE-2023-44487).
Not covered: server push, priorities, extended CONNECT.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from penstock.serving.errors import error_body
from penstock.serving.exchange import IDLE_S, JSON, MAX_HEAD_BYTES, MIN_BODY_RATE, Exchange, Listener
from penstock.serving.heads import Head

MAX_STREAMS, MAX_RESETS = 128, 100
HIGH_WATER = 64 << 10  # bytes of one stream that wait for the client's window
WINDOW = 1 << 20
SETTINGS = {
    SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES,
    SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
    SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
}


@dataclass(slots=True, eq=False)
class Stream:
    """One request and its answer. `waiting` holds answer bytes that the client's window had no room for."""

    number: int
    method: bytes
    path: str
    headers: dict[bytes, bytes]
    began: float
    deadline: float
    body: list[bytes] = field(default_factory=list)
    size: int = 0
    read: bool = False
    exchange: Exchange | None = None
    waiting: bytearray = field(default_factory=bytearray)
    full: bool = False
    ended: bool = False
    trailer: bytes = b""


class Connection(asyncio.Protocol):
    """One client socket. Its exchanges' `stream` is the number of their stream."""

    def __init__(self, server: Listener) -> None:
        self.server = server
        self.peer = ""
        self._transport: Any = None
        settings = H2Configuration(client_side=False, header_encoding=None)
        self._h2: Any = H2Connection(config=settings)
        self._streams: dict[int, Stream] = {}
        self._unread: dict[int, Stream] = {}  # answered before their body came: many clients read nothing until they have sent all
        self._deadline = 0.0
        self._paused = self._batching = self._going = False
        self._resets = self._answers = self._last = 0
        self._events: dict[type, Callable[[Any], None]] = {
            RequestReceived: self._request,
            DataReceived: self._data,
            StreamEnded: self._complete,
            StreamReset: self._reset,
            WindowUpdated: self._window,
            RemoteSettingsChanged: self._window,
            ConnectionTerminated: lambda _: self._transport.close(),
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        address = transport.get_extra_info("peername")
        self.peer = address[0] if address else ""
        self.server.connections.add(self)
        self._deadline = time.monotonic() + self.server.limits.header_timeout_s
        # Put in before the first SETTINGS frame, which tells them all: a change sent earlier would be told back by it.
        self._h2.local_settings = Settings(client=False, initial_values=SETTINGS)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._batching = True
        try:
            for event in self._h2.receive_data(data):
                act = self._events.get(type(event))
                if act is not None:
                    act(event)
        except H2Error:
            # h2 has put the GOAWAY with the fitting code into what is to be sent.
            self._batching = False
            self._flush()
            self._transport.close()
            return
        self._batching = False
        self._flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self.server.connections.discard(self)
        streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            _gone(stream)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._window(None)
        self._flush()

    def reply(self, exchange: Exchange, status: int, body: bytes, headers: bytes, kind: bytes) -> None:
        stream = self._streams.get(exchange.stream)
        exchange.finished = True
        if stream is None:
            return
        bare = exchange.method == b"HEAD" or not body
        head = [(b":status", b"%d" % status), (b"content-type", kind), (b"content-length", b"%d" % len(body)), *_pairs(headers)]
        if self._send(lambda: self._h2.send_headers(stream.number, head, end_stream=bare)):
            if bare:
                self._forget(stream)
            else:
                stream.waiting += body
                stream.ended = True
                self._pump(stream)
        self._flush()

    def start(self, exchange: Exchange, status: int, headers: bytes, kind: bytes) -> None:
        head = [(b":status", b"%d" % status), (b"content-type", kind), (b"cache-control", b"no-cache"), *_pairs(headers)]
        self._send(lambda: self._h2.send_headers(exchange.stream, head))
        self._flush()

    def write(self, exchange: Exchange, data: bytes) -> None:
        stream = self._streams.get(exchange.stream)
        if stream is not None:
            stream.waiting += data
            self._pump(stream)
            self._flush()

    def end(self, exchange: Exchange, trailer: bytes) -> None:
        exchange.finished = True
        stream = self._streams.get(exchange.stream)
        if stream is not None:
            stream.ended, stream.trailer = True, trailer
            self._pump(stream)
            self._flush()

    def cut(self, exchange: Exchange) -> None:
        exchange.finished = True
        stream = self._streams.get(exchange.stream)
        if stream is not None:
            self._send(lambda: self._h2.reset_stream(stream.number, ErrorCodes.INTERNAL_ERROR))
            self._forget(stream)
            self._flush()

    def writable(self, exchange: Exchange) -> bool:
        stream = self._streams.get(exchange.stream)
        return not self._paused and (stream is None or len(stream.waiting) < HIGH_WATER)

    def abort(self) -> None:
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Called by the server some times a second."""
        for stream in list(self._streams.values()):
            exchange = stream.exchange
            if exchange is not None and not exchange.finished:
                if now > exchange.deadline:
                    self.server.on_timeout(exchange)
            elif exchange is None and now > stream.deadline:
                self._refuse(stream, 408, "The request's body did not arrive in time", "request_timeout")
            elif exchange is not None and now > exchange.deadline:
                self.cut(exchange)  # answered, but the client takes nothing
        for stream in [stream for stream in self._unread.values() if now > stream.deadline]:
            self._stop_reading(stream)
        if not self._streams and now > self._deadline:
            self.drain()

    def drain(self) -> None:
        """Serves no further stream; closes once those that run are answered. GOAWAY only then: some clients give up all streams at it."""
        self._going = True
        if not self._streams:
            self._transport.write(GoAwayFrame(stream_id=0, last_stream_id=self._last).serialize())
            self._transport.close()

    def _request(self, event: RequestReceived) -> None:
        number: int = event.stream_id
        if self._going:
            self._send(lambda: self._h2.reset_stream(number, ErrorCodes.REFUSED_STREAM))
            return
        self._last, self._deadline = number, time.monotonic() + IDLE_S
        headers: dict[bytes, bytes] = {bytes(name): bytes(value) for name, value in event.headers}
        limits, now = self.server.limits, time.monotonic()
        length = headers.get(b"content-length", b"")
        expected = int(length) if length.isdigit() else limits.max_body_bytes
        path = headers.pop(b":path", b"/").partition(b"?")[0].decode("latin-1")
        deadline = now + limits.header_timeout_s + min(expected, limits.max_body_bytes) / MIN_BODY_RATE
        stream = self._streams[number] = Stream(number, headers.pop(b":method", b""), path, headers, now, deadline)
        if length.isdigit() and expected > limits.max_body_bytes:
            self._too_large(stream, expected)
        elif headers.get(b"expect", b"").lower() == b"100-continue":
            self._send(lambda: self._h2.send_headers(number, [(b":status", b"100")]))

    def _data(self, event: DataReceived) -> None:
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.get(event.stream_id) or self._unread.get(event.stream_id)
        if stream is None:
            return
        data = bytes(event.data or b"")
        stream.size += len(data)
        if stream.ended:
            if stream.size > 2 * self.server.limits.max_body_bytes:
                self._stop_reading(stream)
            return
        if stream.size > self.server.limits.max_body_bytes:
            stream.body.clear()
            self._too_large(stream, stream.size)
        else:
            stream.body.append(data)

    def _complete(self, event: StreamEnded) -> None:
        self._unread.pop(event.stream_id, None)
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        stream.read = True
        if stream.ended:
            return
        head, deadline = Head(stream.method, stream.path, stream.headers), stream.began + self.server.limits.request_timeout_s
        exchange = Exchange(self, head, b"".join(stream.body), stream.began, deadline)
        stream.body.clear()
        exchange.stream, stream.exchange = stream.number, exchange
        self.server.handler(exchange)

    def _reset(self, event: StreamReset) -> None:
        stream = self._streams.pop(event.stream_id, None)
        self._unread.pop(event.stream_id, None)
        self._resets += 1
        if stream is not None:
            _gone(stream)
        if self._resets > MAX_RESETS and self._resets > self._answers:
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._flush()
            self._transport.close()

    def _window(self, event: Any) -> None:  # noqa: ARG002 - any stream may have room now
        for stream in list(self._streams.values()):
            if stream.waiting or stream.ended:
                self._pump(stream)

    def _too_large(self, stream: Stream, size: int) -> None:
        limit = self.server.limits.max_body_bytes
        self._refuse(stream, 413, f"The request body has {size} bytes or more; the limit is {limit}", "body_too_large")

    def _refuse(self, stream: Stream, status: int, message: str, code: str) -> None:
        self.server.on_refused(status)
        body = error_body(status, message, code)
        head = [(b":status", b"%d" % status), (b"content-type", JSON), (b"content-length", b"%d" % len(body))]
        if self._send(lambda: self._h2.send_headers(stream.number, head)):
            stream.waiting += body
            stream.ended = True
            self._pump(stream)
        self._flush()

    def _pump(self, stream: Stream) -> None:
        """Gives the client as much as its windows and its socket take."""
        while stream.waiting and not self._paused:
            try:
                room = min(self._h2.local_flow_control_window(stream.number), self._h2.max_outbound_frame_size, len(stream.waiting))
                if room <= 0:
                    break
                last = stream.ended and room == len(stream.waiting) and not stream.trailer
                self._h2.send_data(stream.number, bytes(stream.waiting[:room]), end_stream=last)
            except H2Error:
                self._forget(stream)
                return
            del stream.waiting[:room]
            if last:
                self._forget(stream)
                return
        if stream.ended and not stream.waiting:
            self._send(lambda: self._finish(stream))
            self._forget(stream)
        elif (full := len(stream.waiting) >= HIGH_WATER or self._paused) != stream.full:
            stream.full = full
            if stream.exchange is not None and stream.exchange.on_writable is not None:
                stream.exchange.on_writable(not full)

    def _finish(self, stream: Stream) -> None:
        if stream.trailer:
            self._h2.send_headers(stream.number, _pairs(stream.trailer), end_stream=True)
        else:
            self._h2.end_stream(stream.number)

    def _forget(self, stream: Stream) -> None:
        if self._streams.pop(stream.number, None) is None:
            return
        self._answers, self._deadline = self._answers + 1, time.monotonic() + IDLE_S
        if not stream.read:
            self._unread[stream.number] = stream
        if self._going and not self._streams:
            self._batching = False
            self._flush()
            self.drain()

    def _stop_reading(self, stream: Stream) -> None:
        if self._unread.pop(stream.number, None) is not None:
            self._send(lambda: self._h2.reset_stream(stream.number, ErrorCodes.NO_ERROR))
            self._flush()

    def _send(self, act: Callable[[], None]) -> bool:
        """False when the stream or the connection is closed already: nobody is left to hear of it."""
        try:
            act()
        except H2Error:
            return False
        return True

    def _flush(self) -> None:
        if not self._batching and not self._transport.is_closing():
            data = self._h2.data_to_send()
            if data:
                self._transport.write(data)


def _pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines as pairs; what speaks of an HTTP/1 connection has no place here."""
    found = []
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.lower() not in (b"connection", b"transfer-encoding", b"keep-alive"):
            found.append((name.lower(), value.strip()))
    return found


def _gone(stream: Stream) -> None:
    exchange = stream.exchange
    if exchange is not None and not exchange.finished:
        exchange.finished = True
        if exchange.on_gone is not None:
            exchange.on_gone()
