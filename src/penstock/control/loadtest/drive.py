"""Sends load: open loop (requests go out when they are due, whether or not earlier ones were answered) or closed loop.

Latency counts from when a request was due, not from when it was sent, so a server that stalls cannot hide what it made others wait
(coordinated omission: Tene, "How NOT to Measure Latency", 2013; as in wrk2). How late the generator itself was is kept beside it.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson

from penstock.control.loadtest.orders import Order
from penstock.control.loadtest.tally import Tally
from penstock.serving.client import Client
from penstock.serving.client_pool import Call

Make = Callable[[Order], bytes]
DRAIN_S = 30.0  # how long answers are waited for after the last request is due, beyond the client's own timeout


@dataclass(frozen=True, slots=True)
class Sending:
    """`make` turns an order into the bytes of a request; `seen` is told every so often how far the test is.

    `hopeless`: that many requests in flight end the test at once, and what is still out with it.
    """

    client: Client
    make: Make
    orders: Iterator[Order]
    tally: Tally
    seen: Callable[[Tally, float], None] = lambda _tally, _at: None
    hopeless: float = math.inf


class Shot(Call):
    """One measured request."""

    __slots__ = ("_ended_well", "_first", "_last", "_rest", "_sent", "_status", "_stream", "_tally", "_tokens", "_zero", "due", "then")

    def __init__(self, data: bytes, stream: bool, tally: Tally, zero: float, due: float, then: Callable[[], None] | None = None) -> None:
        super().__init__(data)
        self._tally, self._zero, self.due, self._stream, self.then = tally, zero, due, stream, then
        self._sent, self._first, self._last = due, None, 0.0  # type: float, float | None, float
        self._status, self._tokens, self._rest, self._ended_well = 0, 0, b"", not stream

    def on_sent(self) -> None:
        self._sent = time.monotonic() - self._zero

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:  # noqa: ARG002 (the contract's signature)
        self._status = status
        if status != 200:
            self._stream = False

    def on_body(self, data: bytes) -> None:
        if not self._stream:
            self._rest += data
            return
        *events, self._rest = (self._rest + data).split(b"\n\n")
        now = time.monotonic() - self._zero
        for event in events:
            if event.startswith(b"data:"):
                self._event(event[5:].strip(), now)

    def _event(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self._ended_well = True
            return
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._tally.messages.setdefault("mid-stream", f"an event is not JSON: {data[:200]!r}")
            return
        if "error" in value:
            self._tally.messages.setdefault("mid-stream", str(value["error"])[:300])
            return
        usage = value.get("usage")
        if usage:
            self._tokens = int(usage.get("completion_tokens") or self._tokens)
            self._tally.prompt_tokens += int(usage.get("prompt_tokens") or 0)
        if not any(_says(choice) for choice in value.get("choices") or ()):
            return
        if self._first is None:
            self._first = now
        else:
            self._tally.gap(now - self._last)
        self._last = now

    def on_end(self) -> None:
        now = time.monotonic() - self._zero
        good = self._status == 200 and self._ended_well
        self._tally.statuses[str(self._status)] += 1
        if good and not self._stream:
            self._count_usage()
        elif not good:
            kind = "mid-stream" if self._status == 200 else f"status {self._status}"
            self._tally.failed(kind, _message(self._rest) if self._status != 200 else "the stream ended without [DONE]")
        self._finish(now, good)

    def on_lost(self, kind: str, message: str) -> None:
        self._tally.failed(kind, message)
        self._tally.statuses["none"] += 1
        self._finish(time.monotonic() - self._zero, False)

    def _count_usage(self) -> None:
        try:
            usage = orjson.loads(self._rest).get("usage") or {}
        except (orjson.JSONDecodeError, AttributeError):
            return
        self._tokens = int(usage.get("completion_tokens") or 0)
        self._tally.prompt_tokens += int(usage.get("prompt_tokens") or 0)

    def _finish(self, now: float, good: bool) -> None:
        self._tally.add(self.due, self._sent, self._first, now, good, self._tokens)
        if self.then is not None:
            self.then()


def _says(choice: dict[str, object]) -> bool:
    delta = choice.get("delta")
    return bool(choice.get("text") or (isinstance(delta, dict) and (delta.get("content") or delta.get("tool_calls"))))


def _message(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:300].decode("utf-8", "replace")


async def open_loop(sending: Sending, due: Iterator[float], seconds: float) -> float:
    """Fires a request at each time of `due`, then waits for what is still out. Answers that never come end by the client's timeout.

    Returns the seconds that were driven: fewer than `seconds` when the test was hopeless.
    """
    client, tally = sending.client, sending.tally
    zero = time.monotonic() + 0.05
    alarm = Alarm(asyncio.get_running_loop())
    told = zero
    try:
        for at in due:
            order = next(sending.orders)
            data = sending.make(order)  # before it is due, so that making it is not lateness
            await alarm.until(zero + at)
            now = time.monotonic()
            tally.late.append(now - zero - at)
            client.submit(Shot(data, order.stream, tally, zero, at))
            if client.in_flight > sending.hopeless:
                client.abandon("abandoned", f"{client.in_flight} requests were in flight when the test was ended")
                return now - zero
            if now - told >= 0.5:
                told = now
                sending.seen(tally, now - zero)
        await alarm.until(zero + seconds)
    finally:
        alarm.close()
    await _drained(client)
    return seconds


async def closed_loop(sending: Sending, concurrency: int, seconds: float) -> float:
    """`concurrency` clients that each send the next request when the last is answered. What they measure is not what a crowd would feel."""
    client, tally = sending.client, sending.tally
    zero = time.monotonic()

    def again() -> None:
        now = time.monotonic() - zero
        if now < seconds:
            order = next(sending.orders)
            tally.late.append(0.0)
            client.submit(Shot(sending.make(order), order.stream, tally, zero, now, later))

    loop = asyncio.get_running_loop()

    def later() -> None:
        loop.call_soon(again)  # not at once: a server that refuses quickly would grow the stack

    for _ in range(concurrency):
        again()
    while (now := time.monotonic() - zero) < seconds:
        await asyncio.sleep(max(0.002, min(0.5, seconds - now)))
        sending.seen(tally, now)
    await _drained(client)
    return seconds


async def _drained(client: Client) -> None:
    deadline = time.monotonic() + client.timeout_s + DRAIN_S
    while client.in_flight and time.monotonic() < deadline:
        await asyncio.sleep(0.005)


class Alarm:
    """Waits until a moment of time.monotonic(), to some 10 µs: a timerfd, where the loop's own timers count whole milliseconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self._libc = ctypes.CDLL(None, use_errno=True)
        make = getattr(self._libc, "timerfd_create", None)
        self._handle: int = make(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC) if make is not None else -1
        if self._handle >= 0:
            loop.add_reader(self._handle, self._rang)

    def _rang(self) -> None:
        try:
            os.read(self._handle, 8)
        except BlockingIOError:
            return
        self._event.set()

    async def until(self, moment: float) -> None:
        wait = moment - time.monotonic()
        if wait <= 0:
            if wait < -0.001:
                await asyncio.sleep(0)  # behind schedule: answers must be read all the same
            return
        if self._handle < 0:
            await asyncio.sleep(wait)
            return
        self._event.clear()
        whole = int(moment)
        setting = _Setting(_Instant(0, 0), _Instant(whole, int((moment - whole) * 1e9)))
        self._libc.timerfd_settime(self._handle, _ABSOLUTE, ctypes.byref(setting), None)
        await self._event.wait()

    def close(self) -> None:
        if self._handle >= 0:
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1


_MONOTONIC, _ABSOLUTE = 1, 1


class _Instant(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Instant), ("value", _Instant))
