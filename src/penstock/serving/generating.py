"""Generation requests to answers: several prompts at once, whole or as a stream of events, in the shape of the route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

import orjson

from penstock.engines.contract import Engine, GenerateRequest, Text
from penstock.serving.choices import Choice, Shape, usage
from penstock.serving.exchange import Exchange
from penstock.serving.params import Generation

WAITING = 64  # chunks of several prompts that may wait for a slow client
Used = tuple[int, int, int]  # tokens read, written, and of those read: found in the prefix cache


class Tally:
    """What the requests of one order used so far."""

    def __init__(self, count: int) -> None:
        self._last = [Text("")] * count

    def saw(self, at: int, chunk: Text) -> None:
        self._last[at] = chunk

    def used(self, order: Generation) -> Used:
        written = 0 if order.prompt_only else sum(c.completion_tokens for c in self._last)
        return sum(c.prompt_tokens for c in self._last), written, sum(c.cached_tokens for c in self._last)


async def chunks_of(engine: Engine, order: Generation, tally: Tally) -> AsyncIterator[tuple[int, Text]]:
    """(index of the choice, piece) of all prompts as they come. Leaving early cancels all."""
    async with aclosing(cast(Any, _merged(engine, order.requests))) as merged:
        async for at, chunk in merged:
            tally.saw(at, chunk)
            if order.prompt_only and chunk.completion_tokens:
                if chunk.finish_reason is None:
                    continue
                chunk = Text("", "length", index=chunk.index)
            yield at * order.n + chunk.index, chunk


async def answer_whole(engine: Engine, order: Generation, shape: Shape, base: dict[str, Any]) -> tuple[bytes, Used]:
    """The body of the answer, and what it used."""
    choices = [Choice(index) for index in range(len(order.requests) * order.n)]
    tally = Tally(len(order.requests))
    async with aclosing(cast(Any, chunks_of(engine, order, tally))) as chunks:
        async for index, chunk in chunks:
            choices[index].add(chunk)
    used = tally.used(order)
    answer = {**base, "object": shape.object, "choices": [shape.whole(c) for c in choices], "usage": usage(*used)}
    return orjson.dumps(answer), used


async def answer_stream(
    engine: Engine, order: Generation, shape: Shape, base: dict[str, Any], to: Exchange, begin: Callable[[], None]
) -> Used:
    """Writes the events; `begin` starts the answer. A request that the engine refuses raises before anything is sent."""
    base = {**base, "object": shape.chunk_object, **({"usage": None} if order.include_usage else {})}
    tally, room = Tally(len(order.requests)), Room(to)
    choices: dict[int, Choice] = {}
    async with aclosing(cast(Any, chunks_of(engine, order, tally))) as chunks:
        async for index, chunk in chunks:
            if not to.started:
                begin()
            if index not in choices:
                choices[index] = Choice(index)
                if (first := shape.first(index)) is not None:
                    to.write(event({**base, "choices": [first]}))
            to.write(event({**base, "choices": [shape.piece(choices[index], chunk)]}))
            await room.wait()
    if not to.started:
        begin()
    used = tally.used(order)
    if order.include_usage:
        to.write(event({**base, "choices": [], "usage": usage(*used)}))
    return used


async def _merged(engine: Engine, requests: Sequence[GenerateRequest]) -> AsyncIterator[tuple[int, Text]]:
    if len(requests) == 1:
        async with aclosing(cast(Any, engine.generate(requests[0]))) as chunks:
            async for chunk in chunks:
                yield 0, chunk
        return
    queue: asyncio.Queue[tuple[int, Text | BaseException | None]] = asyncio.Queue(WAITING)

    async def pump(at: int, request: GenerateRequest) -> None:
        end: BaseException | None = None
        try:
            async with aclosing(cast(Any, engine.generate(request))) as chunks:
                async for chunk in chunks:
                    await queue.put((at, chunk))
        except Exception as error:
            end = error
        await queue.put((at, end))

    tasks = [asyncio.create_task(pump(at, request)) for at, request in enumerate(requests)]
    try:
        left = len(tasks)
        while left:
            at, piece = await queue.get()
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                left -= 1
            else:
                yield at, piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Room:
    """Waits while the client's socket is full."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._free = exchange, asyncio.Event()
        exchange.on_writable = self._changed

    def _changed(self, writable: bool) -> None:
        if writable:
            self._free.set()

    async def wait(self) -> None:
        while not self._exchange.writable and not self._exchange.finished:
            self._free.clear()
            await self._free.wait()


def event(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(value)
