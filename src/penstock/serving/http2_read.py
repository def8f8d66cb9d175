"""HTTP/2 requests out of h2's events; limits are held here: bodies over the limit, before they are read (413), and slow ones (408)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from h2.errors import ErrorCodes
from h2.events import DataReceived, RemoteSettingsChanged, RequestReceived, StreamEnded, StreamReset, WindowUpdated

from penstock.serving.errors import error_body
from penstock.serving.exchange import MIN_BODY_RATE, Exchange, Listener
from penstock.serving.heads import Head
from penstock.serving.http2_streams import Stream, Streams
from penstock.serving.http2_write import Writer


class Reader:
    """Of one connection. `resets`: streams that the client took back."""

    def __init__(self, server: Listener, h2: Any, streams: Streams, writer: Writer) -> None:
        self.server, self._h2, self._streams, self._writer = server, h2, streams, writer
        self.resets = 0
        self._acts: dict[type, Callable[[Any], None]] = {
            RequestReceived: self._request,
            DataReceived: self._data,
            StreamEnded: self._complete,
            StreamReset: self._reset,
            WindowUpdated: self.more_room,
            RemoteSettingsChanged: self.more_room,
        }

    def take(self, event: Any) -> None:
        act = self._acts.get(type(event))
        if act is not None:
            act(event)

    def sweep(self, now: float) -> None:
        """Refuses bodies that are late, and stops to read those that nobody waits for."""
        for stream in list(self._streams.open.values()):
            if stream.exchange is None and now > stream.deadline:
                self._refuse(stream, 408, "The request's body did not arrive in time", "request_timeout")
        for stream in [stream for stream in self._streams.unread.values() if now > stream.deadline]:
            self._stop(stream)

    def more_room(self, event: Any = None) -> None:  # noqa: ARG002 - any stream may have room now
        for stream in list(self._streams.open.values()):
            if stream.waiting or stream.ended:
                self._writer.pump(stream)

    def _request(self, event: RequestReceived) -> None:
        number: int = event.stream_id
        if self._streams.going:
            self._writer.reset(number, ErrorCodes.REFUSED_STREAM)
            return
        headers: dict[bytes, bytes] = {bytes(name): bytes(value) for name, value in event.headers}
        limits, now = self.server.limits, time.monotonic()
        length = headers.get(b"content-length", b"")
        expected = int(length) if length.isdigit() else limits.max_body_bytes
        path = headers.pop(b":path", b"/").partition(b"?")[0].decode("latin-1")
        deadline = now + limits.header_timeout_s + min(expected, limits.max_body_bytes) / MIN_BODY_RATE
        stream = Stream(number, headers.pop(b":method", b""), path, headers, now, deadline)
        self._streams.add(stream)
        if length.isdigit() and expected > limits.max_body_bytes:
            self._too_large(stream, expected)
        elif headers.get(b"expect", b"").lower() == b"100-continue":
            self._writer.send(lambda: self._h2.send_headers(number, [(b":status", b"100")]))

    def _data(self, event: DataReceived) -> None:
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.open.get(event.stream_id) or self._streams.unread.get(event.stream_id)
        if stream is None:
            return
        data = bytes(event.data or b"")
        stream.size += len(data)
        if stream.ended:
            if stream.size > 2 * self.server.limits.max_body_bytes:
                self._stop(stream)
            return
        if stream.size > self.server.limits.max_body_bytes:
            stream.body.clear()
            self._too_large(stream, stream.size)
        else:
            stream.body.append(data)

    def _complete(self, event: StreamEnded) -> None:
        self._streams.unread.pop(event.stream_id, None)
        stream = self._streams.open.get(event.stream_id)
        if stream is None:
            return
        stream.read = True
        if stream.ended:
            return
        head, deadline = Head(stream.method, stream.path, stream.headers), stream.began + self.server.limits.request_timeout_s
        exchange = Exchange(self._writer, head, b"".join(stream.body), stream.began, deadline)
        stream.body.clear()
        exchange.stream, stream.exchange = stream.number, exchange
        self.server.handler(exchange)

    def _reset(self, event: StreamReset) -> None:
        stream = self._streams.open.pop(event.stream_id, None)
        self._streams.unread.pop(event.stream_id, None)
        self.resets += 1
        if stream is not None:
            stream.gone()

    def _too_large(self, stream: Stream, size: int) -> None:
        limit = self.server.limits.max_body_bytes
        self._refuse(stream, 413, f"The request body has {size} bytes or more; the limit is {limit}", "body_too_large")

    def _refuse(self, stream: Stream, status: int, message: str, code: str) -> None:
        self.server.on_refused(status)
        self._writer.refuse(stream, status, error_body(status, message, code))

    def _stop(self, stream: Stream) -> None:
        if self._streams.unread.pop(stream.number, None) is not None:
            self._writer.reset(stream.number, ErrorCodes.NO_ERROR)
            self._writer.flush()
