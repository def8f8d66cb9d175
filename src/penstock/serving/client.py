"""A lean HTTP/1.1 client for many requests at once: calls that wait in order for a kept connection (client_pool.py), each with its time.

`Client.submit` takes callbacks, `Client.ask` is a coroutine. Nothing is retried here. Not covered: HTTP/2, redirects, bodies that only the
end of the connection ends.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.serving.address import Address
from penstock.serving.client_pool import Call, Connection, Pool

ANSWER_LIMIT = 64 << 20  # bytes of one whole answer that is kept


class Client:
    """Calls to one address over at most `connections` kept connections; calls beyond them wait in order.

    `waited` counts calls that found no free connection. Use within one event loop; `close` when done.
    """

    def __init__(self, address: Address, *, connections: int = 256, timeout_s: float = 120.0) -> None:
        self.address, self.timeout_s = address, timeout_s
        self.waited = 0
        self.in_flight = 0
        self._pool = Pool(address, connections, self)
        self._waiting: deque[Call] = deque()
        self._loop = asyncio.get_running_loop()

    @property
    def open(self) -> int:
        return self._pool.open

    @property
    def waits(self) -> int:
        return len(self._waiting)

    def submit(self, call: Call) -> None:
        """Sends now, or as soon as a connection is free."""
        self.in_flight += 1
        call.timer = self._loop.call_later(self.timeout_s, self._timed_out, call)
        connection = self._pool.take()
        if connection is not None:
            connection.send(call)
            return
        self._waiting.append(call)
        if not self._pool.grow():
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
        for connection in self._pool.busy():
            connection.give_up(kind, message)

    async def close(self) -> None:
        """Ends what is on its way and waits until every connection is closed."""
        self._pool.closed = True
        self.abandon("reset", "the client was closed")
        await self._pool.close()

    def done(self, connection: Connection, call: Call, keeps: bool) -> None:
        self._settle(call)
        if keeps:
            self.ready(connection)
        else:
            self._pool.forget(connection)

    def ready(self, connection: Connection) -> None:
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._pool.keep(connection)

    def refused(self, message: str) -> None:
        if self._waiting:  # one failed connection answers for one call: the others may have better luck
            self.lost(self._waiting.popleft(), "connect", message)

    def lost(self, call: Call, kind: str, message: str) -> None:
        self._settle(call)
        call.on_lost(kind, message)

    def _settle(self, call: Call) -> None:
        self.in_flight -= 1
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None

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
