"""Latency as a client beside the engine sees it: one request at a time, then many at once. Never part of the evidence's bytes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from penstock.engines.contract import Engine, Request, Text
from penstock.stages.contract import Context
from penstock.stages.evaluate.asking import in_flight, tell

CONCURRENCY = 32
WARM_UP = 5
BUDGET_S = 10.0  # a phase ends after this long, once LEAST requests are done
LEAST = 10


@dataclass(slots=True)
class Timings:
    """Milliseconds of single requests at concurrency 1, in order; what the busy phase got through."""

    single_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)  # to the first piece of generated text
    busy_requests: int = 0
    busy_tokens: int = 0
    busy_s: float = 0.0

    def metrics(self) -> Mapping[str, float]:
        import numpy as np

        found = {f"latency.p{q}_ms": float(np.percentile(self.single_ms, q)) for q in (50, 95, 99)}
        found["throughput_rps"] = self.busy_requests / self.busy_s
        if self.first_ms:
            found |= {f"latency.first_token_p{q}_ms": float(np.percentile(self.first_ms, q)) for q in (50, 95)}
            found["throughput_tokens_per_s"] = self.busy_tokens / self.busy_s
        return found


async def measure(engine: Engine, single: Sequence[Request], busy: Sequence[Request], context: Context) -> Timings:
    """Times `single` one by one, then `busy` CONCURRENCY at once, at least LEAST of each. Raises Interrupted.

    No request should be in both: an engine that keeps the prefixes it has read would answer the second one faster.
    """
    timings = Timings()
    for request in busy[:WARM_UP]:
        await _timed(engine, request)
    started = time.perf_counter()
    for done, request in enumerate(single):
        if done >= LEAST and time.perf_counter() - started > BUDGET_S:
            break
        whole_ms, first_ms, _ = await _timed(engine, request)
        timings.single_ms.append(whole_ms)
        if first_ms is not None:
            timings.first_ms.append(first_ms)
        tell(context, done + 1, len(single), "requests")
    await _busy(engine, busy, timings)
    return timings


async def _busy(engine: Engine, requests: Sequence[Request], timings: Timings) -> None:
    started = time.perf_counter()

    async def one(request: Request) -> None:
        if timings.busy_requests >= LEAST and time.perf_counter() - started > BUDGET_S:
            return
        _, _, tokens = await _timed(engine, request)
        timings.busy_requests += 1
        timings.busy_tokens += tokens

    await in_flight(requests, CONCURRENCY, one)
    timings.busy_s = time.perf_counter() - started


async def _timed(engine: Engine, request: Request) -> tuple[float, float | None, int]:
    """Milliseconds to the end, and to the first text if it is generation; completion tokens."""
    started, first, tokens = time.perf_counter(), None, 0
    async for chunk in engine.generate(request):
        if isinstance(chunk, Text):
            if first is None and chunk.text:
                first = (time.perf_counter() - started) * 1000
            tokens = chunk.completion_tokens or tokens
    return (time.perf_counter() - started) * 1000, first, tokens
