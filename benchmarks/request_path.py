"""What the gateway's own part of a request costs, in µs of CPU: the whole path without sockets, and its pieces.

From the bytes of a client to the bytes for a replica, and back: HTTP, key, JSON, route, circuit, lane, answer, record, counts. The head is
the one that came before (a kept connection), or another each time. CPU time of the best of many rounds; no peer. For requests/s through
sockets see gateway.py.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import uvloop

from penstock.serving.admission import WaitingLine
from penstock.serving.asking import session_of
from penstock.serving.balance import Model, Version, Want, choose
from penstock.serving.handling import Gateway
from penstock.serving.http1 import Connection
from penstock.serving.prefix import PrefixMemory, marks
from penstock.serving.records import Record, RecordWriter
from penstock.serving.server import HttpServer
from penstock.serving.snapshot import (
    Guard,
    HeaderRule,
    KeyLimits,
    ModelRoute,
    Price,
    Protection,
    ReplicaRoute,
    Shadow,
    Snapshot,
    VersionRoute,
    write_snapshot,
)
from penstock.serving.tracing import trace_of
from penstock.serving.upstream import Connection as Upstream
from penstock.serving.upstream import Replica
from penstock.testing.serving import KEY, SECRET

ANSWER = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello there"}, "finish_reason": "stop"}]}'
BACK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-penstock-usage: 2,2\r\n\r\n%b" % (len(ANSWER), ANSWER)
SHORT = orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello there"}]})
LONG = orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello there " * 400}]})
LINES = ("host: x", "content-type: application/json", f"authorization: Bearer {SECRET}", "x-penstock-session: s1")
HEAD = "\r\n".join(("POST /v1/chat/completions HTTP/1.1", *LINES, ""))


def request(body: bytes, more: str = "") -> bytes:
    return f"{HEAD}{more}content-length: {len(body)}\r\n\r\n".encode() + body


class Transport:
    """A socket that takes everything."""

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        self.written = data

    def is_closing(self) -> bool:
        return False


def best_us(work: Callable[[], object], rounds: int, each: int = 2000) -> float:
    gc.collect()
    found = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(each):
            work()
        found = min(found, time.process_time() - began)
    return found / each * 1e6


def routes(count: int) -> tuple[ReplicaRoute, ...]:
    return tuple(ReplicaRoute(f"r{n}", "127.0.0.1", 1) for n in range(count))


LIMITS = KeyLimits(1e9, 1e12, 1_000_000, 1e9)
PATHS: dict[str, tuple[int, dict[str, Any]]] = {
    "one replica, defaults": (1, {}),
    "four replicas": (4, {}),
    "+ concurrency, first_byte, hedge": (4, {"protection": Protection(concurrency=64, first_byte_s=5.0, hedge_s=1.0)}),
    "+ header rules, price": (4, {"headers": (HeaderRule("x-team", "a", "1"),), "price": Price(1.0, 1.0, 0.0)}),
    "+ every limit and a budget": (4, {"limits": LIMITS}),
    "+ shadow of every request": (4, {"shadow": Shadow("2", 1.0)}),
    "+ personal data masked both ways": (4, {"guards": (Guard("personal_data", "mask", "both"),)}),
}


async def paths(rounds: int) -> None:
    print(f"{'a request, from bytes to bytes':36} the same head   another head   with a prompt of 5 KB")
    fields: dict[str, Any] = {}
    for name, (count, more) in PATHS.items():
        fields |= more
        limits, of_model = fields.get("limits", KeyLimits()), {n: value for n, value in fields.items() if n != "limits"}
        versions = (VersionRoute("1", "", 1.0, routes(count)), VersionRoute("2", "", 0.0, routes(1)))
        model = ModelRoute("echo", "text-generation", versions, **of_model)
        with tempfile.TemporaryDirectory() as made:
            write_snapshot(Path(made) / "snapshot.json", Snapshot(1, (model,), (replace(KEY, limits=limits),)))
            found = await path(Path(made), rounds)
        print(f"{name:36} {found[0]:10.1f} µs  {found[1]:10.1f} µs  {found[2]:10.1f} µs", flush=True)


async def path(folder: Path, rounds: int) -> list[float]:
    """µs of a short request with a known head, of one with another head each time, of a long one."""
    gateway = Gateway(folder)
    gateway.refresh()
    server = HttpServer(gateway.handle, on_timeout=gateway.timed_out, on_refused=gateway.refused, limits=gateway.table.snapshot.limits)
    replicas = []
    for replica in gateway.table.replicas.values():
        for _ in range(2):
            connection = Upstream(replica)
            connection.connection_made(Transport())  # type: ignore[arg-type]
            replica.release(connection)
            replicas.append(connection)
    others = [request(SHORT, f"x-number: {number}\r\n") for number in range(2000)]
    found = []
    for data in ([request(SHORT)], others, [request(LONG)]):
        client, socket, turns = Connection(server), Transport(), itertools.cycle(data)
        client.connection_made(socket)  # type: ignore[arg-type]

        def ask(client: Connection = client, turns: Iterator[bytes] = turns) -> None:
            client.data_received(next(turns))
            for connection in replicas:
                if connection.call is not None:
                    connection.data_received(BACK)

        best = float("inf")
        for _ in range(rounds):
            best = min(best, best_us(ask, 1))
            await asyncio.sleep(0.12)  # the records are written meanwhile
        assert socket.written.startswith(b"HTTP/1.1 200 OK"), socket.written
        found.append(best)
    await gateway.close()
    return found


async def pieces(rounds: int) -> None:
    for count in (1, 4, 16):
        version = Version("1", "", 1.0, [Replica(route) for route in routes(count)])
        model = Model.of(ModelRoute("m", "text-generation", ()), {"1": version})
        print(f"choose among {count:2}                      {best_us(lambda m=model: choose(m, Want(b's'), 0.0), rounds):7.2f} µs")
    memory, line = PrefixMemory(), WaitingLine[int](1024)

    def prefix() -> None:
        seen = marks(LONG)
        memory.recall(seen)
        memory.remember(seen, "a")

    def wait() -> None:
        line.push(1, "1")
        line.remove(1)

    lines = RecordWriter(Path())
    record = Record(1.0, "req", "m", "1", "r", "/v1/completions", "k", 200, 10, 10, 2, 2, 0.1, 1.0, 2.0, 1)
    parts: dict[str, Callable[[], object]] = {
        "prefix of 5 KB: hash, look up, keep": prefix,
        "wait and go": wait,
        "trace ids": lambda: trace_of({}),
        "session digest": lambda: session_of(b"someone"),
        "record as a line": lambda: lines._line(record, lines._fields),
    }
    for name, work in parts.items():
        print(f"{name:36} {best_us(work, rounds):7.2f} µs")


async def run(rounds: int) -> None:
    await paths(rounds)
    await pieces(rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    uvloop.run(run(parser.parse_args().rounds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
