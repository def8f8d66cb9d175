"""Limits that a clean window is over with a declared probability, from the reference's own rows.

Windows of the declared size are drawn from the rows without replacement, and each is compared with the rows that are left: as a new window
is with the reference, both free of each other. The limit is the far quantile of such distances (tail.py). Then two corrections: the
rows left are fewer than the reference (distances scale as (1/n + 1/N) ** (order / 2)), and the reference is one sample, lucky or not, that
all later windows are compared with: what lies above the median is widened as if its share of the noise were doubled.

Several detectors of one signal, and all signals of a summary, are judged by their largest ratio of distance to limit; the same drawn
windows say how far that goes, so the declared probability is that of the signal, and of the summary, as a whole.
Not covered: a reference of other rows than those that will come. A limit can only know the rows it was made from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.core.errors import DataUnusable
from penstock.monitoring.drift.contract import Sketch
from penstock.monitoring.drift.standard import Asked, Part, Reference, Standard, groups
from penstock.monitoring.drift.table import behind, detector
from penstock.monitoring.drift.tail import far_quantile

DRAWS, SEED, LEAST_ROWS = 2000, 7, 100
DIGITS = 6  # significant, of limits: sums in another order differ only beyond


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows of a window and of the reference, and of the windows that are drawn, from it."""

    window: int
    reference: int

    @property
    def drawn(self) -> int:
        return max(1, min(self.window, self.reference // 2))

    def noise(self, order: int) -> float:
        """How much larger distances of real windows are than those of drawn ones."""
        real, drawn = 1 / self.window + 1 / self.reference, 1 / self.drawn + 1 / (self.reference - self.drawn)
        return float((real / drawn) ** (order / 2))

    @property
    def luck(self) -> float:
        return math.sqrt((1 / self.window + 2 / self.reference) / (1 / self.window + 1 / self.reference))


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A detector's sketch of the reference, the reference's rows lifted, and distances of the drawn windows."""

    detector: str
    sketch: Sketch
    lifted: Any
    distances: np.ndarray


def calibrated(
    values: Mapping[str, Any],
    asked: Sequence[Asked],
    everything: Sequence[Asked] = (),
    stored: Iterable[str] | None = None,
    *,
    draws: int = DRAWS,
) -> Reference:
    """A reference of `values`: rows of each signal, as many of each and in the same order.

    `everything`: all entries that summaries are over, when `asked` (those with values) are only some; `stored`: signals that have a stored
    reference, when those are others than `asked`. Raises DataUnusable for too few rows.
    """
    rows = {one.signal: len(values[one.signal]) for one in asked}
    for signal, count in rows.items():
        if count < LEAST_ROWS:
            raise DataUnusable(
                f"{signal} has {count} reference rows; limits need {LEAST_ROWS}",
                remedy="Give the data stage test rows, or a larger `split.validation`.",
            )
    kept = {one.signal for one in asked} if stored is None else set(stored)
    standards: dict[str, Standard] = {}
    ratios: dict[str, np.ndarray] = {}
    for window in sorted({one.window for one in asked}):
        together = [one for one in asked if one.window == window]
        drawn = _drawn(together, values, draws)
        for one in together:
            standards[one.signal], ratios[one.signal] = _standard(one, drawn[one.signal], rows[one.signal])
    scales: dict[str, dict[str, float]] = {}
    for summary, by_group in groups(everything or asked, kept).items():
        for group, members in by_group.items():
            present = [one for one in members if one.signal in ratios]
            if present:
                above = min(one.false_alarms for one in members) / len(by_group)
                largest = np.max([ratios[one.signal] for one in present], axis=0)
                scales.setdefault(summary, {})[group] = _digits(max(far_quantile(largest, above), 1e-9))
    return Reference(standards, scales)


def _drawn(asked: Sequence[Asked], values: Mapping[str, Any], draws: int) -> dict[str, list[_Fitted]]:
    """Distances of windows, the same rows for all entries that are `asked` for."""
    fitted: dict[str, list[tuple[str, Any, Any]]] = {}
    for one in asked:
        made: dict[str, tuple[Any, Any]] = {}
        for name, kind in _parts(one, values):
            if kind not in made:
                made[kind] = _kind(kind).fit(values[one.signal])
            fitted.setdefault(one.signal, []).append((name, *made[kind]))
    distances = {signal: np.zeros((len(parts), draws)) for signal, parts in fitted.items()}
    chance = np.random.default_rng(SEED)
    rows = len(next(iter(values.values())))
    sizes = Sizes(asked[0].window, rows)
    for draw in range(draws if any(one.limit is None for one in asked) else 0):
        window = chance.permutation(rows)[: sizes.drawn]
        for one in asked:
            if one.limit is None:
                _measure(fitted[one.signal], window, distances[one.signal][:, draw])
    return {
        signal: [_Fitted(name, sketch, lifted, distances[signal][at]) for at, (name, sketch, lifted) in enumerate(parts)]
        for signal, parts in fitted.items()
    }


def _measure(parts: Sequence[tuple[str, Any, Any]], window: np.ndarray, into: np.ndarray) -> None:
    made: dict[int, tuple[Any, Any]] = {}
    for at, (name, sketch, lifted) in enumerate(parts):
        if id(sketch) not in made:
            current = sketch.of(lifted[window])
            made[id(sketch)] = sketch.less(current), current
        into[at] = detector(name).distance(*made[id(sketch)])


def _standard(one: Asked, parts: Sequence[_Fitted], rows: int) -> tuple[Standard, np.ndarray]:
    """With limits, and the ratio of each drawn window to them."""
    if one.limit is not None:
        return Standard(one, (Part(parts[0].detector, parts[0].sketch, one.limit),), float(rows)), np.zeros(1)
    sizes = Sizes(one.window, rows)
    scaled = [part.distances * sizes.noise(detector(part.detector).order) for part in parts]
    first = [max(far_quantile(distances, one.false_alarms), 1e-12) for distances in scaled]
    largest = np.max([distances / limit for distances, limit in zip(scaled, first, strict=True)], axis=0)
    joint = far_quantile(largest, one.false_alarms) if len(parts) > 1 else 1.0
    made = []
    for part, distances, limit in zip(parts, scaled, first, strict=True):
        middle = float(np.median(distances))
        widened = middle + max(limit * joint - middle, 0.0) * sizes.luck
        made.append(Part(part.detector, part.sketch, _digits(max(widened, _floor(part, one, rows), 1e-9))))
    return Standard(one, tuple(made), float(rows)), largest / max(joint, 1e-12)


def _floor(part: _Fitted, one: Asked, rows: int) -> float:
    """The distance of a window that holds a few rows of a kind that so many reference rows may have missed by chance."""
    stained = getattr(part.sketch, "stained", None)
    if stained is None:
        return 0.0
    found = detector(part.detector).distance(part.sketch, stained(strangers(one.window, rows, one.false_alarms), one.window))
    return float(found)


def strangers(window: int, rows: int, above: float) -> int:
    """The number that a window holds more of with probability `above` at most, of rows that are 2 in `rows`."""
    mean, count = 2 * window / rows, 0
    term = total = math.exp(-mean)
    while total < 1 - above and count < window:
        count += 1
        term *= mean / count
        total += term
    return count


def _parts(one: Asked, values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found = behind(one.signal, numeric=_numeric(values[one.signal]))
    return found if one.limit is None else found[:1]


def _numeric(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "f"


def _kind(name: str) -> Any:
    from penstock.monitoring.drift.table import SKETCHES

    return SKETCHES.load(name)


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
