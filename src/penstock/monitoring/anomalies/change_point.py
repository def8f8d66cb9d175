"""A lasting change of level: two cumulative sums (Page 1954), one up and one down, over standardised errors.

What looks like a change by chance depends on how errors hang together in time, so the limit is found by drawing blocks of the history's own
errors and following the sums through them. Once a change has been told for HOLD points, the level after it is the new normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.monitoring.anomalies.contract import Found, History, Settings
from penstock.monitoring.anomalies.forecast import Forecast, forecast
from penstock.monitoring.anomalies.limits import usual
from penstock.monitoring.anomalies.tail import upper_limit

SLACK = 0.5  # spreads that an error may be off without adding up
CLIP = 5.0  # spreads that one error counts for at most: one odd point is no change of level
LEAST = 300  # points
FOLLOWS = 0.5  # of a season in which the level forgets half, so that slow wandering is no change
BLOCK = 1 / 6  # of a season, drawn together; at least LEAST_BLOCK points, at most a quarter of the history
LEAST_BLOCK, BLOCKS, PATHS = 60, 20, 200
CAUTION = 2.0
HOLD, SETTLES = 30, 90  # points for which a change is told, and for which nothing is said after
SETTLING = 1 - 0.5 ** (1 / 20)  # of the way to a point, meanwhile
SEED = 1954


@dataclass(slots=True)
class Sums:
    """Both sums and where each left 0 last; `told`: points since a change was found; `settling`: points until the new level is believed."""

    forecast: Forecast
    limit: float
    up: float = 0.0
    down: float = 0.0
    up_since: float = math.nan
    down_since: float = math.nan
    told: int = 0
    settling: int = 0

    def step(self, at: float, values: Sequence[float]) -> Found:
        expected, off = self.forecast.step(at, values[0])
        if self.settling:
            self._settle(at, values[0])
            return Found(0.0, self.limit, (values[0],), (expected,))
        error = min(max(off, -CLIP), CLIP)
        self.up, self.up_since = _added(self.up, error, at, self.up_since)
        self.down, self.down_since = _added(self.down, -error, at, self.down_since)
        rising = self.up >= self.down
        score, since = (self.up, self.up_since) if rising else (self.down, self.down_since)
        self.told = self.told + 1 if score > self.limit else 0
        if self.told >= HOLD:
            self.up = self.down = 0.0
            self.told, self.settling = 0, SETTLES
        why = {"since": since, "side": "above" if rising else "below"}
        return Found(score, self.limit, (values[0],), (expected,), why if score > 0 else {})

    def _settle(self, at: float, value: float) -> None:
        """The level goes to where values are now, by all of them, odd or not: those that raised the alarm alone would lead too far."""
        spread = self.forecast.spread_at(at)
        off = (value - self.forecast.expected(at)) / spread
        self.forecast.level += SETTLING * spread * min(max(off, -CLIP), CLIP)
        self.settling -= 1


def _added(total: float, error: float, at: float, since: float) -> tuple[float, float]:
    fresh = max(0.0, total + error - SLACK)
    return fresh, (at if total == 0.0 else since) if fresh > 0.0 else math.nan


class ChangePoint:
    joint = False
    times_a_season = 2.0

    def learn(self, history: History, settings: Settings) -> Sums | None:
        if history.points < LEAST:
            return None
        season = settings.season_s / history.step_s
        found = forecast(history, 0, settings.season_s, halving=max(FOLLOWS * season, 2 * LEAST))
        size = int(min(max(BLOCK * season, LEAST_BLOCK), history.points // 4))
        # Slow wandering is seen only as often as there were seasons: few of them hide how far it can go.
        caution = 1 + CAUTION / max(1.0, history.points / season)
        return Sums(found, caution * _limit(usual(found.errors), size, settings.false_alarms))


def _limit(errors: Any, size: int, false_alarms: float) -> float:
    """The height that the larger sum passes in a share `false_alarms` of points, along paths of drawn blocks of the history's errors."""
    import numpy as np

    clipped = np.clip(errors, -CLIP, CLIP)
    rng, size = np.random.default_rng(SEED), min(size, len(clipped))
    starts = rng.integers(0, len(clipped) - size + 1, (PATHS, BLOCKS))
    up, down = np.zeros(PATHS), np.zeros(PATHS)
    heights = np.empty((BLOCKS * size, PATHS))
    for n in range(BLOCKS * size):
        error = clipped[starts[:, n // size] + n % size]
        up, down = np.maximum(0.0, up + error - SLACK), np.maximum(0.0, down - error - SLACK)
        heights[n] = np.maximum(up, down)
    settled = heights[size:]  # sums that begin at 0 are no usual state
    return max(upper_limit(settled.ravel(), false_alarms), 2 * CLIP)


CHANGE_POINT = ChangePoint()
