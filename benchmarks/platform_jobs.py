"""Jobs of one platform, for benchmarks/platforms.py: submitted beside the vendor's plain call, looked at, their logs followed."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from penstock.core.home import Home
from penstock.platforms.contract import JobSpec
from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import ended, user_job
from platform_places import Place, named

SUBMITTED, LOOKS, LINES = 10, 50, 25
LAGS = """
import time
from penstock.stages.user.types import Context

def speak(number: int, context: Context) -> int:
    for _ in range(number):
        context.log(f"at {time.time()}")
        time.sleep(0.2)
    return number
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    """Of one call, medians: seconds, and CPU seconds of this process (where the emulator's threads are too)."""

    wall_s: float
    cpu_s: float


def spent(call: Callable[[int], Any], times: int) -> Spent:
    rows = []
    for n in range(times):
        began, used = time.perf_counter(), time.process_time()
        call(n)
        rows.append((time.perf_counter() - began, time.process_time() - used))
    return Spent(*(statistics.median(column) for column in zip(*rows, strict=True)))


def submitted(place: Place, home: Home, artifacts: Artifacts, folder: Path) -> tuple[Spent, Spent, Spent]:
    """(a submit, the vendor's plain call, a look at a job). No container runs."""
    section = dict(place.section)
    if place.kind == "kubernetes":
        section["pools"] = {"none": {"cpus": 64, "memory": "64GiB", "labels": {"no": "node"}}}
    else:
        place.state.start_s = 1e6
    made: Any = place.parts.jobs(home, artifacts, section)
    orders: list[Any] = []
    made.driver = _Recording(made.driver, orders)
    ours = spent(lambda n: made.submit(user_job(folder / "code", "double", {"number": n})), SUBMITTED)
    plain = spent(lambda n: place.plain(made.driver.inner, named(orders[n], f"{orders[n].name}-p")), SUBMITTED)
    handle = made.submit(user_job(folder / "code", "double", {"number": 0}))
    look = spent(lambda _: made.observe(handle), LOOKS)
    made.close()
    if place.kind != "kubernetes":
        place.state.start_s = 0.0
    return ours, plain, look


class _Recording:
    """A driver that keeps what was ordered."""

    def __init__(self, inner: Any, orders: list[Any]) -> None:
        self.inner, self._orders = inner, orders

    def create(self, order: Any) -> None:
        self._orders.append(order)
        self.inner.create(order)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def followed(place: Place, home: Home, artifacts: Artifacts, folder: Path) -> tuple[float, Sequence[float]]:
    """(seconds from submit to a step's first line, lags of the lines that follow)."""
    made: Any = place.parts.jobs(home, artifacts, place.section)
    job: JobSpec = user_job(folder / "lag", "double", {"number": LINES})
    (folder / "lag" / "lag_steps.py").write_text(LAGS)
    job = dataclasses.replace(job, config={**job.config, "uses": "lag_steps:speak"})
    began, started, seen, cursor = time.time(), 0.0, list[float](), 0
    handle = made.submit(job)
    while made.observe(handle).phase in ("pending", "running"):
        page = made.logs(handle, cursor)
        cursor, now = page.cursor, time.time()
        for line in page.lines:
            if '"at ' in line:
                at = float(line.split('"at ')[1].split('"')[0])
                started = started or at
                seen.append(now - at)
        made.wait(0.1)
    state = ended(made, handle)
    assert state.phase == "succeeded", state.error
    made.close()
    return started - began, seen
