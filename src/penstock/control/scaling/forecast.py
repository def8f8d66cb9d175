"""What this time of day needed on the last days: a weighted quantile of load by five-minute slots, looked up a start ahead.

Times of day are UTC: where clocks change, the profile is an hour off until it has seen DAYS_NEEDED days of the new time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

SLOT_S = 300
DAY_SLOTS = 86_400 // SLOT_S
DAYS_NEEDED = 2  # days with this time of day before anything is said
DAYS_READ = 14
HALF_LIFE_DAYS = 3.5
SAME_WEEKDAY = 5.0  # times the weight: Mondays look like Mondays
NEIGHBOUR = 0.5  # weight of the slot before and after: the same load comes a few minutes earlier or later
QUANTILE = 0.75


def slot_of(now: float) -> int:
    """Number of the five minutes, counted from the epoch."""
    return math.floor(now / SLOT_S)


def expected(history: Mapping[int, float], now: float, ahead_s: float) -> float | None:
    """The largest load (requests at once) foreseen from now until `ahead_s` and the rest of that slot have passed.

    `history`: slot number → the most requests at once, averaged over the stable window, in it. None: fewer than DAYS_NEEDED days known.
    """
    first, last = slot_of(now), slot_of(now + max(ahead_s, 0.0))
    values = [value for slot in range(first, last + 1) if (value := _slot(history, slot)) is not None]
    return max(values) if values else None


def _slot(history: Mapping[int, float], slot: int) -> float | None:
    rows: list[tuple[float, float]] = []
    days = 0
    for age in range(1, DAYS_READ + 1):
        weight = 0.5 ** (age / HALF_LIFE_DAYS) * (SAME_WEEKDAY if age % 7 == 0 else 1.0)
        then = slot - age * DAY_SLOTS
        days += then in history
        for offset, share in ((0, 1.0), (-1, NEIGHBOUR), (1, NEIGHBOUR)):
            if then + offset in history:
                rows.append((history[then + offset], weight * share))
    return weighted_quantile(rows, QUANTILE) if days >= DAYS_NEEDED else None


def weighted_quantile(rows: Iterable[tuple[float, float]], share: float) -> float:
    """The smallest value that at least `share` of the weight does not exceed. `rows`: (value, weight), at least one."""
    ordered = sorted(rows)
    wanted, passed = share * sum(weight for _, weight in ordered), 0.0
    for value, weight in ordered:
        passed += weight
        if passed >= wanted - 1e-12:
            return value
    return ordered[-1][0]
