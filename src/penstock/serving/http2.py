"""HTTP/2 (RFC 9113) over h2: many exchanges at once on one socket, each with its own flow control.

A connection comes here by ALPN (TLS) or because it began with the HTTP/2 preface. Reading is http2_read.py's, writing http2_write.py's.
Refused here: heads over 64 KiB, more than 128 streams at once, and clients that reset streams faster than they let them be answered
(CVE-2023-44487). Not covered: server push, priorities, extended CONNECT.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from penstock.serving.exchange import MAX_HEAD_BYTES, Listener
from penstock.serving.http2_read import Reader
from penstock.serving.http2_streams import Streams
from penstock.serving.http2_write import Writer

MAX_STREAMS, MAX_RESETS = 128, 100
WINDOW = 1 << 20
SETTINGS = {
    SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES,
    SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
    SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
}


class Connection(asyncio.Protocol):
    """One client socket."""

    def __init__(self, server: Listener) -> None:
        self.server = server
        self._transport: Any = None
        self._h2: Any = H2Connection(config=H2Configuration(client_side=False, header_encoding=None))
        self._streams = Streams(self._emptied)
        self._writer = Writer(self._h2, self._streams)
        self._reader = Reader(server, self._h2, self._streams, self._writer)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._writer.use(transport)
        self.server.connections.add(self)
        self._streams.deadline = time.monotonic() + self.server.limits.header_timeout_s
        # Put in before the first SETTINGS frame, which tells them all: a change sent earlier would be told back by it.
        self._h2.local_settings = Settings(client=False, initial_values=SETTINGS)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW)
        self._writer.flush()

    def data_received(self, data: bytes) -> None:
        self._writer.batching, broken = True, False
        try:
            for event in self._h2.receive_data(data):
                if isinstance(event, ConnectionTerminated):
                    self._transport.close()
                    continue
                self._reader.take(event)
                if self._reader.resets > MAX_RESETS and self._reader.resets > self._streams.answers:
                    self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                    broken = True
                    break
        except H2Error:
            broken = True  # h2 has put the GOAWAY with the fitting code into what is to be sent
        self._writer.batching = False
        self._writer.flush()
        if broken:
            self._transport.close()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self.server.connections.discard(self)
        streams = list(self._streams.open.values())
        self._streams.open.clear()
        for stream in streams:
            stream.gone()

    def pause_writing(self) -> None:
        self._writer.paused = True

    def resume_writing(self) -> None:
        self._writer.paused = False
        self._reader.more_room()
        self._writer.flush()

    def abort(self) -> None:
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Called by the server some times a second."""
        for stream in list(self._streams.open.values()):
            exchange = stream.exchange
            if exchange is not None and now > exchange.deadline:
                if exchange.finished:
                    self._writer.cut(exchange)  # answered, but the client takes nothing
                else:
                    self.server.on_timeout(exchange)
        self._reader.sweep(now)
        if not self._streams.open and now > self._streams.deadline:
            self.drain()

    def drain(self) -> None:
        """Serves no further stream; closes once those that run are answered. GOAWAY only then: some clients give up all streams at it."""
        self._streams.going = True
        if not self._streams.open:
            self._transport.write(GoAwayFrame(stream_id=0, last_stream_id=self._streams.last).serialize())
            self._transport.close()

    def _emptied(self) -> None:
        self._writer.batching = False
        self._writer.flush()
        self.drain()
