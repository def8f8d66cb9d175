"""How much each model is asked, told by the gateway twice a second in `load/<worker>.json`; whoever scales reads the sum.

A file older than STALE_S is left out, so nothing is known (an empty answer) when no gateway runs: that is no sign of idleness.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from penstock.core.files import write_atomic

STALE_S, WINDOW_S = 5.0, 10


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """Of one model, in all gateway processes. `at` and `last_request`: seconds since the epoch, 0.0 when there was none.

    `waiting` counts requests that wait for a replica with room, `held` those that wait for the first replica of all; neither is in
    `in_flight`. `rate`: requests a second that arrived over the last WINDOW_S seconds. `shed`: requests refused since the start.
    """

    in_flight: int = 0
    waiting: int = 0
    held: int = 0
    rate: float = 0.0
    last_request: float = 0.0
    shed: int = 0
    at: float = 0.0


class Rolling:
    """A count over the last WINDOW_S whole seconds and the one that runs. Times are monotonic seconds; they may not go back."""

    __slots__ = ("_began", "_ends", "_past", "_running", "_second", "_slots")

    def __init__(self, now: float) -> None:
        self._slots = [0.0] * WINDOW_S
        self._second, self._began, self._ends = int(now), now, int(now) + 1
        self._past = self._running = 0.0  # of the seconds that are over, and of the one that is not

    def add(self, now: float, amount: float = 1.0) -> None:
        if now >= self._ends:
            self._turn(int(now))
        self._running += amount

    def over(self, now: float) -> float:
        """The count over the window."""
        if now >= self._ends:
            self._turn(int(now))
        return self._past + self._running

    def rate(self, now: float) -> float:
        """A second, over the part of the window that has been."""
        return self.over(now) / max(min(now - self._began, WINDOW_S - 1 + now % 1.0), 1.0)

    def _turn(self, second: int) -> None:
        self._slots[self._second % WINDOW_S] = self._running
        for passed in range(self._second + 1, min(second, self._second + WINDOW_S) + 1):
            self._slots[passed % WINDOW_S] = 0.0
        self._second, self._ends, self._running = second, second + 1, 0.0
        self._past = sum(self._slots)


def write_load(folder: Path, worker: int, loads: Mapping[str, ModelLoad]) -> None:
    """`folder` is the gateway's. Raises DiskFull or ReadOnly."""
    write_atomic(folder / "load" / f"{worker}.json", orjson.dumps({name: asdict(load) for name, load in loads.items()}), sync=False)


def read_load(folder: Path, now: float | None = None) -> dict[str, ModelLoad]:
    """What the gateway in `folder` said last, by model, summed over its processes. `now`: seconds since the epoch."""
    at, told = time.time() if now is None else now, dict[str, list[ModelLoad]]()
    for file in (folder / "load").glob("*.json"):
        try:
            if at - file.stat().st_mtime > STALE_S:
                continue
            value: dict[str, Any] = orjson.loads(file.read_bytes())
            found = {name: ModelLoad(**load) for name, load in value.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            continue  # replaced, or written by another release, just now: the next look will do
        for name, load in found.items():
            told.setdefault(name, []).append(load)
    return {name: _sum(loads) for name, loads in told.items()}


def _sum(loads: Iterable[ModelLoad]) -> ModelLoad:
    every = list(loads)
    return ModelLoad(
        sum(load.in_flight for load in every),
        sum(load.waiting for load in every),
        sum(load.held for load in every),
        round(sum(load.rate for load in every), 3),
        max(load.last_request for load in every),
        sum(load.shed for load in every),
        max(load.at for load in every),
    )
