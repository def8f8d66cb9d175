"""The gateway's side of a replica: kept connections, least load, bounded queue, failures that heal."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from penstock.serving import upstream
from penstock.serving.snapshot import ReplicaRoute
from penstock.serving.upstream import Replica

NOW = time.monotonic()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Ask:
    """A Call that remembers what happened to it."""

    def __init__(self) -> None:
        self.payload = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
        self.connection: Any = None
        self.cancelled = False
        self.parts: list[bytes] = []
        self.size = 0
        self.told: list[Any] = []
        self.over = asyncio.Event()

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.told.append((status, headers))

    def on_more(self) -> None: ...

    def on_end(self, headers: dict[bytes, bytes], now: float) -> None:  # noqa: ARG002 - the signature is the Call's
        assert self.size == sum(map(len, self.parts))
        self.told += [b"".join(self.parts), headers.get(b"x-penstock-usage")]
        self.over.set()

    def on_lost(self, reason: str) -> None:
        self.told.append(f"lost: {reason}")
        self.over.set()


class Peer:
    """A server that counts connections, answers `answer`, and may hold answers back."""

    def __init__(self, answer: bytes = ANSWER) -> None:
        self.answer, self.accepted, self.asked, self.closed = answer, 0, 0, 0
        self.hang_up = False  # at the next request, without an answer
        self.gate = asyncio.Event()
        self.gate.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                if self.hang_up:
                    self.hang_up = False
                    break
                await self.gate.wait()
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed += 1
        finally:
            writer.close()

    async def start(self) -> tuple[asyncio.Server, Replica]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return server, Replica(ReplicaRoute("r", "127.0.0.1", server.sockets[0].getsockname()[1]))


async def finished(*asks: Ask) -> None:
    await asyncio.wait_for(asyncio.gather(*(ask.over.wait() for ask in asks)), 5)


def test_a_connection_is_kept_and_used_again() -> None:
    async def scenario() -> None:
        peer = Peer()
        server, replica = await peer.start()
        for _ in range(20):
            ask = Ask()
            assert replica.submit(ask, NOW)
            await finished(ask)
            assert ask.told == [(200, {b"content-length": b"2"}), b"ok", None]
        assert (peer.accepted, peer.asked, replica.load) == (1, 20, 0)
        replica.retire()
        await asyncio.sleep(0.05)
        assert not replica.connections
        server.close()

    asyncio.run(scenario())


def test_a_connection_that_went_stale_is_replaced_without_a_word() -> None:
    async def scenario() -> None:
        peer = Peer()
        server, replica = await peer.start()
        first, second, third = Ask(), Ask(), Ask()
        replica.submit(first, NOW)
        await finished(first)
        peer.hang_up = True
        replica.submit(second, NOW)
        await finished(second)
        assert second.told == [(200, {b"content-length": b"2"}), b"ok", None]
        assert (peer.accepted, replica.circuit.opened) == (2, False)
        peer.hang_up = True
        replica.submit(third, NOW)
        await finished(third)
        assert third.told[1] == b"ok"
        server.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_connection_lost_before_its_call_was_sent_tells_the_call(cancelled: bool) -> None:
    class Late:
        """A loop on which whoever awaits a connection comes to run after the peer has hung up."""

        async def create_connection(self, *arguments: Any) -> Any:
            made = await asyncio.get_running_loop().create_connection(*arguments)
            while not made[1].lost:
                await asyncio.sleep(0.01)
            return made

        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio.get_running_loop(), name)

    async def scenario() -> None:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        replica = Replica(ReplicaRoute("r", "127.0.0.1", server.sockets[0].getsockname()[1]))
        replica._loop = Late()
        ask = Ask()
        replica.submit(ask, NOW)
        if cancelled:
            replica.cancel(ask)
            await asyncio.sleep(0.2)
        else:
            await finished(ask)
            assert "lost as soon as it was made" in ask.told[0]
        assert replica.load == 0
        assert not replica._idle
        server.close()

    asyncio.run(scenario())


def test_calls_beyond_the_connections_wait_and_beyond_the_queue_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(upstream, "MAX_QUEUE", 3)

    async def scenario() -> None:
        peer = Peer()
        peer.gate.clear()
        server, replica = await peer.start()
        asks = [Ask() for _ in range(6)]
        assert [replica.submit(ask, NOW) for ask in asks] == [True] * 5 + [False]
        await asyncio.sleep(0.05)
        assert (replica.load, replica.queued) == (5, 3)
        replica.cancel(asks[2])
        assert replica.queued == 2
        peer.gate.set()
        await finished(*asks[:2], *asks[3:5])
        assert asks[2].told == []
        assert (peer.accepted, peer.asked, replica.load) == (2, 4, 0)
        server.close()

    asyncio.run(scenario())


def test_calls_that_wait_for_a_replica_that_dies_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MAX_CONNECTIONS", 2)

    async def scenario() -> None:
        peer = Peer()
        peer.gate.clear()
        server, replica = await peer.start()
        asks = [Ask() for _ in range(10)]
        assert [replica.submit(ask, NOW) for ask in asks] == [True] * 10
        await asyncio.sleep(0.05)
        server.close()
        for connection in list(replica.connections):
            connection.abort()
        await finished(*asks)
        assert all(str(ask.told[-1]).startswith("lost") for ask in asks)
        assert replica.load == 0

    asyncio.run(scenario())


def test_a_cancelled_call_takes_its_connection_with_it_and_the_next_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MAX_CONNECTIONS", 1)

    async def scenario() -> None:
        peer = Peer()
        peer.gate.clear()
        server, replica = await peer.start()
        first, second = Ask(), Ask()
        replica.submit(first, NOW)
        await asyncio.sleep(0.05)
        replica.submit(second, NOW)
        replica.cancel(first)
        peer.gate.set()
        await finished(second)
        assert first.told == []
        assert peer.accepted == 2
        server.close()

    asyncio.run(scenario())


def test_trailers_reach_the_call_and_close_is_honoured() -> None:
    async def scenario() -> None:
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nok\r\n0\r\nx-penstock-usage: 3,4\r\n\r\n"
        peer = Peer(chunked)
        server, replica = await peer.start()
        for _ in range(2):
            ask = Ask()
            replica.submit(ask, NOW)
            await finished(ask)
            assert ask.told[1:] == [b"ok", b"3,4"]
        assert peer.accepted == 2
        server.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: nonsense\r\n\r\n"])
def test_an_answer_that_is_not_http_is_a_loss_and_a_failure(answer: bytes) -> None:
    async def scenario() -> None:
        peer = Peer(answer)
        server, replica = await peer.start()
        ask = Ask()
        replica.submit(ask, NOW)
        await finished(ask)
        assert str(ask.told[-1]).startswith("lost")
        assert not replica.circuit.allows(replica.circuit.open_until - 0.01)
        assert replica.circuit.allows(replica.circuit.open_until)
        server.close()

    asyncio.run(scenario())


def test_nobody_there_is_told_and_the_pause_grows_until_it_heals() -> None:
    async def scenario() -> None:
        peer = Peer()
        server, replica = await peer.start()
        server.close()
        pauses = []
        for _ in range(3):
            ask = Ask()
            replica.submit(ask, NOW)
            await finished(ask)
            assert "no connection" in ask.told[0]
            pauses.append(replica.circuit.pause_s)
            replica.circuit.open_until = 0.0  # as if the pause were over: the next one is the probe
        assert pauses == sorted(set(pauses))
        assert replica.circuit.dead
        assert replica.load == 0

    asyncio.run(scenario())
