"""The pattern of a season (a day, a week) in a history, without what was odd in it.

The idea is that of STL (Cleveland et al. 1990): season and level are estimated in turn, each by a smoother that outliers hardly move. A
season is cut into at most BUCKETS phases; its shape is the median over seasons of each phase, smoothed over neighbouring phases (tricube);
the level is one median a season. A season is judged by the shape of the others, so errors are as large as those of points to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BUCKETS = 96
LEAST_SEASONS = 3.0  # with two, noise that wanders slowly is taken for the pattern
SMOOTHING = 2  # phases to each side
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Season:
    """`shape`: by phase, around 0. `apart`: by season and phase, the shape without that season. `start`: where a season begins."""

    shape: Any
    apart: Any
    start: float
    length_s: float

    def phase(self, at: Any) -> Any:
        """Phases of instants, as fractions of their number."""
        return ((at - self.start) % self.length_s) / self.length_s * len(self.shape)

    def at(self, at: Any, *, apart: bool = False) -> Any:
        """The pattern at instants, between phases by a straight line; `apart`: as the other seasons have it."""
        import numpy as np

        size = len(self.shape)
        place = self.phase(np.asarray(at, dtype=float)) - 0.5
        low = np.floor(place).astype(int)
        share = place - low
        if apart:
            number = np.clip(((np.asarray(at) - self.start) // self.length_s).astype(int), 0, len(self.apart) - 1)
            return (1 - share) * self.apart[number, low % size] + share * self.apart[number, (low + 1) % size]
        return (1 - share) * self.shape[low % size] + share * self.shape[(low + 1) % size]


def find_season(at: Any, values: Any, step_s: float, length_s: float) -> Season | None:
    """None where the history holds fewer than LEAST_SEASONS seasons, or too few points of each."""
    import numpy as np

    if length_s < 4 * step_s or at[-1] - at[0] + step_s < LEAST_SEASONS * length_s:
        return None
    buckets = min(BUCKETS, int(length_s // step_s))
    start = float(at[-1]) + step_s - np.ceil((at[-1] - at[0] + step_s) / length_s) * length_s  # the last season is whole
    number = ((at - start) // length_s).astype(int)
    phase = np.minimum(((at - start) % length_s / length_s * buckets).astype(int), buckets - 1)
    shape, level = np.zeros(buckets), np.zeros(number.max() + 1)
    for _ in range(ROUNDS):
        level = np.array([_median(values[number == k] - shape[phase[number == k]]) for k in range(len(level))])
        table = _table(values - level[number], number, phase, len(level), buckets)
        shape = _smooth(_centred(np.nanmedian(table, axis=0)))
    apart = np.array([_smooth(_centred(np.nanmedian(np.delete(table, k, axis=0), axis=0))) for k in range(len(level))])
    return Season(shape, apart, float(start), length_s)


def _median(values: Any) -> float:
    import numpy as np

    return float(np.median(values)) if len(values) else 0.0


def _table(values: Any, number: Any, phase: Any, seasons: int, buckets: int) -> Any:
    """Medians by season and phase; where a season has no points of a phase, those of the other seasons' middle."""
    import numpy as np

    table = np.full((seasons, buckets), np.nan)
    order = np.lexsort((phase, number))
    keys = number[order] * buckets + phase[order]
    cuts = np.flatnonzero(np.diff(keys)) + 1
    for group in np.split(order, cuts):
        table[number[group[0]], phase[group[0]]] = np.median(values[group])
    return np.where(np.isnan(table), np.nanmedian(table), table)


def _centred(shape: Any) -> Any:
    import numpy as np

    return shape - np.median(shape)


def _smooth(shape: Any) -> Any:
    """A circular tricube mean over neighbouring phases."""
    import numpy as np

    reach = min(SMOOTHING, (len(shape) - 1) // 4)
    weights = (1 - (np.abs(np.arange(-reach, reach + 1)) / (reach + 1)) ** 3) ** 3
    padded = np.concatenate([shape[-reach:], shape, shape[:reach]]) if reach else shape
    return np.convolve(padded, weights / weights.sum(), mode="valid")
