"""What the gateway's own part of a request costs, in µs of CPU: the whole path without sockets, and its pieces.

Replicas answer at once from memory, so what is left is: key, JSON, route, circuit, lane, answer, record, counts. CPU time of the best of
many rounds; no peer. For requests/s through sockets see gateway.py.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import uvloop

from penstock.serving.admission import WaitingLine
from penstock.serving.asking import session_of
from penstock.serving.balance import Model, Version, Want, choose
from penstock.serving.exchange import Exchange
from penstock.serving.handling import Gateway
from penstock.serving.prefix import PrefixMemory, marks
from penstock.serving.records import Record
from penstock.serving.snapshot import (
    Guard,
    HeaderRule,
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
from penstock.serving.upstream import Replica
from penstock.testing.serving import KEY, SECRET

USAGE = {b"x-penstock-usage": b"2,2", b"content-type": b"application/json"}
ANSWER = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello there"}, "finish_reason": "stop"}]}'
BODY = orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello there"}]})
LONG = orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello there " * 400}]})
HEADERS = {b"host": b"x", b"authorization": f"Bearer {SECRET}".encode(), b"x-penstock-session": b"s1"}


class Wire:
    """A connection that takes every answer."""

    peer = "127.0.0.1"

    def reply(self, exchange: Exchange, *_: object) -> None:
        exchange.finished = True

    def writable(self, _: Exchange) -> bool:
        return True


def submit(replica: Replica, call: Any) -> bool:
    """Answers at once."""
    replica.load += 1
    call.on_head(200, USAGE)
    call.on_body(ANSWER)
    replica.answered(call, 200)
    call.on_end(USAGE)
    return True


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


PATHS: dict[str, tuple[int, dict[str, Any]]] = {
    "one replica, defaults": (1, {}),
    "four replicas": (4, {}),
    "+ concurrency, first_byte, hedge": (4, {"protection": Protection(concurrency=64, first_byte_s=5.0, hedge_s=1.0)}),
    "+ header rules, price": (4, {"headers": (HeaderRule("x-team", "a", "1"),), "price": Price(1.0, 1.0, 0.0)}),
    "+ shadow of every request": (4, {"shadow": Shadow("2", 1.0)}),
    "+ personal data masked both ways": (4, {"guards": (Guard("personal_data", "mask", "both"),)}),
}


async def paths(rounds: int) -> None:
    fields: dict[str, Any] = {}
    for name, (count, more) in PATHS.items():
        fields |= more
        versions = (VersionRoute("1", "", 1.0, routes(count)), VersionRoute("2", "", 0.0, routes(1)))
        with tempfile.TemporaryDirectory() as made:
            snapshot = Snapshot(1, (ModelRoute("echo", "text-generation", versions, **fields),), (KEY,))
            write_snapshot(Path(made) / "snapshot.json", snapshot)
            gateway = Gateway(Path(made))
            gateway.refresh()
            gateway.records.add = lambda *_: None  # type: ignore[method-assign]  # its thread is measured below

            def ask(body: bytes, gateway: Gateway = gateway) -> None:
                exchange = Exchange(Wire(), b"POST", "/v1/chat/completions", HEADERS, body)  # type: ignore[arg-type]
                gateway.handle(exchange)
                assert exchange.finished

            short, long = (best_us(lambda body=body: ask(body), rounds) for body in (BODY, LONG))  # type: ignore[misc]
            print(f"{name:36} {short:7.1f} µs   with a prompt of 5 KB {long:7.1f} µs", flush=True)
            await gateway.close()


async def pieces(rounds: int) -> None:
    for count in (1, 4, 16):
        version = Version("1", "", 1.0, [Replica(route) for route in routes(count)])
        model = Model.of(ModelRoute("m", "text-generation", ()), {"1": version})
        print(f"choose among {count:2}                      {best_us(lambda m=model: choose(m, Want(b's'), 0.0), rounds):7.2f} µs")  # type: ignore[misc]
    memory, line = PrefixMemory(), WaitingLine[int](1024)

    def prefix() -> None:
        seen = marks(LONG)
        memory.recall(seen)
        memory.remember(seen, "a")

    def wait() -> None:
        line.push(1, "1")
        line.remove(1)

    record = Record(1.0, "req", "m", "1", "r", "/v1/completions", "k", 200, 10, 10, 2, 2, 0.1, 1.0, 2.0, 1)
    parts: dict[str, Callable[[], object]] = {
        "prefix of 5 KB: hash, look up, keep": prefix,
        "wait and go": wait,
        "trace ids": lambda: trace_of({}),
        "session digest": lambda: session_of(b"someone"),
        "record as a line (thread)": lambda: orjson.dumps(record),
    }
    for name, work in parts.items():
        print(f"{name:36} {best_us(work, rounds):7.2f} µs")


async def run(rounds: int) -> None:
    with mock.patch.object(Replica, "submit", submit):
        await paths(rounds)
    await pieces(rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    uvloop.run(run(parser.parse_args().rounds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
