"""The lean client: connections are kept and bounded, every call ends once, and what it sends cannot be bent by a header."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from penstock.core.errors import BadInput
from penstock.serving.address import Address
from penstock.serving.client import Client, Lost, Reply

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def served(handler: Handler, work: Callable[[Client], Awaitable[object]], **options: float) -> object:
    """`work` with a client to a server whose connections `handler` has."""

    async def main() -> object:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            client = Client(Address.of(url), **options)  # type: ignore[arg-type]
            try:
                return await work(client)
            finally:
                await client.close()
                assert client.open == 0
                assert client.in_flight == 0

    return asyncio.run(main())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.01)
        writer.write(OK)


def test_connections_are_kept_and_bounded() -> None:
    async def work(client: Client) -> int:
        replies = await asyncio.gather(*(client.ask("/x", method="GET") for _ in range(20)))
        assert all(reply.status == 200 and reply.body == b"ok" for reply in replies)
        return client.open

    assert served(echo, work, connections=3) == 3


def test_a_server_that_closes_each_time_is_asked_anew() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        await writer.drain()

    async def work(client: Client) -> list[Reply]:
        return await asyncio.gather(*(client.ask("/x", method="GET") for _ in range(9)))

    assert len(served(once, work, connections=2)) == 9  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "kind"), [(b"", "reset"), (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab", "mid-stream"), (b"ok then\r\n\r\n", "protocol")]
)
def test_losses_have_kinds(said: bytes, kind: str) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()

    async def work(client: Client) -> str:
        with pytest.raises(Lost) as caught:
            await client.ask("/x", b"{}")
        return caught.value.kind

    assert served(broken, work) == kind


def test_patience_ends_and_a_caller_may_leave() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 (asyncio's signature)
        await reader.read()

    async def work(client: Client) -> None:
        with pytest.raises(Lost, match=r"within 0\.2 s"):
            await client.ask("/x")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.ask("/x"), 0.05)

    served(deaf, work, timeout_s=0.2)


def test_what_a_header_holds_cannot_end_it() -> None:
    address = Address.of("http://h:1/base/")
    with pytest.raises(BadInput, match="x-bad"):
        address.request("/x", b"", {"x-bad": "1\r\nevil: 2"})
    assert address.request("/x", None, {}, "GET").startswith(b"GET /base/x HTTP/1.1\r\nhost: h:1\r\n")
    with pytest.raises(BadInput, match="ftp://h"):
        Address.of("ftp://h")
