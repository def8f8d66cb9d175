"""Curves in the terminal: one line each, as tall as a character and as wide as WIDTH."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.store.points import Point

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40


def curves_of(points: Iterable[Point]) -> list[dict[str, Any]]:
    """One record a curve, in order of first appearance: `step` (of the run), `name`, `points` [[at_step, value], …] by at_step."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for point in points:
        found.setdefault((point.step, point.name), []).append([point.at_step, point.value])
    return [{"step": step, "name": name, "points": sorted(rows)} for (step, name), rows in found.items()]


def curve_lines(curves: Sequence[dict[str, Any]]) -> list[str]:
    width = max((len(f"{c['step']} {c['name']}") for c in curves), default=0)
    return [f"{c['step'] + ' ' + c['name']:<{width}}  {_drawn(c['points'])}" for c in curves]


def _drawn(points: Sequence[Sequence[float]]) -> str:
    values = [value for _, value in points]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return f"{len(values)} points, none finite"
    low, high = min(finite), max(finite)
    line = "".join(_bar(value, low, high) for value in _thinned(values))
    return f"{line:<{WIDTH}}  {values[0]:.4g} → {values[-1]:.4g}  (lowest {low:.4g}, highest {high:.4g}, {len(values)} points)"


def _thinned(values: Sequence[float]) -> list[float]:
    """At most WIDTH values: the means of equal parts."""
    if len(values) <= WIDTH:
        return list(values)
    edges = [len(values) * n // WIDTH for n in range(WIDTH + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def _bar(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "!"
    return BARS[0] if high == low else BARS[min(len(BARS) - 1, int((value - low) / (high - low) * len(BARS)))]
