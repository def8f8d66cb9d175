"""A head that is known again means what it would mean if it were parsed again: held against a parser that never knows one."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.serving.exchange import Exchange
from penstock.serving.heads import Head, known
from penstock.serving.http1 import Connection
from penstock.serving.http1_read import PATIENCE, Reader
from penstock.serving.server import HttpServer
from penstock.serving.snapshot import Limits

Seen = tuple[bytes, str, tuple[tuple[bytes, bytes], ...], bytes, bool, bool]


class Transport:
    def __init__(self) -> None:
        self.written, self.closing = b"", False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


async def served(pieces: list[bytes], limit: int = 1000) -> tuple[list[Seen], bytes]:
    """What a handler saw of bytes that came in these pieces on one connection, and what was answered."""
    seen: list[Seen] = []

    def handler(exchange: Exchange) -> None:
        head = exchange.head
        headers = tuple(exchange.headers.items())
        seen.append((exchange.method, exchange.path, headers, exchange.body, exchange.keep_alive, head.version_1_1))
        exchange.reply(200, b"%d" % len(exchange.body))

    limits = Limits(max_body_bytes=limit)
    connection, transport = Connection(HttpServer(handler, on_timeout=print, on_refused=lambda _: None, limits=limits)), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    for piece in pieces:
        if not transport.closing:
            connection.data_received(piece)
    return seen, transport.written


NAMES = [b"Host", b"x-a", b"X-B", b"authorization", b"accept", b"x-content-length"]
ODD_NAMES = [*NAMES, b"Connection", b"expect", b"transfer-encoding"]
VALUES = [b"1", b"a b", b"", b"content-length: 3", b"\xe9"]
ODD_VALUES = [*VALUES, b"keep-alive", b"close", b"upgrade", b"100-continue", b"chunked"]
LENGTHS = [b"content-length: %d", b"Content-Length:%d", b"CONTENT-LENGTH:  %d", b"content-length: %d "]
ODD_LENGTHS = [*LENGTHS, b"content-length: 0%d", b"content-length: +%d"]
BODY = st.binary(max_size=30) | st.sampled_from([b"a" * 99, b"a" * 100, b"a" * 101, b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])


@st.composite
def heads(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """Before the length's line, that line, after it. Most are plain, which are those that may be known again."""
    odd = draw(st.integers(0, 4)) == 0
    method, path, version = (draw(st.sampled_from(each)) for each in ([b"POST", b"PUT"], [b"/", b"/a?b"], [1, 1, 1, 0]))
    names, values, lengths = (ODD_NAMES, ODD_VALUES, ODD_LENGTHS) if odd else (NAMES, VALUES, LENGTHS)
    lines = [b"%b: %b\r\n" % line for line in draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(values)), max_size=4))]
    at = draw(st.integers(0, len(lines)))
    more = b"content-length: 3\r\n" if odd and draw(st.booleans()) else b""
    first = b"%b %b HTTP/1.%d\r\n" % (method, path, version)
    return first + b"".join(lines[:at]), draw(st.sampled_from(lengths)), b"\r\n" + more + b"".join(lines[at:]) + b"\r\n"


