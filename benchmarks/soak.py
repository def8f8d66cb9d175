"""A long run at a steady rate, watched: does anything grow? Gateway and two replicas, mixed whole, streamed and cancelled requests.

Every few seconds memory, sockets, threads and files of each process are noted. After a warm-up the slope of each is fitted; growth that
would matter in a week fails. `--requests N` ends after N requests instead of after `--minutes`. Latency is printed, not judged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of

EVERY_S, WARM_SHARE = 5.0, 0.3
ALLOWED = {"memory_mib": 8.0, "sockets": 8, "threads": 2, "files": 6}  # between the end of the warm-up and the end


@dataclass(slots=True)
class Seen:
    """One process: a list of samples for each figure of ALLOWED."""

    name: str
    process: psutil.Process
    samples: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in ALLOWED})

    def look(self) -> None:
        with self.process.oneshot():
            self.samples["memory_mib"].append(self.process.memory_info().rss / 2**20)
            self.samples["sockets"].append(len(self.process.net_connections()))
            self.samples["threads"].append(self.process.num_threads())
            self.samples["files"].append(self.process.num_fds())

    def grown(self, figure: str) -> float:
        """Median of the last tenth above the median of the tenth after the warm-up."""
        values = self.samples[figure]
        first = int(len(values) * WARM_SHARE)
        size = max((len(values) - first) // 10, 1)
        return statistics.median(values[-size:]) - statistics.median(values[first : first + size])


@dataclass(slots=True)
class Load:
    """Closed loops at a bounded rate; a tenth of the streams is left in the middle."""

    gateway: RunningGateway
    rate: float
    requests: int = 0
    left: int = 0
    failed: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    async def client(self, number: int, clients: int, until: float, most: int) -> None:
        chance = random.Random(number)
        reader = writer = None
        pause = clients / self.rate if self.rate else 0.0
        due = time.monotonic() + chance.random() * pause
        while time.monotonic() < until and self.requests < most:
            if pause:
                await asyncio.sleep(max(due - time.monotonic(), 0))
                due += pause
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
            stream = chance.random() < 0.3
            leave = stream and chance.random() < 0.1
            began = time.perf_counter()
            writer.write(ask(chance, stream))
            assert reader is not None
            try:
                kept = await answer(reader, leave)
            except (OSError, EOFError, ValueError) as error:
                self.failed.append(f"{type(error).__name__}: {error}")
                kept = False
            self.requests += 1
            self.left += leave
            if not leave and len(self.latencies_s) < 1_000_000:
                self.latencies_s.append(time.perf_counter() - began)
            if not kept or leave:
                writer.close()
                reader = writer = None
        if writer is not None:
            writer.close()


def ask(chance: random.Random, stream: bool) -> bytes:
    prompt = " ".join(f"w{chance.randrange(1000)}" for _ in range(chance.randrange(1, 200)))
    body = json.dumps({"model": "echo", "prompt": prompt, "max_tokens": chance.randrange(1, 40), "stream": stream}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def answer(reader: asyncio.StreamReader, leave: bool) -> bool:
    """Reads one answer; False when the connection is not to be used again. Raises ValueError for anything but 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(head.split(b"\r\n", 1)[0].decode())
    lines = head.lower().split(b"\r\n")
    if b"transfer-encoding: chunked" in lines:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
            if leave:
                return False
        while await reader.readline() != b"\r\n":
            pass
    else:
        await reader.readexactly(int(next(line for line in lines if line.startswith(b"content-length:")).split(b":")[1]))
    return b"connection: close" not in lines


async def watch(seen: Sequence[Seen], load: Load, until: float, most: int) -> None:
    begun = time.monotonic()
    while time.monotonic() < until and load.requests < most:
        await asyncio.sleep(EVERY_S)
        for one in seen:
            one.look()
        memory = ", ".join(f"{one.name} {one.samples['memory_mib'][-1]:.1f} MiB" for one in seen)
        print(f"{time.monotonic() - begun:6.0f} s  {load.requests:>9,} requests  {len(load.failed)} failed  {memory}", flush=True)


async def soak(gateway: RunningGateway, seen: Sequence[Seen], given: argparse.Namespace) -> Load:
    load = Load(gateway, given.rate)
    until = time.monotonic() + given.minutes * 60
    most = given.requests or sys.maxsize
    await asyncio.gather(watch(seen, load, until, most), *(load.client(n, given.clients, until, most) for n in range(given.clients)))
    return load


def report(seen: Sequence[Seen], load: Load) -> int:
    ordered = sorted(load.latencies_s)
    p50, p99 = (ordered[int(len(ordered) * share)] * 1e3 for share in (0.5, 0.99))
    print(f"{load.requests:,} requests, {load.left:,} streams left in the middle, {len(load.failed)} failed {load.failed[:3]}")
    print(f"p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    bad = bool(load.failed)
    for one in seen:
        for figure, allowed in ALLOWED.items():
            grown = one.grown(figure)
            bad = bad or grown > allowed
            verdict = "GROWS" if grown > allowed else "flat"
            print(f"  {one.name:10} {figure:11} {one.samples[figure][-1]:10.1f}   grown {grown:+8.1f}  {verdict}")
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--requests", type=int, default=0, help="end after so many (0: by time)")
    parser.add_argument("--rate", type=float, default=300.0, help="requests/s; 0: as fast as it goes")
    parser.add_argument("--clients", type=int, default=32)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-soak-") as made, Stage(Path(made)) as stage:
        replicas = [stage.replica(f"r{n}", settings={"step_s": 0.0005}) for n in (1, 2)]
        gateway = stage.gateway(snapshot_of(1, ("1", 0.5, replicas[:1]), ("2", 0.5, replicas[1:])))
        processes = {"gateway": gateway.process.pid, "replica 1": replicas[0].process.pid, "replica 2": replicas[1].process.pid}
        seen = [Seen(name, psutil.Process(pid)) for name, pid in processes.items()]
        import uvloop

        load = uvloop.run(soak(gateway, seen, given))
        return report(seen, load)


if __name__ == "__main__":
    sys.exit(main())
