"""A lean HTTP/1.1 client for many requests at once: kept connections, a bound on them, server-sent events seen as they come.

Callbacks, not coroutines, on the path of a request: a load test must cost less than what it tests. `Client.ask` is a coroutine.
Nothing is retried here. Not covered: HTTP/2, redirects, bodies that only the end of the connection ends.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from penstock.core.errors import BadInput

ANSWER_LIMIT = 64 << 20  # bytes of one whole answer that is kept
CLOSE_S = 2.0


class Call:
    """One request on its way: a subclass gets `on_head`, `on_body`, then `on_end`, or `on_lost` when no whole answer came.

    `kind` of a loss: "connect", "timeout", "reset" (nothing came), "mid-stream" (a part came), "protocol" (no HTTP).
    """

    __slots__ = ("connection", "data", "started", "timer")

    def __init__(self, data: bytes) -> None:
        self.data, self.started = data, False
        self.connection: Connection | None = None
        self.timer: asyncio.TimerHandle | None = None

    def on_sent(self) -> None: ...

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_lost(self, kind: str, message: str) -> None: ...


class Connection(asyncio.Protocol):
    """One kept connection, one call at a time."""

    __slots__ = ("_call", "_headers", "_parser", "_pool", "_transport")

    def __init__(self, pool: Client) -> None:
        self._pool = pool
        self._call: Call | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance

    def send(self, call: Call) -> None:
        assert self._transport is not None
        self._call, call.connection = call, self
        self._transport.write(call.data)
        call.on_sent()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.give_up("protocol", f"what came is not HTTP: {error}")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers, self._headers = self._headers, []
        if self._call is not None:
            self._call.started = True
            self._call.on_head(self._parser.get_status_code(), headers)

    def on_body(self, data: bytes) -> None:
        if self._call is not None:
            self._call.on_body(data)

    def on_message_complete(self) -> None:
        call, self._call = self._call, None
        keeps = self._parser.should_keep_alive()
        if call is None:
            return
        call.connection = None
        if not keeps and self._transport is not None:
            self._transport.close()
        self._pool.done(self, call, keeps)
        call.on_end()

    def give_up(self, kind: str, message: str) -> None:
        """Ends the connection and its call."""
        call, self._call = self._call, None
        if self._transport is not None:
            self._transport.abort()
        self._pool.closed(self)
        if call is not None:
            call.connection = None
            self._pool.lost(call, kind, message)

    def connection_lost(self, exc: Exception | None) -> None:
        call, self._call = self._call, None
        self._pool.closed(self)
        if call is not None:
            call.connection = None
            kind = "mid-stream" if call.started else "reset"
            self._pool.lost(call, kind, f"the connection ended: {exc or 'closed by the server'}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. `base`: the path that stands before every route."""

    host: str
    port: int
    secure: bool
    base: str = ""

    @classmethod
    def of(cls, url: str) -> Address:
        """Raises BadInput for anything but http:// and https:// URLs."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"{url!r} is not an http:// or https:// address", remedy="Write it like http://127.0.0.1:8080.")
        secure = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if secure else 80), secure, parts.path.rstrip("/"))

    def request(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str = "POST") -> bytes:
        """The bytes of a request; a body is JSON. Raises BadInput for a header that holds a line break."""
        lines = [f"{method} {self.base}{path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        for name, value in (headers or {}).items():
            if any(c in "\r\n\0" or ord(c) > 255 for c in name + value):
                raise BadInput(f"the header {name!r} holds a character that no header may hold")
            lines.append(f"{name}: {value}")
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


class Client:
    """Calls to one address over at most `connections` kept connections; calls beyond them wait in order.

    `waited` counts calls that found no free connection. Use within one event loop; `close` when done.
    """

    def __init__(self, address: Address, *, connections: int = 256, timeout_s: float = 120.0) -> None:
        self.address, self._limit, self.timeout_s = address, connections, timeout_s
        self._free: list[Connection] = []
        self._every: set[Connection] = set()
        self._waiting: deque[Call] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._ssl = ssl.create_default_context() if address.secure else None
        self._closed = False
        self.waited = 0
        self.in_flight = 0

    @property
    def open(self) -> int:
        return len(self._every) + len(self._connecting)

    def submit(self, call: Call) -> None:
        """Sends now, or as soon as a connection is free."""
        self.in_flight += 1
        call.timer = self._loop.call_later(self.timeout_s, self._timed_out, call)
        if self._free:
            self._free.pop().send(call)
            return
        self._waiting.append(call)
        if self.open < self._limit:
            self._connect()
        else:
            self.waited += 1

    def cancel(self, call: Call, kind: str, message: str) -> None:
        """Ends a call that nobody waits for; its connection is given up."""
        if call.connection is not None:
            call.connection.give_up(kind, message)
        elif call in self._waiting:
            self._waiting.remove(call)
            self.lost(call, kind, message)

    async def ask(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str = "POST") -> Reply:
        """One request and its whole answer. Raises Lost when none came."""
        call = _Asked(self.address.request(path, body, headers, method), self._loop)
        self.submit(call)
        try:
            return await call.future
        except asyncio.CancelledError:
            self.cancel(call, "reset", "given up")
            raise

    def abandon(self, kind: str, message: str) -> None:
        """Ends every call that is on its way; what waits is never sent."""
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self.lost(call, kind, message)
        for connection in [each for each in self._every if each not in self._free]:
            connection.give_up(kind, message)

    async def close(self) -> None:
        """Ends what is on its way and waits until every connection is closed."""
        self._closed = True
        for task in self._connecting:
            task.cancel()
        self.abandon("reset", "the client was closed")
        for connection in list(self._every):
            connection.close()
        end = self._loop.time() + CLOSE_S
        while (self._every or self._connecting) and self._loop.time() < end:
            await asyncio.sleep(0.001)

    def done(self, connection: Connection, call: Call, keeps: bool) -> None:
        self._settle(call)
        if not keeps:
            self._every.discard(connection)
            self._refill()
        elif self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._free.append(connection)

    def closed(self, connection: Connection) -> None:
        if connection in self._every:
            self._every.discard(connection)
            if connection in self._free:
                self._free.remove(connection)
            self._refill()

    def lost(self, call: Call, kind: str, message: str) -> None:
        self._settle(call)
        call.on_lost(kind, message)

    def _settle(self, call: Call) -> None:
        self.in_flight -= 1
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None

    def _refill(self) -> None:
        if not self._closed and len(self._waiting) > len(self._connecting) and self.open < self._limit:
            self._connect()

    def _connect(self) -> None:
        task = self._loop.create_task(self._open())
        self._connecting.add(task)
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        self._refill()

    async def _open(self) -> None:
        place = self.address
        try:
            _, connection = await self._loop.create_connection(lambda: Connection(self), place.host, place.port, ssl=self._ssl)
        except OSError as error:
            if self._waiting:  # one failed connection answers for one call: the others may have better luck
                self.lost(self._waiting.popleft(), "connect", f"no connection to {place.host}:{place.port}: {error}")
            return
        if self._closed:
            connection.close()
            return
        self._every.add(connection)
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._free.append(connection)

    def _timed_out(self, call: Call) -> None:
        call.timer = None
        self.cancel(call, "timeout", f"no whole answer within {self.timeout_s:g} s")


class Lost(Exception):
    """No whole answer came; `kind` as in Call."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    seconds: float


class _Asked(Call):
    """A call that a coroutine waits for."""

    __slots__ = ("_began", "_body", "_headers", "_status", "future")

    def __init__(self, data: bytes, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(data)
        self.future: asyncio.Future[Reply] = loop.create_future()
        self._began = time.monotonic()
        self._body = bytearray()
        self._status, self._headers = 0, {}  # type: int, dict[bytes, bytes]

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status, self._headers = status, dict(headers)

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > ANSWER_LIMIT and self.connection is not None:
            self.connection.give_up("protocol", f"the answer is larger than {ANSWER_LIMIT >> 20} MiB")

    def on_end(self) -> None:
        if not self.future.done():
            self.future.set_result(Reply(self._status, self._headers, bytes(self._body), time.monotonic() - self._began))

    def on_lost(self, kind: str, message: str) -> None:
        if not self.future.done():
            self.future.set_exception(Lost(kind, message))
