"""What a window is held to: of each signal the reference's sketches with their limits, of each summary how far the largest may go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.monitoring.drift.contract import Sketch
from penstock.monitoring.drift.table import detector
from penstock.spec.monitor import Drift
from penstock.spec.signals import SUMMARIES

Severity = Literal["none", "slight", "marked", "severe"]
Stream = Literal["requests", "rated", "learned"]  # windows are counted over: requests, rated requests, requests without a stored reference


@dataclass(frozen=True, slots=True)
class Asked:
    """One entry of `monitor.drift`. `limit` None: calibrated to `false_alarms`."""

    signal: str
    window: int
    false_alarms: float = 0.001
    limit: float | None = None

    @classmethod
    def entry(cls, drift: Drift) -> Asked:
        return cls(drift.signal, drift.window, drift.false_alarms, drift.limit if isinstance(drift.limit, float) else None)

    @property
    def kind(self) -> str:
        return kind_of(self.signal)


@dataclass(frozen=True, slots=True)
class Part:
    detector: str
    sketch: Sketch
    limit: float


@dataclass(frozen=True, slots=True)
class Reading:
    """`value` is over when it is above `limit`; `ratio` is value / limit. Of several detectors the value is the largest ratio, the limit 1.

    `parts`: (value, limit) of each detector.
    """

    value: float
    limit: float
    parts: Mapping[str, tuple[float, float]]

    @property
    def ratio(self) -> float:
        return self.value / self.limit if self.limit > 0 else (2.0 if self.value > 0 else 0.0)

    @property
    def severity(self) -> Severity:
        """By how many times the limit is passed."""
        ratio = self.ratio
        return "none" if ratio <= 1 else "slight" if ratio <= 1.5 else "marked" if ratio <= 3 else "severe"


@dataclass(frozen=True, slots=True)
class Standard:
    """Of one signal. `rows`: of the reference."""

    asked: Asked
    parts: tuple[Part, ...]
    rows: float

    def read(self, values: Any) -> Reading:
        """How the rows of a window compare. `values` as the sketches' `fit` took them; not empty."""
        found, current = {}, {}
        for part in self.parts:
            if id(part.sketch) not in current:  # detectors may share one
                current[id(part.sketch)] = part.sketch.of(part.sketch.lift(values))
            found[part.detector] = (detector(part.detector).distance(part.sketch, current[id(part.sketch)]), part.limit)
        return combined(found)


@dataclass(frozen=True, slots=True)
class Reference:
    """`scales[summary][group]`: what the largest ratio of a clean window is over with the declared probability; groups as `group_of` says.

    `about`: JSON values that say what it was made of.
    """

    standards: Mapping[str, Standard]
    scales: Mapping[str, Mapping[str, float]]
    about: Mapping[str, Any] = field(default_factory=dict)


def combined(parts: Mapping[str, tuple[float, float]]) -> Reading:
    if len(parts) == 1:
        value, limit = next(iter(parts.values()))
        return Reading(value, limit, parts)
    return Reading(max(Reading(value, limit, {}).ratio for value, limit in parts.values()), 1.0, parts)


def kind_of(signal: str) -> str:
    """`input`, `output`, `feedback` or `metadata`."""
    kind, _, rest = signal.removeprefix("drift.").partition(".")
    return kind if rest else "input"


def summaries_of(signal: str) -> list[str]:
    return [name for name, kind in SUMMARIES.items() if kind in ("", kind_of(signal))]


def group_of(stream: Stream, window: int) -> str:
    """Windows of one group hold the same rows, so that their detectors are judged together."""
    return f"{stream}/{window}"


def stream_of(asked: Asked, stored: Iterable[str]) -> Stream:
    """What its windows are counted over, when these signals have a stored reference."""
    return "rated" if asked.kind == "feedback" else "requests" if asked.signal in stored else "learned"


def groups(asked: Sequence[Asked], stored: Iterable[str]) -> dict[str, dict[str, list[Asked]]]:
    """summary → group → its entries whose limits are calibrated."""
    found: dict[str, dict[str, list[Asked]]] = {}
    kept = set(stored)
    for one in asked:
        if one.limit is None:
            for summary in summaries_of(one.signal):
                found.setdefault(summary, {}).setdefault(group_of(stream_of(one, kept), one.window), []).append(one)
    return found
