"""The load of the last days: one number per five minutes and deployment, in the store, for DAYS_READ days. Prediction reads it."""

from __future__ import annotations

import math
from typing import Any

from penstock.control.scaling.forecast import DAY_SLOTS, DAYS_READ, expected, slot_of
from penstock.spec.deploy import Scale
from penstock.store.points import Point
from penstock.store.store import Store

STEP, NAME = "scaling", "demand"


def note(store: Store, deployment: str, kept: Any, seen: tuple[int, float], now: float) -> list[float]:
    """The busiest moment of the running slot with `seen` (slot, requests at once) in it; a slot that is over goes to the store.

    Written again after a crash it is the same point, so nothing is counted twice.
    """
    slot, demand = seen
    if isinstance(kept, list) and len(kept) == 2 and kept[0] == slot:
        return [slot, round(max(kept[1], demand), 3)]
    if isinstance(kept, list) and len(kept) == 2:
        store.points.append([Point(deployment, STEP, NAME, int(kept[0]), float(kept[1]), now)])
        store.points.forget(deployment, STEP, before_step=slot - (DAYS_READ + 1) * DAY_SLOTS)
    return [slot, round(demand, 3)]


def read(store: Store, deployment: str) -> dict[int, float]:
    """Slot → the most requests at once in it."""
    return {p.at_step: p.value for p in store.points.read(deployment, STEP, NAME) if math.isfinite(p.value)}


def foreseen(store: Store, deployment: str, scale: Scale, kept: Any, when: tuple[float, float]) -> tuple[int | None, list[Any] | None]:
    """Replicas that the time from now until a start from now needs by the last days; and what to keep, so that it is read once a slot.

    `when`: now and the cold start in seconds. None where prediction is off or too few days are known.
    """
    if not scale.predict:
        return None, None
    now, ahead_s = when
    soonest, last = slot_of(now), slot_of(now + ahead_s)
    if not isinstance(kept, list) or kept[:2] != [soonest, last]:
        kept = [soonest, last, expected(read(store, deployment), now, ahead_s)]
    load = kept[2]
    return (None if load is None else math.ceil(load / scale.target_concurrency - 1e-9)), kept
