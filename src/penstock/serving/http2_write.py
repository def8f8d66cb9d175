"""HTTP/2 answers: frames of h2, as far as the client's windows and its socket take them; what has no room waits with its stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from h2.errors import ErrorCodes
from h2.exceptions import H2Error

from penstock.serving.exchange import JSON, Exchange
from penstock.serving.http2_streams import Stream, Streams

HIGH_WATER = 64 << 10  # bytes of one stream that wait for the client's window


class Writer:
    """The Wire of one connection's exchanges, whose `stream` is the number of their stream.

    `paused`: the socket is full. `batching`: what is to be sent is collected until `flush` after the last of several events.
    """

    def __init__(self, h2: Any, streams: Streams) -> None:
        self.peer = ""
        self.paused = self.batching = False
        self._h2, self._streams = h2, streams
        self._transport: Any = None

    def use(self, transport: Any) -> None:
        self._transport = transport
        address = transport.get_extra_info("peername")
        self.peer = address[0] if address else ""

    def reply(self, exchange: Exchange, status: int, body: bytes, headers: bytes, kind: bytes) -> None:
        stream = self._streams.open.get(exchange.stream)
        exchange.finished = True
        if stream is None:
            return
        bare = exchange.method == b"HEAD" or not body
        self._whole(stream, status, kind, len(body), headers, b"" if bare else body)

    def start(self, exchange: Exchange, status: int, headers: bytes, kind: bytes) -> None:
        head = [(b":status", b"%d" % status), (b"content-type", kind), (b"cache-control", b"no-cache"), *_pairs(headers)]
        self.send(lambda: self._h2.send_headers(exchange.stream, head))
        self.flush()

    def write(self, exchange: Exchange, data: bytes) -> None:
        stream = self._streams.open.get(exchange.stream)
        if stream is not None:
            stream.waiting += data
            self.pump(stream)
            self.flush()

    def end(self, exchange: Exchange, trailer: bytes) -> None:
        exchange.finished = True
        stream = self._streams.open.get(exchange.stream)
        if stream is not None:
            stream.ended, stream.trailer = True, trailer
            self.pump(stream)
            self.flush()

    def cut(self, exchange: Exchange) -> None:
        exchange.finished = True
        stream = self._streams.open.get(exchange.stream)
        if stream is not None:
            self.reset(stream.number, ErrorCodes.INTERNAL_ERROR)
            self._streams.close(stream)
            self.flush()

    def writable(self, exchange: Exchange) -> bool:
        stream = self._streams.open.get(exchange.stream)
        return not self.paused and (stream is None or len(stream.waiting) < HIGH_WATER)

    def refuse(self, stream: Stream, status: int, body: bytes) -> None:
        """Answers what never became an exchange."""
        self._whole(stream, status, JSON, len(body), b"", body)

    def reset(self, number: int, code: ErrorCodes) -> None:
        self.send(lambda: self._h2.reset_stream(number, code))

    def pump(self, stream: Stream) -> None:
        """Gives the client as much as its windows and its socket take."""
        while stream.waiting and not self.paused:
            try:
                room = min(self._h2.local_flow_control_window(stream.number), self._h2.max_outbound_frame_size, len(stream.waiting))
                if room <= 0:
                    break
                last = stream.ended and room == len(stream.waiting) and not stream.trailer
                self._h2.send_data(stream.number, bytes(stream.waiting[:room]), end_stream=last)
            except H2Error:
                self._streams.close(stream)
                return
            del stream.waiting[:room]
            if last:
                self._streams.close(stream)
                return
        if stream.ended and not stream.waiting:
            self.send(lambda: self._finish(stream))
            self._streams.close(stream)
        elif (full := len(stream.waiting) >= HIGH_WATER or self.paused) != stream.full:
            stream.full = full
            if stream.exchange is not None and stream.exchange.on_writable is not None:
                stream.exchange.on_writable(not full)

    def send(self, act: Callable[[], None]) -> bool:
        """False when the stream or the connection is closed already: nobody is left to hear of it."""
        try:
            act()
        except H2Error:
            return False
        return True

    def flush(self) -> None:
        if not self.batching and not self._transport.is_closing():
            data = self._h2.data_to_send()
            if data:
                self._transport.write(data)

    def _whole(self, stream: Stream, status: int, kind: bytes, size: int, headers: bytes, body: bytes) -> None:
        head = [(b":status", b"%d" % status), (b"content-type", kind), (b"content-length", b"%d" % size), *_pairs(headers)]
        if self.send(lambda: self._h2.send_headers(stream.number, head, end_stream=not body)):
            if not body:
                self._streams.close(stream)
            else:
                stream.waiting += body
                stream.ended = True
                self.pump(stream)
        self.flush()

    def _finish(self, stream: Stream) -> None:
        if stream.trailer:
            self._h2.send_headers(stream.number, _pairs(stream.trailer), end_stream=True)
        else:
            self._h2.end_stream(stream.number)


def _pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines as pairs; what speaks of an HTTP/1 connection has no place here."""
    found = []
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.lower() not in (b"connection", b"transfer-encoding", b"keep-alive"):
            found.append((name.lower(), value.strip()))
    return found
