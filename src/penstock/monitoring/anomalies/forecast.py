"""What a signal should be next: its season, if it has one, on a level that follows slowly; and how far off a point is, in spreads.

A level that follows takes a new normal in after a while; a point far off moves it no more than one at the edge of what is usual.
The spread is by phase of the season, because busy hours vary more than quiet ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.monitoring.anomalies.contract import History
from penstock.monitoring.anomalies.season import BUCKETS, Season, find_season

HALVING = 1 / 16  # of a season in which the level forgets half
POINTS_HALVING = 60.0  # points, where there is no season
CLIP = 3.0  # spreads by which a point moves the level at most
LEAST_SPREAD = 0.1  # of the whole spread, for phases that hardly vary
MAD = 1.4826


@dataclass(slots=True)
class Forecast:
    """Keeps the level; `errors` are those of the history, standardised, each made without knowing its point."""

    season: Season | None
    spread: Any
    level: float
    gain: float
    errors: Any

    def expected(self, at: float) -> float:
        return self.level + (0.0 if self.season is None else float(self.season.at(at)))

    def spread_at(self, at: float) -> float:
        if self.season is None:
            return float(self.spread[0])
        return float(self.spread[int(self.season.phase(at)) % len(self.spread)])

    def step(self, at: float, value: float) -> tuple[float, float]:
        """(what was expected, how far off in spreads); the level then follows."""
        expected, spread = self.expected(at), self.spread_at(at)
        off = (value - expected) / spread
        self.level += self.gain * spread * min(max(off, -CLIP), CLIP)
        return expected, off


def forecast(history: History, column: int, season_s: float, *, halving: float | None = None) -> Forecast:
    """Learnt from one signal of a history; without a season where there are not enough of them. `halving`: points in which the level
    forgets half; infinite: it stays.
    """
    import numpy as np

    at, values = history.at, history.values[:, column]
    season = find_season(at, values, history.step_s, season_s)
    points = halving or (POINTS_HALVING if season is None else max(POINTS_HALVING, HALVING * season_s / history.step_s))
    gain = 0.0 if np.isinf(points) else 1 - 0.5 ** (1 / points)
    pattern = np.zeros(len(values)) if season is None else season.at(at, apart=True)
    plain = values - pattern
    rough = _spread(plain - np.median(plain))
    level, off = float(np.median(plain[: max(10, int(min(points, len(plain)) // 2))])), np.empty(len(plain))
    for n, value in enumerate(plain):
        off[n] = value - level
        level += gain * min(max(off[n], -CLIP * rough), CLIP * rough)
    if gain == 0.0:
        level = float(np.median(plain))
        off = plain - level
    phases = np.zeros(len(at), int) if season is None else np.minimum(season.phase(at).astype(int), BUCKETS - 1)
    spread = _spreads(off, phases, 1 if season is None else len(season.shape))
    return Forecast(season, spread, level, gain, off / spread[phases])


def _spread(off: Any) -> float:
    """Robust; where most points are alike (a rate that is mostly 0), that of the others."""
    import numpy as np

    found = MAD * float(np.median(np.abs(off)))
    return found if found > 0 else max(float(np.std(off)), 1e-9)


def _spreads(off: Any, phases: Any, size: int) -> Any:
    """By phase, over the neighbouring eighth of a season."""
    import numpy as np

    whole = _spread(off)
    if size == 1:
        return np.array([whole])
    reach = max(1, size // 16)
    order = np.argsort(phases, kind="stable")
    cuts = np.searchsorted(phases[order], np.arange(size + 1))
    groups = [off[order[cuts[n] : cuts[n + 1]]] for n in range(size)]
    near = [[groups[(n + d) % size] for d in range(-reach, reach + 1)] for n in range(size)]
    return np.maximum([_spread(np.concatenate(some)) for some in near], LEAST_SPREAD * whole)
