"""The protocol against any cut of valid bytes and against any bytes at all."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.exchange import Exchange
from penstock.serving.http1 import Connection
from penstock.serving.server import HttpServer
from penstock.serving.snapshot import Limits


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written, self.closing, self.reading = b"", False, True

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def answers(pieces: list[bytes], later: bool = False) -> tuple[bytes, int, list[tuple[str, bytes]]]:
    """What came back, how many requests were refused by the protocol, and what the handler saw. `later`: it answers after each piece."""

    async def scenario() -> tuple[bytes, int, list[tuple[str, bytes]]]:
        seen: list[tuple[str, bytes]] = []
        open_exchanges: list[Exchange] = []
        refused: list[int] = []

        def handler(exchange: Exchange) -> None:
            seen.append((exchange.path, exchange.body))
            open_exchanges.append(exchange)
            if not later:
                answer()

        def answer() -> None:
            while open_exchanges:
                exchange = open_exchanges.pop(0)
                exchange.reply(200, b"%b %b" % (exchange.path.encode("latin-1"), exchange.body))

        server = HttpServer(handler, on_timeout=lambda _: None, on_refused=refused.append, limits=Limits(max_body_bytes=1000))
        connection, wire = Connection(server), Wire()
        connection.connection_made(wire)  # type: ignore[arg-type]
        for piece in pieces:
            if wire.closing:
                break
            connection.data_received(piece)
            answer()
        return wire.written, len(refused), seen

    return asyncio.run(scenario())


BODIES = st.binary(max_size=60)
PATHS = st.from_regex(r"/[a-z]{0,8}(\?[a-z]{0,4})?", fullmatch=True)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    path, body = draw(PATHS).encode(), draw(BODIES)
    if draw(st.booleans()):
        return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path, len(body), body)
    size = draw(st.integers(1, 7))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[i : i + size] for i in range(0, len(body), size)))
    return b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%b0\r\n\r\n" % (path, chunks)


@given(st.lists(requests(), min_size=1, max_size=12), st.data(), st.booleans())
def test_how_the_bytes_are_cut_does_not_matter(sent: list[bytes], data: st.DataObject, later: bool) -> None:
    whole = b"".join(sent)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=20)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]
    expected = answers([whole])
    assert len(expected[2]) == len(sent)
    assert expected[0].count(b"HTTP/1.1 200 OK") >= len(sent)
    assert answers(pieces, later) == expected


@given(st.lists(requests(), max_size=3), st.binary(min_size=1, max_size=300))
def test_any_bytes_are_answered_or_awaited_and_never_raise(first: list[bytes], noise: bytes) -> None:
    written, refused, seen = answers([*first, noise])
    assert len(seen) >= len(first)
    assert written.count(b"HTTP/1.1 ") >= len(seen) + refused
    assert refused <= 1
