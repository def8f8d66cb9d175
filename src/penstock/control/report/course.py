"""Signals as lines that can be drawn: at most so many points, broken where nothing was measured. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from penstock.store.signals import Signal

POINTS = 300  # of a line; more than a screen shows
BREAK = 3.0  # so many points may be missing before the line is broken
_STEPS_S = (1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400, 28 * 86400, 91 * 86400)
_TICKS = 5


class Point(NamedTuple):
    """`low` and `high`: between which the true value lies; `value` itself where that is not known."""

    at: float
    value: float
    low: float
    high: float


def step_of(since: float, until: float, window_s: float) -> float:
    """How long a time one point stands for, seconds."""
    return max(window_s, (until - since) / POINTS)


def course(signals: Sequence[Signal], step_s: float, told: Literal["mean", "worst"]) -> list[list[Point]]:
    """Pieces of the line of one signal, oldest first. Means are weighted by what each window was measured on."""
    points = [_point(list(group), told) for _, group in itertools.groupby(signals, key=lambda s: (s.at - 1e-6) // step_s)]
    pauses = sorted(second.at - first.at for first, second in itertools.pairwise(points))
    longest = BREAK * max(step_s, pauses[len(pauses) // 2] if pauses else 0.0)  # drift is measured every so many requests, not every window
    pieces: list[list[Point]] = []
    for point in points:
        if not pieces or point.at - pieces[-1][-1].at > longest:
            pieces.append([])
        pieces[-1].append(point)
    return pieces


def mean(signals: Sequence[Signal]) -> float:
    """Weighted by what each was measured on."""
    weights = [signal.count for signal in signals]
    if not sum(weights):
        weights = [1.0] * len(signals)
    return sum(signal.value * weight for signal, weight in zip(signals, weights, strict=True)) / sum(weights)


def _point(group: Sequence[Signal], told: Literal["mean", "worst"]) -> Point:
    at = group[-1].at
    if told == "worst" or len(group) == 1:
        worst = max(group, key=lambda signal: signal.value)
        low, high = (worst.value if end is None else end for end in (worst.low, worst.high))
        return Point(at, worst.value, low, high)
    value = mean(group)
    return Point(at, value, value, value)


def time_ticks(since: float, until: float) -> list[tuple[float, str]]:
    """Three to six round local times, and how they are written."""
    step = next((step for step in _STEPS_S if (until - since) / step <= _TICKS), _STEPS_S[-1])
    return [(at, _written(at, step)) for at in _rounds(since, until, step)]


def _rounds(since: float, until: float, step: float) -> Iterator[float]:
    offset = datetime.fromtimestamp(since).astimezone().utcoffset()
    ahead = offset.total_seconds() if offset is not None else 0.0
    at = -(-(since + ahead) // step) * step - ahead
    while at <= until:
        yield at
        at += step


def _written(at: float, step: float) -> str:
    then = datetime.fromtimestamp(at).astimezone()
    return then.strftime("%d %b" if step >= 86400 else "%H:%M" if step >= 60 else "%H:%M:%S")
