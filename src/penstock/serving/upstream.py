"""Persistent connections from the gateway to one replica, with a bounded queue.

A Call is told what happens to it: `on_head`, `on_more`, `on_end`, or `on_lost` when the connection failed; of what came in one piece, once.
Nothing is retried here.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Protocol

import httptools

from penstock.serving.circuit import Circuit
from penstock.serving.snapshot import ReplicaRoute

MAX_CONNECTIONS, MAX_QUEUE = 256, 1024  # per replica
CONNECT_TIMEOUT_S = 2.0


class Call(Protocol):
    """One request on its way to a replica. `connection` is set while it is being served, by Replica alone.

    Pieces of the answer's body are put into `parts`, and their sizes added to `size`, before the call is told of them.
    """

    payload: bytes
    connection: Connection | None
    cancelled: bool
    parts: list[bytes]
    size: int

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None: ...

    def on_more(self) -> None:
        """There are new parts, and the answer goes on."""
        ...

    def on_end(self, headers: dict[bytes, bytes], now: float) -> None:
        """The answer is whole; `headers` now hold the trailers too."""
        ...

    def on_lost(self, reason: str) -> None: ...


class Connection(asyncio.Protocol):
    """One socket to a replica; one call at a time."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.call: Call | None = None
        self.lost = False
        self._transport: Any = None
        self._parser: Any = None
        self._headers: dict[bytes, bytes] = {}
        self._begun = self._complete = self._keep = self._heard = self._used = False
        self._broken, self._status = "", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.replica.connections.add(self)
        self._parser = httptools.HttpResponseParser(self)

    def send(self, call: Call) -> None:
        self.call, call.connection, self._heard = call, self, False
        self._transport.write(call.payload)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._broken = f"its answer is not HTTP ({type(error).__name__})"
            self.abort()
            return
        call = self.call
        if self._begun:
            self._begun = False
            if call is not None:
                call.on_head(self._status, self._headers)
                call = self.call  # it may have been given up
        if self._complete:
            self._finish()
        elif call is not None and call.parts:
            call.on_more()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.replica.closed(self)
        call, self.call = self.call, None
        if call is not None:
            call.connection = None
            if self._used and not self._heard:  # closed while it lay idle, most likely: that says nothing about the replica
                self.replica.connect(call)
            else:
                self.replica.lost(call, self._broken or (str(exc) if exc else "the replica closed the connection"))
        self.replica.pump()

    def on_message_begin(self) -> None:
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._status, self._begun = self._parser.get_status_code(), True

    def on_body(self, data: bytes) -> None:
        call = self.call
        if call is not None:
            call.parts.append(data)
            call.size += len(data)

    def on_message_complete(self) -> None:
        self._complete = True
        self._keep = self._parser.should_keep_alive()  # only here: the parser forgets it once the message is over

    def pause(self, paused: bool) -> None:
        """Stops reading from the replica while the client's socket is full."""
        if not self._transport.is_closing():
            self._transport.pause_reading() if paused else self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()

    def _finish(self) -> None:
        call, self.call, self._complete, self._used = self.call, None, False, True
        if call is not None:
            call.connection, now = None, time.monotonic()
            self.replica.answered(call, self._status, now)
            call.on_end(self._headers, now)
        if self._keep and not self._transport.is_closing():
            self.replica.release(self)
        else:
            self._transport.close()


class Replica:
    """One replica as the gateway sees it: its connections, its queue, its health as far as calls have shown it.

    `load` counts calls from `submit` to their end: being served, connected for, or waiting here.
    """

    def __init__(self, route: ReplicaRoute) -> None:
        self.route = route
        self.header = b"x-penstock-replica: %b\r\n" % route.id.encode()
        self.connections: set[Connection] = set()
        self.circuit = Circuit(time.monotonic())
        self.load = 0
        self.retired = False
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._queue: deque[Call] = deque()
        self._opening = 0
        self._probe: Call | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def queued(self) -> int:
        return len(self._queue)

    def submit(self, call: Call, now: float) -> bool:
        """Sends, connects or queues; False when the queue is full."""
        if self._idle:
            self._idle.pop().send(call)
        elif len(self.connections) + self._opening < MAX_CONNECTIONS:
            self.connect(call)
        elif len(self._queue) < MAX_QUEUE:
            self._queue.append(call)
        else:
            return False
        self.load += 1
        if self.circuit.opened and self.circuit.begin(now):
            self._probe = call
        return True

    def connect(self, call: Call) -> None:
        """Sends over a connection of its own."""
        self._opening += 1
        task = self._loop.create_task(self._connect(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self, call: Call, hung: bool = False) -> None:
        """Forgets a call that is not over; one that is being served takes its connection with it, so that the replica stops.

        `hung`: it was silent for too long, which is a failure.
        """
        call.cancelled = True
        self.load -= 1
        if hung:
            self.circuit.failed(time.monotonic(), hard=True)
        elif call is self._probe:
            self.circuit.abandoned()
        if call is self._probe:
            self._probe = None
        connection = call.connection
        if connection is not None:
            connection.call, call.connection = None, None
            connection.abort()
        elif call in self._queue:
            self._queue.remove(call)

    def answered(self, call: Call, status: int, now: float) -> None:
        """A call came to its end."""
        self.load -= 1
        if call is self._probe:
            self._probe = None
        if status < 500:
            self.circuit.succeeded(now)
        else:
            self.circuit.failed(now, hard=False)

    def lost(self, call: Call, reason: str) -> None:
        """A call came to no end."""
        self.load -= 1
        if call is self._probe:
            self._probe = None
        self.circuit.failed(time.monotonic(), hard=True)
        call.on_lost(reason)

    def release(self, connection: Connection) -> None:
        if self._queue:
            connection.send(self._queue.popleft())
        elif self.retired:
            connection.close()
        else:
            self._idle.append(connection)

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def pump(self) -> None:
        """Gives what waits to connections that may now be opened."""
        while self._queue and len(self.connections) + self._opening < MAX_CONNECTIONS:
            self.connect(self._queue.popleft())

    def retire(self) -> None:
        """Gone from the snapshot: what is in flight finishes, nothing is kept open."""
        self.retired = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connect(self, call: Call) -> None:
        reason = ""
        try:
            opening = self._loop.create_connection(lambda: Connection(self), self.route.host, self.route.port)
            _, connection = await asyncio.wait_for(opening, CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            reason = f"no connection: {error or 'timeout'}"
        self._opening -= 1
        if not reason and connection.lost:
            reason = "the connection was lost as soon as it was made"  # before this task came to run: nobody else would tell the call
        if not reason:
            self.release(connection) if call.cancelled else connection.send(call)
            return
        if not call.cancelled:
            self.lost(call, reason)
        self.pump()
