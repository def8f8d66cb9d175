"""Both limits of standardised errors, from those of a history: each side passed by chance half as often as was declared.

Incidents of the past do not count: runs of outliers (generalised ESD at a strict level) of which at least RUN lie close together. A single
odd point is left in, for it is what the tail is made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.monitoring.anomalies.esd import outliers
from penstock.monitoring.anomalies.tail import upper_limit

STRICT, MOST = 1e-4, 0.05
RUN, NEAR = 3, 5
COMMON = 0.005  # of points
LEAST = 1.0  # spreads; a signal that never moved has no tail


@dataclass(frozen=True, slots=True)
class Edges:
    """Values that a signal often has and never passed, such as 0 of a rate: just there it is not odd, whatever was expected."""

    low: float | None = None
    high: float | None = None

    def holds(self, value: float) -> bool:
        return value in (self.low, self.high)


def edges(values: Any) -> Edges:
    low, high = float(values.min()), float(values.max())
    at_low, at_high = float((values <= low).mean()), float((values >= high).mean())
    return Edges(low if at_low >= COMMON else None, high if at_high >= COMMON else None)


def usual(errors: Any) -> Any:
    """The errors without those of incidents."""
    import numpy as np

    odd = np.sort(outliers(errors, int(len(errors) * MOST), STRICT))
    inside = np.zeros(len(errors), bool)
    for n in range(len(odd) - RUN + 1):
        if odd[n + RUN - 1] - odd[n] < NEAR:
            inside[odd[n] : odd[n + RUN - 1] + 1] = True
    return errors[~inside]


def limits(errors: Any, false_alarms: float) -> tuple[float, float]:
    """(below, above), both positive, in spreads."""
    kept = usual(errors)
    return max(upper_limit(-kept, false_alarms / 2), LEAST), max(upper_limit(kept, false_alarms / 2), LEAST)
