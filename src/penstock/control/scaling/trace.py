"""Requests to simulate: real traces of when requests came and how many tokens they had, and what a request costs in seconds.

The traces are Azure's of 2023 (Patel et al., Splitwise, ISCA 2024; CC BY 4.0), an hour each of conversation and of code completion.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.core.errors import BadInput
from penstock.stages.data.catalog import Entry, find_mirror, resolve

_FOLDER, _URL = "azure_llm_trace_2023", "https://raw.githubusercontent.com/Azure/AzurePublicDataset/master/data"
TRACES = {
    name: Entry(f"azure-llm-2023/{name}", f"{_FOLDER}/{file}", f"sha256:{digest}", (f"{_URL}/{file}",), "CC-BY-4.0")
    for name, file, digest in (
        ("conv", "AzureLLMInferenceTrace_conv.csv", "2f1e5b666d4e3055fdbba98598ce2ec307767b9064e03e2fa46676dbcc7d0bf8"),
        ("code", "AzureLLMInferenceTrace_code.csv", "54e9a6d2a4bd06ba1e060304b900abbc74cbea53de96506e60fe5bb4f2277fb6"),
    )
}
COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a trace. `at`: seconds since the epoch."""

    at: float
    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that a replica works on a request: `base_s`, and so much a token read and a token written."""

    base_s: float = 0.0
    prompt_s: float = 0.0004
    completion_s: float = 0.02

    def seconds(self, asked: Asked) -> float:
        return self.base_s + self.prompt_s * asked.prompt + self.completion_s * asked.completion


def trace_file(name: str, cache: Path) -> Path:
    """`conv` or `code` from the mirror or the public address; anything else is a path. Raises BadInput, SourceUnreadable."""
    if name in TRACES:
        return resolve(TRACES[name], find_mirror(), cache).path
    path = Path(name)
    if not path.is_file():
        raise BadInput(f"{name!r} is neither a trace ({', '.join(TRACES)}) nor a file", remedy="Name a CSV file with " + ",".join(COLUMNS))
    return path


def read_trace(path: Path, speedup: float = 1.0) -> list[Asked]:
    """In order of time. `speedup` 2 sends the same requests in half the time. Raises BadInput with the line."""
    if not 0 < speedup < 1e6:
        raise BadInput(f"a speed-up of {speedup:g} makes no sense; 1 is the trace as it was, 10 is ten times as dense")
    found = []
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if missing := set(COLUMNS) - set(rows.fieldnames or ()):
            raise BadInput(f"{path} lacks the columns {', '.join(sorted(missing))}")
        for number, row in enumerate(rows, 2):
            try:
                at = datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC).timestamp()
                found.append(Asked(at, int(row["ContextTokens"]), int(row["GeneratedTokens"])))
            except (ValueError, TypeError) as error:
                raise BadInput(f"{path}:{number}: {error}") from error
    if not found:
        raise BadInput(f"{path} holds no request")
    found.sort(key=lambda asked: asked.at)
    first = found[0].at
    return found if speedup == 1.0 else [Asked(first + (a.at - first) / speedup, a.prompt, a.completion) for a in found]


def another_day(asked: Sequence[Asked], chance: random.Random, width_s: float = 60.0) -> list[Asked]:
    """A day like this one: each minute has a Poisson count around the trace's, of requests drawn from that minute (a block bootstrap)."""
    minutes: dict[int, list[Asked]] = {}
    for one in asked:
        minutes.setdefault(int((one.at - asked[0].at) / width_s), []).append(one)
    made = []
    for minute, pool in minutes.items():
        start = asked[0].at + minute * width_s
        for drawn in chance.choices(pool, k=_poisson(len(pool), chance)):
            made.append(Asked(start + chance.random() * width_s, drawn.prompt, drawn.completion))
    return sorted(made, key=lambda one: one.at)


def fitted(records: Iterable[Mapping[str, Any]]) -> Cost:
    """The cost that explains the gateway's records best (least squares, nothing negative). Raises BadInput where there are too few."""
    rows = []
    for record in records:
        seconds = (record["total_ms"] - record["queue_ms"]) / 1000
        if record["status"] == 200 and record["completion_tokens"] + record["prompt_tokens"] > 0 and seconds > 0:
            rows.append(((1.0, float(record["prompt_tokens"]), float(record["completion_tokens"])), seconds))
    if len(rows) < 20:
        raise BadInput(f"{len(rows)} answered requests with tokens are recorded; a cost takes 20", remedy="Send some first.")
    scale = [max(max(xs[i] for xs, _ in rows), 1e-12) for i in range(3)]
    scaled = [([x / s for x, s in zip(xs, scale, strict=True)], y) for xs, y in rows]
    weights = [0.0, 0.0, 0.0]
    for _ in range(2000):  # coordinate descent: three numbers, bounded below by 0
        for i in range(3):
            top = sum(xs[i] * (y - sum(w * x for j, (w, x) in enumerate(zip(weights, xs, strict=True)) if j != i)) for xs, y in scaled)
            weights[i] = max(0.0, top / max(sum(xs[i] ** 2 for xs, _ in scaled), 1e-12))
    return Cost(*(round(w / s, 9) for w, s in zip(weights, scale, strict=True)))


def _poisson(mean: float, chance: random.Random) -> int:
    """Arrivals of a unit-rate process in `mean` (Knuth's method, on logarithms)."""
    count, passed = 0, chance.expovariate(1.0)
    while passed < mean:
        count, passed = count + 1, passed + chance.expovariate(1.0)
    return count
