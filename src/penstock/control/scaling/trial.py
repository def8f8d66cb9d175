"""Really trying settings of an engine on a bundle: `python -m penstock.control.scaling.trial`, one process a setting, closed loop.

The engine alone is measured, without HTTP and without the gateway, with synthetic requests of its task; whatever else the machine does
meanwhile is measured with it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from penstock.control.scaling.advice import Tried
from penstock.core.errors import PenstockError, ReplicaFailed
from penstock.engines.contract import ClassifyRequest, EmbedRequest, GenerateRequest, Request

TEXT = "please tell me why the card payment of yesterday was refused and when the money comes back to my account"
WORDS = TEXT.split()
PROMPT_WORDS, ANSWER_TOKENS = 48, 32
START_S = 180.0
MOST = 8  # settings tried at once


def candidates(settings: Mapping[str, Any], cores: int) -> list[dict[str, Any]]:
    """The present setting first, then others of threads, streams and batch that this engine knows; at most MOST."""
    known = [key for key in ("threads", "streams", "max_batch", "max_sequences") if key in settings]
    present = {key: settings[key] for key in known}
    found = [present]
    powers = sorted({1, 2, 4, 8, cores} & set(range(1, cores + 1)))
    for threads in powers if "threads" in present else ():
        found.append({**present, "threads": threads})
        if "streams" in present:
            found += [{**present, "threads": threads, "streams": streams} for streams in {1, threads}]
    for key in ("max_batch", "max_sequences"):
        if key in present:
            found += [{**present, key: size} for size in (max(1, int(present[key]) // 4), int(present[key]) * 2)]
    unique = list({json.dumps(one, sort_keys=True): one for one in found}.values())
    return unique[:MOST]


def try_settings(bundle: Path, settings: Mapping[str, Any], *, seconds: float, at_once: int) -> Tried:
    """Runs one setting in a process of its own. Raises ReplicaFailed with what it said."""
    order = {"bundle": str(bundle), "settings": dict(settings), "seconds": seconds, "at_once": at_once}
    command = [sys.executable, "-m", "penstock.control.scaling.trial"]
    try:
        done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, timeout=START_S + seconds)
    except subprocess.TimeoutExpired as error:
        raise ReplicaFailed(f"the engine with {dict(settings)} did not end within {START_S + seconds:.0f} s") from error
    if done.returncode:
        raise ReplicaFailed(f"the engine with {dict(settings)} ended: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    return Tried(**{**json.loads(done.stdout.splitlines()[-1]), "settings": dict(settings), "at_once": at_once})


def request_for(task: str, number: int) -> Request:
    """One of many different requests of that task."""
    words = [WORDS[(number * 7 + i * (1 + number % 5)) % len(WORDS)] for i in range(PROMPT_WORDS)]
    if task == "text-classification":
        return ClassifyRequest([f"{number} {' '.join(words[:14])}"])
    if task == "embedding":
        return EmbedRequest([f"{number} {' '.join(words[:14])}"])
    return GenerateRequest(prompt=f"{number} {' '.join(words)}", max_tokens=ANSWER_TOKENS, temperature=0.0)


async def measure(bundle: Path, settings: Mapping[str, Any], seconds: float, at_once: int) -> dict[str, float]:
    """Requests/s, latency, CPU and memory of the engine with `at_once` requests at once, after one round to warm up."""
    import psutil

    from penstock.engines.table import open_engine

    engine = open_engine(bundle, settings=settings)
    process, taken, numbers = psutil.Process(), list[float](), iter(range(10**9))

    async def loop(until: float) -> None:
        while True:
            began = time.monotonic()
            async with aclosing(cast(Any, engine.generate(request_for(engine.info.task, next(numbers))))) as chunks:
                async for _ in chunks:
                    pass
            taken.append(time.monotonic() - began)
            if time.monotonic() >= until:
                return

    try:
        await asyncio.gather(*(loop(0.0) for _ in range(at_once)))
        taken.clear()
        before, began = sum(process.cpu_times()[:2]), time.monotonic()
        await asyncio.gather(*(loop(began + seconds) for _ in range(at_once)))
        passed, used = time.monotonic() - began, sum(process.cpu_times()[:2]) - before
        memory = process.memory_info().rss
    finally:
        await engine.close()
    taken.sort()
    latency = {"p50_ms": taken[len(taken) // 2] * 1000, "p95_ms": taken[min(len(taken) - 1, int(len(taken) * 0.95))] * 1000}
    return {"requests_s": len(taken) / passed, **latency, "cores": used / passed, "memory_bytes": memory}


def main(given: Sequence[str] = ()) -> int:  # noqa: ARG001 (the order comes on stdin)
    order = json.loads(sys.stdin.read())
    try:
        found = asyncio.run(measure(Path(order["bundle"]), order["settings"], order["seconds"], order["at_once"]))
    except PenstockError as error:
        print(f"{error} {error.way_out}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
