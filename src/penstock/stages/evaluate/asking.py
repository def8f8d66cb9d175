"""Asking the engine: rows in, numbers out, with a bounded number of requests in flight.

For the evidence requests go one at a time, in one order: an engine that batches by arrival would otherwise add up in another
order in each run, and equal inputs would not give equal digests. A request carries many texts, so the engine is still kept busy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from penstock.core.errors import Interrupted, ReplicaFailed
from penstock.engines.contract import Chunk, Classified, ClassifyRequest, Engine, Request, Scored, ScoreRequest
from penstock.stages.contract import Context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ItemT = TypeVar("ItemT")
TEXTS_A_REQUEST = 64
BLOCK_CHARACTERS = 2048


async def last_chunk(engine: Engine, request: Request) -> Chunk:
    """The last chunk of the answer. Raises ReplicaFailed if the engine ends without one."""
    last: Chunk | None = None
    async for chunk in engine.generate(request):
        last = chunk
    if last is None:
        raise ReplicaFailed(f"the engine answered a {type(request).__name__} with nothing")
    return last


async def in_flight(items: Sequence[ItemT], concurrency: int, work: Callable[[ItemT], Awaitable[None]]) -> None:
    """Does `work` on every item, in order of start, at most `concurrency` at once; the first error stops the rest and is raised."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(items))):
                group.create_task(worker())
    except BaseExceptionGroup as raised:
        raise raised.exceptions[0] from None


async def classify(engine: Engine, texts: Sequence[str], names: Sequence[str], context: Context) -> NDArray[np.float64]:
    """Probabilities (N, L) of `names` for each text, rounded to 6 digits so that they do not hang on the last bits of a float."""
    import numpy as np

    column = {name: index for index, name in enumerate(names)}
    table = np.zeros((len(texts), len(names)))
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # equal lengths together: little padding
    done = 0
    for start in range(0, len(order), TEXTS_A_REQUEST):
        rows = order[start : start + TEXTS_A_REQUEST]
        answer = await last_chunk(engine, ClassifyRequest([texts[row] for row in rows]))
        if not isinstance(answer, Classified) or len(answer.rows) != len(rows):
            raise ReplicaFailed(f"the engine answered {len(rows)} texts to classify with {type(answer).__name__}")
        for row, pairs in zip(rows, answer.rows, strict=True):
            for name, probability in pairs:
                table[row, column[name]] = probability
        done += len(rows)
        tell(context, done, len(texts), "rows")
    return table.round(6)


async def score(engine: Engine, blocks: Sequence[tuple[str, str]], context: Context) -> list[tuple[str, Scored]]:
    """Likelihood of each (id, text) block; blocks of which nothing can be predicted (one token) are left out."""
    found = []
    for done, (row, text) in enumerate(blocks, 1):
        answer = await last_chunk(engine, ScoreRequest(text))
        if not isinstance(answer, Scored):
            raise ReplicaFailed(f"the engine answered a text to score with {type(answer).__name__}")
        if answer.tokens and answer.characters:
            found.append((row, answer))
        tell(context, done, len(blocks), "blocks")
    return found


def blocks(row: str, text: str) -> Iterator[tuple[str, str]]:
    """A long text in pieces of about BLOCK_CHARACTERS, cut after a line or a word, so that there are rows to resample."""
    start, number = 0, 0
    while start < len(text):
        end = _cut(text, start)
        piece = text[start:end]
        if piece.strip():
            yield (row if start == 0 and end == len(text) else f"{row}#{number}"), piece
        start, number = end, number + 1


def _cut(text: str, start: int) -> int:
    end = start + BLOCK_CHARACTERS
    if end >= len(text):
        return len(text)
    for mark in ("\n", " "):
        found = text.rfind(mark, start + BLOCK_CHARACTERS // 2, end)
        if found != -1:
            return found + 1
    return end


def tell(context: Context, done: int, total: int, unit: str) -> None:
    """Reports progress. Raises Interrupted once the step was asked to stop."""
    context.progress(done, total, unit)
    if context.stopping():
        raise Interrupted(f"evaluation was stopped after {done:,} of {total:,} {unit}")
