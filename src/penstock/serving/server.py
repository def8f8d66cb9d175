"""Listens for clients: accepts, sweeps timeouts, drains. HTTP/1.1 and, by ALPN or prior knowledge, HTTP/2; TLS when given a context."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from penstock.serving.exchange import Exchange
from penstock.serving.http1 import Connection
from penstock.serving.snapshot import Limits

SWEEP_S = 0.1


class HttpServer:
    """Listens, sweeps timeouts, drains. `handler(exchange)` must not raise and must not block."""

    def __init__(
        self,
        handler: Callable[[Exchange], None],
        *,
        on_timeout: Callable[[Exchange], None],
        on_refused: Callable[[int], None],
        limits: Limits,
    ) -> None:
        self.handler, self.on_timeout, self.on_refused, self.limits = handler, on_timeout, on_refused, limits
        self.loop = asyncio.get_running_loop()
        self.connections: set[Any] = set()  # of http1.Connection and http2.Connection
        self.draining = False
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def adopt(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Starts to accept on a socket that listens already; with `tls`, nothing else is understood."""
        more: dict[str, Any] = {} if tls is None else {"ssl": tls, "ssl_handshake_timeout": self.limits.header_timeout_s}
        self._server = await self.loop.create_server(lambda: Connection(self), sock=listener, backlog=2048, **more)
        self._sweep()

    async def drain(self, within_s: float) -> bool:
        """Stops accepting and waits for what is in flight; False when time ran out and connections were cut."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drain()
        end = self.loop.time() + within_s
        while self.connections and self.loop.time() < end:
            await asyncio.sleep(0.02)
        clean = not self.connections
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        return clean

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self.connections):
            connection.sweep(now)
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
