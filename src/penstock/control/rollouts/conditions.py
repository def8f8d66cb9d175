"""`rollback_when` as tests over single requests: what of a request counts, against which limit, and on which side of it is a breach. Pure.

A percentile is a rate: the 95th percentile is over 50 ms when more than 5 % of requests take longer than that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from penstock.monitoring.threshold import Side
from penstock.spec.conditions import Comparison, Metric, Number
from penstock.spec.watches import Alarm, Leaf, Worse, parse_watch

Row = Mapping[str, Any]
CLIENT_GONE = 499
LEAST = 1e-4  # a limit of nothing at all is tested as this rate
_COSTLY = 10.0  # a request counts as at most so many times the limit of cost.request: outcomes need a bound
_PERCENTILE = re.compile(r"(latency|first_token|queue)\.p(\d\d)_ms")
_TIMES = {"latency": "total_ms", "first_token": "first_ms", "queue": "queue_ms"}

Source = Literal["records", "labels", "scores", "signals", "alarm", "contest"]


@dataclass(frozen=True, slots=True)
class Condition:
    """`source`: what it is read from. `value`: of a record, the outcome in [0, 1], None where it says nothing. `limit` is in the same unit.

    `implied`: nobody wrote it; it sends back, and nothing waits for it to be shown kept.
    """

    text: str
    leaf: Leaf
    source: Source
    limit: float = 0.5
    breach: Side = "above"
    value: Callable[[Row], float | None] = lambda _: None
    implied: bool = False


IMPLIED = "worse_than(champion, error_rate, margin=1%)"


def conditions_of(texts: Sequence[str]) -> tuple[Condition, ...]:
    """Each part of each text; where there is none, a new version may still not fail more often than the old."""
    found = [_condition(text, leaf) for text in texts for leaf in parse_watch(text).leaves]
    if found:
        return tuple(found)
    leaf = next(parse_watch(IMPLIED).leaves)
    return (Condition(IMPLIED, leaf, "contest", implied=True),)


def _condition(text: str, leaf: Leaf) -> Condition:
    if isinstance(leaf, Worse):
        return Condition(text, leaf, "contest")
    if isinstance(leaf, Alarm):
        return Condition(text, leaf, "alarm")
    assert isinstance(leaf.left, Metric)
    assert isinstance(leaf.right, Number)
    name, limit = leaf.left.key, leaf.right.value
    side: Side = "above" if leaf.sign.startswith(">") else "below"
    if (match := _PERCENTILE.fullmatch(name)) is not None:
        return Condition(text, leaf, "records", 1 - int(match[2]) / 100, side, _longer(_TIMES[match[1]], limit))
    if name in _RATES:
        return Condition(text, leaf, "records", _within(limit), side, _RATES[name])
    if name == "cost.request":
        return Condition(text, leaf, "records", 1 / _COSTLY, side, _dearer(max(limit, 1e-12)))
    source: Source = "labels" if name == "live.accuracy" else "scores" if name == "live.score" else "signals"
    return Condition(text, leaf, source, _within(limit), side)


def shown_limit(condition: Condition) -> str:
    leaf = condition.leaf
    assert isinstance(leaf, Comparison)
    assert isinstance(leaf.right, Number)
    assert isinstance(leaf.left, Metric)
    return percent(leaf.right.value) if condition.source != "records" or leaf.left.key in _RATES else f"{leaf.right.value:g}"


def percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _within(limit: float) -> float:
    return min(max(limit, LEAST), 1 - LEAST)


def _longer(field: str, limit_ms: float) -> Callable[[Row], float | None]:
    """Whether an answer that was given took longer. A failure says nothing of the time: error_rate counts it."""

    def value(row: Row) -> float | None:
        time_ms = row.get(field)
        return None if time_ms is None or not 200 <= row["status"] < 400 else float(time_ms > limit_ms)

    return value


def _dearer(limit_usd: float) -> Callable[[Row], float | None]:
    return lambda row: min(float(row.get("cost_usd") or 0.0), _COSTLY * limit_usd) / (_COSTLY * limit_usd)


def _failed(row: Row) -> float | None:
    return None if row["status"] == CLIENT_GONE else float(row["status"] >= 500)


def _refused(row: Row) -> float | None:
    return None if row["status"] == CLIENT_GONE else float(400 <= row["status"] < 500)


_RATES: Mapping[str, Callable[[Row], float | None]] = {
    "error_rate": _failed,
    "refused_rate": _refused,
    "gone_rate": lambda row: float(row["status"] == CLIENT_GONE),
    "retried_rate": lambda row: float(row.get("attempts", 1) > 1),
    "blocked_rate": lambda row: float(any(flag.endswith(":block") for flag in row.get("flags") or ())),
}
