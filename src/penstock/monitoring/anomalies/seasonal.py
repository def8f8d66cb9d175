"""A signal against its own season: how far a point is from what its phase of the season and the present level make expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.monitoring.anomalies.contract import Found, History, Settings
from penstock.monitoring.anomalies.forecast import Forecast, forecast
from penstock.monitoring.anomalies.limits import Edges, edges, limits

LEAST = 200  # points


@dataclass(slots=True)
class Banded:
    """A forecast with a limit to each side."""

    forecast: Forecast
    below: float
    above: float
    edges: Edges

    def step(self, at: float, values: Sequence[float]) -> Found:
        expected, off = self.forecast.step(at, values[0])
        limit = self.above if off >= 0 else self.below
        score = min(abs(off), limit) if self.edges.holds(values[0]) else abs(off)
        return Found(score, limit, (values[0],), (expected,), {"side": "above" if off >= 0 else "below"})


def banded(found: Forecast, history: History, settings: Settings) -> Banded:
    return Banded(found, *limits(found.errors, settings.false_alarms), edges(history.values[:, 0]))


class Seasonal:
    joint = False
    times_a_season = 8.0

    def learn(self, history: History, settings: Settings) -> Banded | None:
        if history.points < LEAST:
            return None
        found = forecast(history, 0, settings.season_s)
        return None if found.season is None else banded(found, history, settings)


SEASONAL = Seasonal()
