"""The first requests of a replica, sent by itself: lazy initialisation is paid for before clients come."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, cast

from penstock.engines.contract import ClassifyRequest, EmbedRequest, Engine, GenerateRequest, Request

_LINE = "How long does it take until a new card arrives? "  # about 11 tokens
LONG, BATCH, GENERATED = 1024, 8, 8  # characters, texts, tokens


def shapes(task: str, max_length: int) -> Sequence[Request]:
    """A short text, a long one and several at once; for generation also one that goes on for some tokens."""
    room = max(1, max_length - GENERATED - 8)  # in characters: no tokenizer makes more tokens than that of plain English
    short, long = _LINE[:room].strip(), (_LINE * (LONG // len(_LINE) + 1))[: min(LONG, room)].strip()
    if task == "text-classification":
        return [ClassifyRequest([short]), ClassifyRequest([long]), ClassifyRequest([short] * BATCH)]
    if task == "embedding":
        return [EmbedRequest([short]), EmbedRequest([long]), EmbedRequest([short] * BATCH)]
    return [
        GenerateRequest(prompt=short, max_tokens=1, temperature=0.0),
        GenerateRequest(prompt=long, max_tokens=GENERATED, temperature=0.0),
        GenerateRequest(prompt=long, max_tokens=GENERATED, temperature=1.0, seed=0),
    ]


async def warm_up(engine: Engine) -> None:
    """Raises what the engine raises: a replica that cannot answer these is not ready. A server behind the engine is asked once, briefly."""
    asked = shapes(engine.info.task, engine.info.max_length)
    for request in asked[:1] if hasattr(engine, "forward") else asked:
        async with aclosing(cast(Any, engine.generate(request))) as chunks:
            async for _ in chunks:
                pass
