"""From the windows of a span to signals, by the names of spec/signals.py: for the whole deployment, by version, by slice.

Shares and means of scores come with Wilson intervals, quantiles with those of their ranks, all of 95 %. What nothing was measured of has no
signal: no requests, no error rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.monitoring.wilson import bounds
from penstock.monitoring.windows.codec import Span
from penstock.monitoring.windows.sketch import Sketch
from penstock.monitoring.windows.window import Cell, Window, by_slice, by_version, whole
from penstock.store.signals import Signal

Z = 1.96
MOST_TOLD = 20  # slices that get signals: those with most requests in the window
HOUR_S = 3600.0
_RATES = {
    "error_rate": "failed",
    "refused_rate": "refused",
    "gone_rate": "gone",
    "blocked_rate": "blocked",
    "retried_rate": "retried",
}
_QUANTILES = (
    ("latency", "total_ms", (0.5, 0.95, 0.99)),
    ("first_token", "first_ms", (0.5, 0.95)),
    ("queue", "queue_ms", (0.95,)),
)
_OF_SLICES = ("requests", "error_rate", "blocked_rate", "latency.p95_ms", "live.score", "live.accuracy", "cost.hour", "cost.day")


class Value(NamedTuple):
    """What a signal says, without what it is of."""

    name: str
    value: float
    samples: float
    low: float | None = None
    high: float | None = None


class Place(NamedTuple):
    version: str = ""
    slice: str = ""


def signals_of(deployment: str, span: Span, cells: Mapping[Cell, Window], versions: Iterable[str] = ()) -> list[Signal]:
    """Of the span that ended; `versions`: those that serve, which are told of also when nobody asked them."""
    made = [(place, value) for place, window in parts(cells, versions) for value in told_at(place, window, span.length)]
    return [Signal(deployment, v.name, span.end, v.value, v.samples, place.version, place.slice, None, v.low, v.high) for place, v in made]


def parts(cells: Mapping[Cell, Window], versions: Iterable[str] = ()) -> Iterator[tuple[Place, Window]]:
    """What has signals of its own: the deployment, its versions, its busiest slices, and what was not for clients' eyes."""
    yield Place(), whole(cells)
    live = by_version(cells)
    for version in dict.fromkeys((*versions, *live)):
        yield Place(version), live.get(version) or Window()
    slices = sorted(by_slice(cells).items(), key=lambda item: (-item[1]["requests"], item[0]))
    for name, window in slices[:MOST_TOLD]:
        yield Place("", name), window
    for version, window in by_version(cells, "shadow").items():
        yield Place(version, "traffic=shadow"), window
    for version, window in by_version(cells, "fallback").items():
        yield Place(version, "traffic=fallback"), window


def told_at(place: Place, window: Window, length_s: float) -> list[Value]:
    """The values of `values` that are told of such a place: all but of slices, which are many."""
    found = values(window, length_s)
    if place == Place():
        found.append(Value("live.rated", window["rated"], window["rated"]))
    if place.slice and not place.slice.startswith("traffic="):
        return [value for value in found if value.name in _OF_SLICES]
    return found


def values(window: Window, length_s: float) -> list[Value]:
    count = window["requests"]
    found = [Value("requests", count, count), Value("requests_per_s", count / length_s, count)]
    if count:
        found.append(Value("tokens_per_s", window["completion_tokens"] / length_s, count))
        found += [_share(name, window[of], count) for name, of in _RATES.items()]
        found.append(Value("cost.request", window["cost_usd"] / count, count))
    if window["energy_wh"]:
        found.append(Value("energy.request_wh", window["energy_wh"] / count, count))
    for name, of, shares in _QUANTILES:
        found += _quantiles(name, window.sketch(of), shares)
    if window["sure"]:
        found.append(Value("live.confidence", window["confidence"] / window["sure"], window["sure"]))
    if window["scored"]:
        found.append(_share("live.score", window["score"], window["scored"]))
    if window["labelled"]:
        found.append(_share("live.accuracy", window["right"], window["labelled"]))
    return found