@given(
    st.lists(heads(), min_size=1, max_size=2), st.lists(st.tuples(st.sampled_from([0, 0, 0, 1]), BODY), min_size=2, max_size=8), st.data()
)
@settings(max_examples=400)
def test_a_head_that_is_known_again_means_what_it_meant(
    drawn: list[tuple[bytes, bytes, bytes]], asked: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """Each piece is one request as a client would send it, whole or head and body apart, now and then with a byte changed, cut or added."""
    pieces = []
    for which, body in asked:
        before, length, after = drawn[which % len(drawn)]
        line = length % len(body)
        piece = before + line + after + body
        kind = data.draw(
            st.sampled_from(["whole", "whole", "whole", "apart", "apart", "apart", "anywhere", "changed", "near", "cut", "more"])
        )
        at = data.draw(st.integers(0, len(piece) - 1))
        if kind == "near":  # the length or the end of the head, where a wrong byte would matter most
            low, high = data.draw(st.sampled_from([(len(before) - 3, len(before) + len(line) + 1), (-len(body) - 5, -len(body) - 1)]))
            at = data.draw(st.integers(low, high)) % len(piece)
        changed = piece[:at] + data.draw(st.sampled_from([b"%c" % c for c in b"0123456789 +-:\r\nax"])) + piece[at + 1 :]
        if kind in ("apart", "anywhere"):
            at = at if kind == "anywhere" else len(piece) - len(body)
            pieces += [part for part in (piece[:at], piece[at:]) if part]
        else:
            pieces.append({"whole": piece, "changed": changed, "near": changed, "cut": piece[:at], "more": piece + piece[:at]}[kind])

    assert_means_the_same(pieces)


@given(st.lists(heads(), min_size=2, max_size=2), st.lists(st.tuples(st.integers(0, 1), BODY), min_size=3, max_size=10), st.data())
@settings(max_examples=400)
def test_however_a_stream_of_them_is_cut(
    drawn: list[tuple[bytes, bytes, bytes]], asked: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """Cut mostly where one request ends, where its head does, or just beside."""
    stream, cuts = b"", {0}
    for which, body in asked:
        before, length, after = drawn[which]
        head = before + length % len(body) + after
        for at in (len(stream), len(stream) + len(head)):
            if data.draw(st.integers(0, 3)):
                cuts.add(max(at + data.draw(st.sampled_from([0, 0, 0, 0, 1, -1, 5])), 0))
        stream += head + body
    ends = sorted(cuts | {len(stream)})
    assert_means_the_same([piece for a, b in itertools.pairwise(ends) if (piece := stream[a:b])])


def assert_means_the_same(pieces: list[bytes]) -> None:
    async def scenario() -> None:
        never = pytest.MonkeyPatch()
        found = await served(pieces)
        never.setattr(Reader, "again", lambda *_: None)
        never.setattr(Reader, "_begin", lambda *_: False)
        try:
            assert found == await served(pieces)
        finally:
            never.undo()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "digits", ["1x", "+3", "-3", "", " 3", "3 ", "3_0", "03", "0x3", "3.", "\u0663", "99999999999", "3\r\ncontent-length: 3"]
)
@pytest.mark.parametrize("apart", [False, True])
def test_what_is_no_number_is_no_length(digits: str, apart: bool) -> None:
    odd = post(b"abc").replace(b": 3", f": {digits}".encode(), 1)
    assert_means_the_same([post(b"abc"), post(b"abcd"), *([odd[:-3], odd[-3:]] if apart else [odd]), post(b"abc")])


def test_a_head_is_never_taken_for_that_of_the_request_after_it() -> None:
    """Two heads that differ in a letter, with bodies of one length: the first comes apart and ends together with the second."""
    one, two = post(b"abc", 1), post(b"abc", 2)
    for pieces in (
        [one[:-1], one[-1:] + two, one],
        [one[:-1], one[-1:] + two[:-1], two[-1:], one, two],
        [one + two[:-1], two[-1:], two, one],
    ):
        assert_means_the_same(pieces)
        assert_means_the_same([*pieces, *pieces])


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets of requests that had to be parsed."""
    found: list[bytes] = []
    on_url = Reader.on_url

    def told(reader: Reader, url: bytes) -> None:
        found.append(url)
        on_url(reader, url)

    monkeypatch.setattr(Reader, "on_url", told)
    return found


def post(body: bytes, ident: int = 0) -> bytes:
    return b"POST /v1/x HTTP/1.1\r\nhost: x\r\nContent-Length: %d\r\nx-id: %d\r\n\r\n%b" % (len(body), ident, body)


def test_the_same_head_is_parsed_once_whatever_the_body(parsed: list[bytes]) -> None:
    bodies = [b"a", b"bb", b"", b"\r\n\r\n", b"c" * 1000]
    seen, _ = asyncio.run(served([post(body) for body in bodies]))
    assert [body for *_, body, _, _ in seen] == bodies
    assert parsed == [b"/v1/x"]


def test_head_and_body_may_come_apart(parsed: list[bytes]) -> None:
    """As from httpx, and so from the official clients: the head is sent before the body."""
    bodies = [b"a" * 20, b"b" * 30, b"c" * 999]
    pieces = [part for body in bodies for part in (post(body)[: -len(body)], body[:7], body[7:])]
    seen, written = asyncio.run(served([*pieces, post(b"d")]))
    assert [body for *_, body, _, _ in seen] == [*bodies, b"d"]
    assert written.count(b"HTTP/1.1 200 OK") == 4
    assert parsed == [b"/v1/x"]


def test_what_follows_a_body_whose_head_was_known_is_read(parsed: list[bytes]) -> None:
    first, rest = post(b"b" * 10)[:-10], b"b" * 10 + post(b"c", 7) + b"GET /y HTTP/1.1\r\nhost: x\r\n\r\n"
    seen, _ = asyncio.run(served([post(b"a"), first, rest]))
    assert [(path, body) for _, path, _, body, _, _ in seen] == [("/v1/x", b"a"), ("/v1/x", b"b" * 10), ("/v1/x", b"c"), ("/y", b"")]
    assert parsed == [b"/v1/x", b"/v1/x", b"/y"]


def test_a_slow_body_whose_head_was_known_is_408() -> None:
    async def scenario() -> bytes:
        server = HttpServer(lambda e: e.reply(200, b""), on_timeout=print, on_refused=lambda _: None, limits=Limits(header_timeout_s=1.0))
        connection, transport = Connection(server), Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.data_received(post(b"a"))
        connection.data_received(post(b"b" * 10)[:-5])
        connection.sweep(time.monotonic() + 0.5)
        assert b"408" not in transport.written
        connection.sweep(time.monotonic() + 2.0)
        return transport.written

    assert asyncio.run(scenario()).count(b"HTTP/1.1 408") == 1


def test_a_body_over_the_limit_is_refused_though_its_head_is_known() -> None:
    seen, written = asyncio.run(served([post(b"a"), post(b"b" * 1001)]))
    assert len(seen) == 1
    assert b"HTTP/1.1 413" in written


def test_heads_that_never_come_again_are_soon_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bytes] = []
    monkeypatch.setattr("penstock.serving.http1_read.known", lambda data, *_: looked.append(data))
    asyncio.run(served([post(b"a", ident) for ident in range(20)]))
    assert len(looked) == PATIENCE


@pytest.mark.parametrize(
    "lines",
    [b"host: x\r\n", b"content-length: 1\r\ncontent-length: 1\r\n", b"content-length: 1\r\nexpect: 100-continue\r\n",
     b"transfer-encoding: chunked\r\ncontent-length: 1\r\n", b"content-length: 1\r\nx: " + b"a" * 5000 + b"\r\n",
     b"x: content-length: 1\r\n", b"content-length: 2\r\n"],
)  # fmt: skip
def test_only_the_plainest_heads_are_known(lines: bytes) -> None:
    data = b"POST / HTTP/1.1\r\n" + lines + b"\r\na"
    assert known(data, Head(b"POST", "/", {}), 1, 1) is None
