"""How many CPU threads to train with: measured once per machine and written down, so that every attempt of a run uses the same.

More threads than free cores make training slower, and another count may round differently: so the count is a fact of the machine,
not a guess at each start.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import torch

from penstock.core.digests import digest_json
from penstock.core.files import write_atomic
from penstock.stages.contract import Context
from penstock.stages.train.team import Team

ROUNDS = 5
GAIN = 1.05  # a further thread must make a step at least this much faster


def settle(context: Context, dtype: torch.dtype) -> int:
    """Sets and returns the count for this step: that of an earlier attempt, else the machine's, else measured now."""
    if context.threads == 1:
        torch.set_num_threads(1)
        return 1
    mine, shared = context.scratch / "threads.json", context.machine / "threads.json"
    key = digest_json([cpu_model(), torch.__version__, str(dtype), context.threads])
    count = _read(mine).get(key) or _read(shared).get(key)
    if count is None:
        seconds = {n: step_seconds(n, dtype) for n in range(1, context.threads + 1)}
        count = choose(seconds)
        told = ", ".join(f"{n}: {s * 1e3:.1f} ms" for n, s in seconds.items())
        context.log(f"CPU threads: {count} (a layer took {told})")
        count = _read(shared).get(key, count)  # another process may have settled it meanwhile
        write_atomic(shared, json.dumps(_read(shared) | {key: count}).encode())
    write_atomic(mine, json.dumps({key: count}).encode())
    torch.set_num_threads(count)
    return count


def agreed(team: Team, context: Context, dtype: torch.dtype) -> int:
    """As settle, once for all processes that train together."""
    count = team.told(settle(context, dtype) if team.leads else 0)
    torch.set_num_threads(count)
    return count


def choose(seconds: dict[int, float]) -> int:
    """The smallest count after which no larger one is faster by GAIN."""
    best = 1
    for count in sorted(seconds):
        if seconds[count] * GAIN < seconds[best]:
            best = count
    return best


def step_seconds(threads: int, dtype: torch.dtype) -> float:
    """Fastest of a few forward and backward passes of one feed-forward layer over 512 tokens, with `threads`."""
    torch.set_num_threads(threads)
    random = torch.Generator().manual_seed(0)  # its own, so that measuring leaves no trace in what is trained
    inner = torch.randn(384, 1536, generator=random).to(dtype).requires_grad_()
    outer = torch.randn(1536, 384, generator=random).to(dtype).requires_grad_()
    x = torch.randn(512, 384, generator=random).to(dtype)
    fastest = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(4):
            hidden = torch.nn.functional.gelu(x @ inner)
            torch.nn.functional.layer_norm(x + hidden @ outer, (384,)).sum().backward()
        fastest = min(fastest, (time.perf_counter() - started) / 4)
    return fastest


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _read(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_bytes())
        return {str(k): int(v) for k, v in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}
