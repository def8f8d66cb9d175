"""The first requests of a replica, sent by itself: lazy initialisation is paid for before clients come."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, cast

from penstock.engines.contract import ClassifyRequest, EmbedRequest, Engine, GenerateRequest, Request

_LINE = "How long does it take until a new card arrives? "  # about 11 tokens
LONG_TOKENS, BATCH, GENERATED = 256, 8, 8


def shapes(task: str, max_length: int) -> Sequence[Request]:
    """A short text, a long one and several at once; for generation also one that goes on for some tokens."""
    lines = max(1, min(LONG_TOKENS, max_length // 2) // 16)
    short, long = _LINE.strip(), (_LINE * lines).strip()
    if task == "text-classification":
        return [ClassifyRequest([short]), ClassifyRequest([long]), ClassifyRequest([short] * BATCH)]
    if task == "embedding":
        return [EmbedRequest([short]), EmbedRequest([long]), EmbedRequest([short] * BATCH)]
    return [
        GenerateRequest(prompt="warm up", max_tokens=1, temperature=0.0),
        GenerateRequest(prompt=long, max_tokens=GENERATED, temperature=0.0),
        GenerateRequest(prompt=long, max_tokens=GENERATED, temperature=1.0, seed=0),
    ]


async def warm_up(engine: Engine) -> None:
    """Raises what the engine raises: a replica that cannot answer these is not ready."""
    for request in shapes(engine.info.task, engine.info.max_length):
        async with aclosing(cast(Any, engine.generate(request))) as chunks:
            async for _ in chunks:
                pass
