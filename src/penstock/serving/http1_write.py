"""HTTP/1.1 answers as bytes, whole or in chunks; which of them is the last on its connection is settled here."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Protocol

from penstock.serving.exchange import JSON, Exchange, Listener

STATUS = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}


class Order(Protocol):
    """The connection, which knows whose turn it is."""

    def waits(self) -> bool:
        """Another answer is to be given."""
        ...

    def answered(self, exchange: Exchange) -> None: ...


class Writer:
    """The Wire of one connection's exchanges, which are answered one at a time. `eof`: its client sends nothing more."""

    def __init__(self, server: Listener, order: Order) -> None:
        self.server, self._order = server, order
        self.peer = ""
        self.paused = self.eof = False
        self._transport: Any = None

    def use(self, transport: Any) -> None:
        self._transport = transport
        address = transport.get_extra_info("peername")
        self.peer = address[0] if address else ""

    def go_on(self) -> None:
        """Tells the client to send the body that it holds back."""
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def reply(self, exchange: Exchange, status: int, body: bytes, headers: bytes, kind: bytes) -> None:
        plain = exchange.keep_alive and exchange.head.version_1_1 and not self.eof and not self.server.draining
        more = headers if plain else headers + self._persistence(exchange)
        sent = body if exchange.method != b"HEAD" else b""
        self._transport.write(b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (STATUS[status], kind, len(body), more, sent))
        self._order.answered(exchange)

    def start(self, exchange: Exchange, status: int, headers: bytes, kind: bytes) -> None:
        if exchange.head.version_1_1:
            framing = b"transfer-encoding: chunked\r\n" + self._persistence(exchange)
        else:
            exchange.keep_alive, framing = False, b"connection: close\r\n"
        self._transport.write(b"%bcontent-type: %b\r\ncache-control: no-cache\r\n%b%b\r\n" % (STATUS[status], kind, headers, framing))

    def write(self, exchange: Exchange, data: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if exchange.head.version_1_1 else data)

    def end(self, exchange: Exchange, trailer: bytes) -> None:
        if exchange.head.version_1_1:
            self._transport.write(b"0\r\n%b\r\n" % trailer)
        self._order.answered(exchange)

    def cut(self, exchange: Exchange) -> None:
        exchange.keep_alive = False
        self._order.answered(exchange)

    def writable(self, exchange: Exchange) -> bool:  # noqa: ARG002 - one exchange at a time
        return not self.paused

    def _persistence(self, exchange: Exchange) -> bytes:
        if self.server.draining or (self.eof and not self._order.waits()):
            exchange.keep_alive = False  # the last answer on this connection
        if not exchange.keep_alive:
            return b"connection: close\r\n"
        return b"" if exchange.head.version_1_1 else b"connection: keep-alive\r\n"


def refusal(status: int, body: bytes) -> bytes:
    """The answer to what was no request."""
    return b"%bcontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (STATUS[status], JSON, len(body), body)
