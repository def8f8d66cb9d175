"""A server whose delays are known: `python -m penstock.testing.delays --delay-ms 5`. It prints its port and answers until killed.

Answers every POST with a fixed JSON body after `delay-ms`, with `--workers` at once and the rest queued in order (0: no queue), or with
`--events` server-sent events `gap-ms` apart. `--stall AT:FOR`: for FOR seconds, AT seconds after its first request, nothing is answered.
So a load generator can be checked against arithmetic: an M/D/1 queue, a stall whose victims are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections import deque

import httptools
import orjson

_BODY = orjson.dumps({"object": "text_completion", "choices": [{"index": 0, "text": "word ", "finish_reason": "stop"}], "usage": {}})
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


EVENT = _chunk(b'data: {"choices": [{"index": 0, "text": "word ", "finish_reason": null}]}\n\n')
END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Desk:
    """Who is served when: `workers` at once, the others wait; nobody during the stall."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.loop = asyncio.get_running_loop()
        self.given = given
        self.busy = 0
        self.waiting: deque[Exchange] = deque()
        self.stall: tuple[float, float] | None = None

    def arrive(self, exchange: Exchange) -> None:
        now = self.loop.time()
        if self.stall is None and self.given.stall:
            at, for_s = map(float, self.given.stall.split(":"))
            self.stall = (now + at, now + at + for_s)
        if self.given.workers and self.busy >= self.given.workers:
            self.waiting.append(exchange)
        else:
            self._serve(exchange)

    def _serve(self, exchange: Exchange) -> None:
        self.busy += 1
        self._after(self.given.delay_ms / 1000, lambda: self._answer(exchange, 0))

    def _after(self, delay: float, work: object) -> None:
        end = self.loop.time() + delay
        if self.stall is not None and self.stall[0] <= end < self.stall[1]:
            end = self.stall[1]
        if end <= self.loop.time():
            work()  # type: ignore[operator]
        else:
            self.loop.call_at(end, work)  # type: ignore[arg-type]

    def _answer(self, exchange: Exchange, number: int) -> None:
        if not self.given.events:
            exchange.write(WHOLE)
        elif number == 0:
            exchange.write(HEAD + EVENT)
        elif number < self.given.events:
            exchange.write(EVENT)
        else:
            exchange.write(END)
        if number < self.given.events:
            self._after(self.given.gap_ms / 1000, lambda: self._answer(exchange, number + 1))
            return
        self.busy -= 1
        if self.waiting:
            self._serve(self.waiting.popleft())


class Exchange(asyncio.Protocol):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._desk.arrive(self)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(given: argparse.Namespace) -> None:
    desk = Desk(given)
    listener = socket.create_server(("127.0.0.1", given.port), backlog=4096)
    server = await asyncio.get_running_loop().create_server(lambda: Exchange(desk), sock=listener)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.testing.delays")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--events", type=int, default=0)
    parser.add_argument("--gap-ms", type=float, default=0.0)
    parser.add_argument("--stall", default="")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    if given.delay_ms or given.gap_ms:
        asyncio.run(serve(given))  # uvloop's timers ring up to a millisecond early
    else:
        import uvloop

        uvloop.run(serve(given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