def _share(name: str, cases: float, count: float) -> Value:
    share = min(cases / count, 1.0)
    return Value(name, share, count, *bounds(share, count, Z))


def _quantiles(name: str, sketch: Sketch, shares: Sequence[float]) -> Iterator[Value]:
    count = sketch.count
    if not count:
        return
    for share in shares:
        spread = Z * math.sqrt(share * (1 - share) / count)
        low, value, high = sketch.quantiles((max(0.0, share - spread), share, min(1.0, share + spread)))
        yield Value(f"{name}.p{round(share * 100)}_ms", value, count, low, high)


@dataclass(slots=True)
class Spend:
    """USD of each place over the last hour, since midnight and since the first of the month (UTC). JSON values inside.

    It counts what answers in another model's place cost as well: it is this deployment's money.
    """

    hours: dict[Place, list[list[float]]] = field(default_factory=dict)  # [end of a window, USD], oldest first
    sums: dict[Place, dict[str, float]] = field(default_factory=dict)  # by day (20261128) and month (202611)

    def add(self, span: Span, cells: Mapping[Cell, Window]) -> None:
        for cell, window in cells.items():
            cost = window["cost_usd"]
            if not cost or cell.kind == "shadow":
                continue
            for place in [Place("", cell.slice)] if cell.slice else [Place(), Place(cell.version)] if cell.version else [Place()]:
                self._add(place, span, cost)

    def _add(self, place: Place, span: Span, cost: float) -> None:
        hour = self.hours.setdefault(place, [])
        if hour and hour[-1][0] == span.end:
            hour[-1][1] += cost
        else:
            hour.append([span.end, cost])
        sums = self.sums.setdefault(place, {})
        for name in _days(span.start)[: 1 if place.slice else 2]:  # slices come and go: no month of them
            sums[name] = sums.get(name, 0.0) + cost

    def signals(self, deployment: str, span: Span, told: Iterable[Place]) -> list[Signal]:
        """Of the deployment, and of those of `told` that cost anything; what was over before `span` is forgotten."""
        self._forget(span)
        day, month = _days(span.start)
        found = []
        for place in dict.fromkeys((Place(), *(place for place in told if place in self.sums))):
            sums = self.sums.get(place, {})
            hour = sum(usd for end, usd in self.hours.get(place, ()) if end <= span.end)
            amounts = {"cost.hour": hour, "cost.day": sums.get(day, 0.0), "cost.month": sums.get(month, 0.0)}
            names = [name for name in amounts if not place.slice or name in _OF_SLICES]
            found += [Signal(deployment, name, span.end, amounts[name], 0.0, place.version, place.slice) for name in names]
        return found

    def _forget(self, span: Span) -> None:
        day, month = _days(span.start)
        for place in [*self.hours]:
            self.hours[place] = [entry for entry in self.hours[place] if entry[0] > span.end - HOUR_S]
            sums = self.sums.get(place, {})
            self.sums[place] = {name: usd for name, usd in sums.items() if name >= (day if len(name) == len(day) else month)}
            if not self.hours[place] and not self.sums[place]:
                del self.hours[place], self.sums[place]

    def as_json(self) -> list[Any]:
        return [[*place, self.hours[place], self.sums.get(place, {})] for place in self.hours]

    @staticmethod
    def parse(value: Any) -> Spend:
        """Raises ValueError, TypeError."""
        made = Spend()
        for version, part, hours, sums in value:
            place = Place(str(version), str(part))
            made.hours[place] = [[float(end), float(usd)] for end, usd in hours]
            made.sums[place] = {str(name): float(usd) for name, usd in sums.items()}
        return made


def _days(at: float) -> tuple[str, str]:
    """The day and the month (UTC) of an instant, as names."""
    then = time.gmtime(at)
    return time.strftime("%Y%m%d", then), time.strftime("%Y%m", then)
