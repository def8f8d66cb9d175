"""Kept connections to one address, a bound on them, and one call at a time on each; server-sent events are seen as they come.

Callbacks, not coroutines, on the path of a request: a load test must cost less than what it tests. Nothing is retried here.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

import httptools

from penstock.serving.address import Address

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


class Owner(Protocol):
    """Whose calls are on the connections; client.Client is one."""

    @property
    def waits(self) -> int:
        """How many calls wait for a connection."""
        ...

    def done(self, connection: Connection, call: Call, keeps: bool) -> None:
        """The answer is whole. `keeps`: the connection may take another call."""
        ...

    def lost(self, call: Call, kind: str, message: str) -> None: ...

    def ready(self, connection: Connection) -> None:
        """A new connection is there."""
        ...

    def refused(self, message: str) -> None:
        """A new connection could not be made."""
        ...


class Connection(asyncio.Protocol):
    """One kept connection, one call at a time."""

    __slots__ = ("_call", "_headers", "_parser", "_pool", "_transport")

    def __init__(self, pool: Pool) -> None:
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
        self._pool.owner.done(self, call, keeps)
        call.on_end()

    def give_up(self, kind: str, message: str) -> None:
        """Ends the connection and its call."""
        call, self._call = self._call, None
        if self._transport is not None:
            self._transport.abort()
        self._pool.forget(self)
        if call is not None:
            call.connection = None
            self._pool.owner.lost(call, kind, message)

    def connection_lost(self, exc: Exception | None) -> None:
        call, self._call = self._call, None
        self._pool.forget(self)
        if call is not None:
            call.connection = None
            kind = "mid-stream" if call.started else "reset"
            self._pool.owner.lost(call, kind, f"the connection ended: {exc or 'closed by the server'}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Pool:
    """At most `limit` connections, made when calls wait for them."""

    def __init__(self, address: Address, limit: int, owner: Owner) -> None:
        self.address, self._limit, self.owner = address, limit, owner
        self.closed = False
        self._free: list[Connection] = []
        self._every: set[Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._ssl = ssl.create_default_context() if address.secure else None

    @property
    def open(self) -> int:
        return len(self._every) + len(self._connecting)

    def take(self) -> Connection | None:
        """One that is free."""
        return self._free.pop() if self._free else None

    def keep(self, connection: Connection) -> None:
        """It is free again."""
        self._free.append(connection)

    def busy(self) -> list[Connection]:
        return [each for each in self._every if each not in self._free]

    def forget(self, connection: Connection) -> None:
        """It is closed, or about to be; another one is made where calls wait."""
        if connection in self._every:
            self._every.discard(connection)
            if connection in self._free:
                self._free.remove(connection)
            self._refill()

    def grow(self) -> bool:
        """Makes one more; False when there are as many as there may be."""
        if self.open >= self._limit:
            return False
        task = self._loop.create_task(self._open())
        self._connecting.add(task)
        task.add_done_callback(self._opened)
        return True

    async def close(self) -> None:
        """Waits until every connection is closed."""
        self.closed = True
        for task in self._connecting:
            task.cancel()
        for connection in list(self._every):
            connection.close()
        end = self._loop.time() + CLOSE_S
        while (self._every or self._connecting) and self._loop.time() < end:
            await asyncio.sleep(0.001)

    def _refill(self) -> None:
        if not self.closed and self.owner.waits > len(self._connecting):
            self.grow()

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        self._refill()

    async def _open(self) -> None:
        place = self.address
        try:
            _, connection = await self._loop.create_connection(lambda: Connection(self), place.host, place.port, ssl=self._ssl)
        except OSError as error:
            self.owner.refused(f"no connection to {place.host}:{place.port}: {error}")
            return
        if self.closed:
            connection.close()
            return
        self._every.add(connection)
        self.owner.ready(connection)
