"""Does a condition hold of a part of a deployment at an instant: yes, no, or nobody knows.

Of the whole deployment a condition is taken at its word. Of a part (one version, one slice), where windows are small and many, it holds
only from LEAST requests on, and only when it holds at the near end of the interval in which the true value lies: Wilson's (1927) for a
share of requests, at Z standard errors, else the signal's own. In between nobody knows, which neither fires nor clears.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.monitoring.alerting.readings import WHOLE, Part, Readings
from penstock.monitoring.wilson import bounds
from penstock.spec.conditions import Arithmetic, Comparison, Metric, Number, Value, metrics_in
from penstock.spec.signals import PROPORTIONS
from penstock.spec.watches import Alarm, Leaf, Watch
from penstock.store.signals import Signal

LEAST = 30
Z = 3.0
_POINTS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One signal that a judgement rests on. `limit`: what it was compared with, where that is one number; `over`: whether it is beyond."""

    signal: str
    value: float
    at: float
    limit: float | None = None
    sign: str = ">"
    count: float = 0.0
    version: str = ""
    slice: str = ""
    over: bool = False
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """`holds` None: nobody knows. `facts`: of every signal that the condition names and that is known."""

    holds: bool | None
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    value: float
    low: float
    high: float


def judge(watch: Watch, readings: Readings, part: Part, at: float) -> Judgement:
    """`watch` of `part` at `at`; a signal that the part has not is taken from its version, its slice or the whole deployment."""
    known = {leaf: _leaf(leaf, readings, part, at) for leaf in watch.leaves}
    together = [_all(known[leaf] for leaf in leaves) for leaves in watch.any_of]
    holds = True if any(one is True for one in together) else None if None in together else False
    return Judgement(holds, tuple(fact for leaf, found in known.items() for fact in _facts(leaf, found, readings, part, at)))


def signals_of(watch: Watch) -> tuple[str, ...]:
    """Names of the signals that it reads; an end of an interval is read from the signal itself."""
    return tuple(dict.fromkeys(name for leaf in watch.leaves for name in _names(leaf)))


def _names(leaf: Leaf) -> Iterator[str]:
    if isinstance(leaf, Comparison):
        yield from (metric.name for side in (leaf.left, leaf.right) for metric in metrics_in(side))
    else:
        yield leaf.signal


def _all(found: Iterator[bool | None]) -> bool | None:
    values = list(found)
    return False if False in values else None if None in values else True


def _leaf(leaf: Leaf, readings: Readings, part: Part, at: float) -> bool | None:
    if isinstance(leaf, Alarm):
        found = readings.get(leaf.signal, part, at)
        return None if found is None or found.limit is None else found.over
    if not isinstance(leaf, Comparison):
        return None  # a comparison with the champion is for rollouts
    left, right = _range(leaf.left, readings, part, at), _range(leaf.right, readings, part, at)
    if left is None or right is None:
        return None
    if not _POINTS[leaf.sign](left.value, right.value):
        return False
    if leaf.sign in ("==", "!="):
        return True
    nearest = (left.low, right.high) if leaf.sign in (">", ">=") else (left.high, right.low)
    return True if _POINTS[leaf.sign](*nearest) else None


def _range(value: Value, readings: Readings, part: Part, at: float) -> Range | None:
    if isinstance(value, Number):
        return Range(value.value, value.value, value.value)
    if isinstance(value, Metric):
        found = readings.get(value.name, part, at)
        if found is None:
            return None
        if value.end is not None:
            end = found.low if value.end == "low" else found.high
            return None if end is None else Range(end, end, end)
        whole = part == WHOLE or (found.version, found.slice) == WHOLE
        return Range(found.value, found.value, found.value) if whole else interval(found)
    left, right = _range(value.left, readings, part, at), _range(value.right, readings, part, at)
    return None if left is None or right is None else _combined(value, left, right)


def _combined(value: Arithmetic, left: Range, right: Range) -> Range | None:
    work = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[value.sign]
    if value.sign == "/" and right.low <= 0.0 <= right.high:
        if right.value == 0.0:
            return None
        return Range(left.value / right.value, -math.inf, math.inf)
    ends = [work(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
    point = work(left.value, right.value)
    if not all(math.isfinite(end) for end in ends):
        return Range(point, -math.inf, math.inf) if math.isfinite(point) else None
    return Range(point, min(ends), max(ends))


def interval(signal: Signal) -> Range:
    """In which its true value lies, as far as the row tells: without bounds where it was measured on too little."""
    value = signal.value
    if signal.count < LEAST:
        return Range(value, -math.inf, math.inf)
    if is_share(signal.name) and 0.0 <= value <= 1.0:
        return Range(value, *bounds(value, signal.count, Z))
    if signal.low is not None and signal.high is not None:
        return Range(value, min(signal.low, value), max(signal.high, value))
    return Range(value, value, value)


def is_share(name: str) -> bool:
    """Whether the signal is a share of requests, 0 to 1."""
    return name in PROPORTIONS or name.endswith("_rate")


def _facts(leaf: Leaf, holds: bool | None, readings: Readings, part: Part, at: float) -> Iterator[Fact]:
    if isinstance(leaf, Alarm):
        found = readings.get(leaf.signal, part, at)
        if found is not None:
            yield _fact(found, found.limit, ">", holds)
    elif isinstance(leaf, Comparison):
        plain = isinstance(leaf.left, Metric) and isinstance(leaf.right, Number)
        limit = leaf.right.value if isinstance(leaf.right, Number) and plain else None
        for metric in dict.fromkeys((*metrics_in(leaf.left), *metrics_in(leaf.right))):
            if (found := readings.get(metric.name, part, at)) is not None:
                yield _fact(found, limit, leaf.sign, holds)


def _fact(found: Signal, limit: float | None, sign: str, holds: bool | None) -> Fact:
    place = {"version": found.version, "slice": found.slice}
    return Fact(found.name, found.value, found.at, limit, sign, found.count, **place, over=bool(holds), evidence=found.evidence)
