"""Policies side by side on one trace: fixed, by load, by the clock, by the last days. Each is a `scale` section for the same functions."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from penstock.control.scaling.forecast import DAY_SLOTS, SLOT_S
from penstock.control.scaling.simulate import Arrival, Fleet, Outcome, demand_by_slot, simulate
from penstock.control.scaling.trace import Asked, Cost, another_day
from penstock.spec.deploy import Scale, ScaleTime

WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What the policies are tried on. `days`: days like the trace's that the predicting and the scheduled one have seen before."""

    scale: Scale
    fleet: Fleet = field(default_factory=Fleet)
    cost: Cost = field(default_factory=Cost)
    days: int = 7
    seed: int = 7


@dataclass(frozen=True, slots=True)
class Compared:
    name: str
    scale: Scale
    outcome: Outcome

    def as_json(self) -> dict[str, Any]:
        out = self.outcome
        waits = {f"wait_p{round(share * 100)}_s": round(out.wait(share), 3) for share in (0.5, 0.95, 0.99)}
        answered = len(out.waits)
        return {
            "policy": self.name,
            **waits,
            "replica_hours": round(out.replica_s / 3600, 3),
            "cold_starts": out.starts,
            "changes": out.changes,
            "answered": answered,
            "dropped": out.dropped,
            "scale": self.scale.model_dump(mode="json", exclude_defaults=True),
        }


def compare(asked: Sequence[Asked], setting: Setting) -> list[Compared]:
    """Every policy on the same requests. Two fixed numbers stand for what people set by hand: the mean load's and the peak's."""
    arrivals = arrivals_of(asked, setting.cost)
    history = days_before(asked, setting)
    return [
        Compared(name, scale, simulate(arrivals, scale, setting.fleet, history)) for name, scale in policies(arrivals, history, setting)
    ]


def arrivals_of(asked: Sequence[Asked], cost: Cost) -> list[Arrival]:
    return [Arrival(one.at, cost.seconds(one)) for one in asked]


def policies(arrivals: Sequence[Arrival], history: Mapping[int, float], setting: Setting) -> list[tuple[str, Scale]]:
    scale, target = setting.scale, setting.scale.target_concurrency
    span_s = max(arrivals[-1].at - arrivals[0].at, 1.0)
    mean = math.ceil(sum(one.work_s for one in arrivals) / span_s / target)
    peak = math.ceil(max(demand_by_slot(arrivals, WINDOW_S, WINDOW_S).values()) / target)
    plain = scale.model_copy(update={"predict": False, "schedule": ()})
    return [
        (f"fixed at the mean: {mean}", plain.model_copy(update={"min": mean, "max": mean})),
        (f"fixed at the peak: {peak}", plain.model_copy(update={"min": peak, "max": peak})),
        ("by load", plain),
        ("by load and schedule", plain.model_copy(update={"schedule": schedule_of(history, scale)})),
        ("by load, predicted", plain.model_copy(update={"predict": True})),
    ]


def days_before(asked: Sequence[Asked], setting: Setting) -> dict[int, float]:
    """The history that `days` days like this one would have left: a bootstrap of the trace's minutes, as no trace of days is at hand."""
    chance, history = random.Random(setting.seed), dict[int, float]()
    for age in range(1, setting.days + 1):
        day = arrivals_of(another_day(asked, chance), setting.cost)
        for slot, demand in demand_by_slot(day, SLOT_S, WINDOW_S).items():
            history[slot - age * DAY_SLOTS] = demand
    return history


def schedule_of(history: Mapping[int, float], scale: Scale) -> tuple[ScaleTime, ...]:
    """The schedule that somebody would write who looked at those days: for each time of day the replicas that the mean day needed."""
    by_time: dict[int, list[float]] = {}
    for slot, demand in history.items():
        by_time.setdefault(slot % DAY_SLOTS, []).append(demand)
    entries: list[ScaleTime] = []
    for time, values in sorted(by_time.items()):
        number = min(max(math.ceil(sum(values) / len(values) / scale.target_concurrency), scale.min), scale.most)
        start, end = _clock(time), _clock((time + 1) % DAY_SLOTS)
        if entries and (entries[-1].end, entries[-1].min) == (start, number):
            entries[-1] = entries[-1].model_copy(update={"end": end})
        else:
            entries.append(ScaleTime(start=start, end=end, min=number, max=scale.most))
    return tuple(entries)


def _clock(slot: int) -> str:
    return datetime.fromtimestamp(slot * SLOT_S, UTC).strftime("%H:%M")
