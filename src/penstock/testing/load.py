"""Closed-loop load from a process of its own: `python -m penstock.testing.load --url URL --body JSON --until FILE`.

Runs until FILE exists, then prints one JSON object: requests, failures (anything but 200, or no answer), statuses, versions, latencies in
ms, first failures as text. Every request is new work on a kept connection; nothing is retried, so each loss shows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(slots=True)
class Tally:
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def summary(self, seconds: float) -> dict[str, object]:
        ordered = sorted(self.latencies_s) or [0.0]

        def at(share: float) -> float:
            return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000, 3)

        return {
            "requests": len(self.latencies_s),
            "failures": len(self.failures),
            "first_failures": self.failures[:5],
            "statuses": dict(self.statuses),
            "versions": dict(self.versions),
            "per_second": round(len(self.latencies_s) / seconds, 1),
            "p50_ms": at(0.5),
            "p99_ms": at(0.99),
            "max_ms": round(ordered[-1] * 1000, 3),
        }


class Client:
    """One kept connection, one request at a time."""

    def __init__(self, url: str, request: bytes) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._request = request
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self) -> tuple[int, str, bytes]:
        """Status, version header, body. Raises OSError or EOFError when the connection fails."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(self._request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in head[1:])}
        if headers.get(b"transfer-encoding") == b"chunked":
            body = await self._chunks(self._reader)
        else:
            body = await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
        if headers.get(b"connection") == b"close":
            self.forget()
        return int(head[0].split(b" ", 2)[1]), headers.get(b"x-penstock-version", b"").decode(), body

    def forget(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        parts = []
        while size := int(await _line(reader), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        while await _line(reader) != b"\r\n":  # trailers
            pass
        return b"".join(parts)


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError("cut in the middle of an answer")
    return line


async def load(client: Client, tally: Tally, until: Path) -> None:
    while not until.exists():
        began = time.perf_counter()
        try:
            status, version, body = await client.ask()
        except (OSError, EOFError) as error:
            client.forget()
            tally.statuses["lost"] += 1
            tally.failures.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.005)
        else:
            tally.statuses[str(status)] += 1
            tally.versions[version] += 1
            complete = not body.startswith(b"data: ") or body.endswith(b"data: [DONE]\n\n")
            if status != 200 or not complete:
                tally.failures.append(body[-300:].decode("utf-8", "replace"))
        tally.latencies_s.append(time.perf_counter() - began)


async def run(given: argparse.Namespace) -> dict[str, object]:
    body = given.body.encode()
    clients = []
    for number in range(given.concurrency):
        lines = f"POST {given.path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {given.key}\r\nx-penstock-session: s{number}\r\n"
        clients.append(Client(given.url, f"{lines}content-length: {len(body)}\r\n\r\n".encode() + body))
    tally, began = Tally(), time.perf_counter()
    await asyncio.gather(*(load(client, tally, given.until) for client in clients))
    return tally.summary(time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.testing.load")
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", default="")
    parser.add_argument("--path", default="/v1/classify")
    parser.add_argument("--body", required=True)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--until", type=Path, required=True, help="stops when this file exists")
    with contextlib.suppress(ImportError):
        import uvloop

        print(json.dumps(uvloop.run(run(parser.parse_args()))))
        return 0
    print(json.dumps(asyncio.run(run(parser.parse_args()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
