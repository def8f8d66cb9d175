"""What a signal measures of one request, and the parts of the traffic that a request's record names.

A quantile becomes a share: of requests slower than the quantile was before. Then a change of it can be divided among parts like any share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.monitoring.causes.columns import Period

Row = Mapping[str, Any]  # of a request's record, by name; `right` (0 or 1) and `score` (0 to 1) where feedback came
PARTS = ("version", "replica", "key", "route", "adapter", "model", "fallback_for", "label", "language", "stream", "hedged")
NUMBERS = ("prompt_tokens", "bytes_in")
WRITTEN = ("completion_tokens",)  # what an answer was like explains its time and cost, not its failure
MODES = {"stream": "streamed", "hedged": "hedged"}


@dataclass(frozen=True, slots=True)
class Kpi:
    """`value` of one request, None for those it is not measured on. `quantile`: the signal is that quantile of it. `what`: in words."""

    signal: str
    what: str
    value: Callable[[Row], float | None]
    quantile: float | None = None
    written: bool = False

    @property
    def share(self) -> bool:
        return self.quantile is not None or self.signal.endswith("_rate") or self.signal == "live.accuracy"


def _status(low: int, high: int) -> Callable[[Row], float]:
    return lambda row: float(low <= row["status"] < high)


def _well(row: Row) -> bool:
    return bool(200 <= row["status"] < 300)


def _time(name: str) -> Callable[[Row], float | None]:
    """A request that went past the gateway has no times: its total is 0."""
    return lambda row: float(row[name]) if _well(row) and row.get(name) is not None and row.get("total_ms") else None


def _given(name: str) -> Callable[[Row], float | None]:
    return lambda row: None if row.get(name) is None else float(row[name])


def _blocked(row: Row) -> float:
    return float(any(str(flag).endswith(":block") for flag in row.get("flags") or ()))


_KPIS: dict[str, Kpi] = {
    kpi.signal: kpi
    for kpi in (
        Kpi("error_rate", "failed", _status(500, 1000)),
        Kpi("refused_rate", "were refused", _status(400, 499)),
        Kpi("gone_rate", "lost their client", _status(499, 500)),
        Kpi("blocked_rate", "were blocked", _blocked),
        Kpi("retried_rate", "needed a second attempt", lambda row: float((row.get("attempts") or 1) > 1)),
        *(Kpi(f"latency.p{q}_ms", "took longer than", _time("total_ms"), q / 100, written=True) for q in (50, 95, 99)),
        *(Kpi(f"first_token.p{q}_ms", "waited longer for the first byte than", _time("first_ms"), q / 100) for q in (50, 95)),
        Kpi("queue.p95_ms", "stood in line longer than", _time("queue_ms"), 0.95),
        Kpi("cost.request", "USD a request", _given("cost_usd"), written=True),
        Kpi("energy.request_wh", "Wh a request", _given("energy_wh"), written=True),
        Kpi("live.accuracy", "were right", _given("right")),
        Kpi("live.score", "mean score", _given("score")),
        Kpi("live.confidence", "mean confidence", _given("confidence")),
    )
}


def kpi_of(signal: str) -> Kpi | None:
    """None for a signal that is not of single requests. Sums of cost are explained by the cost of a request."""
    if signal in ("cost.hour", "cost.day", "cost.month"):
        return _KPIS["cost.request"]
    return _KPIS.get(signal)


def known() -> list[str]:
    """Signals whose changes can be explained request by request."""
    return list(_KPIS)


def periods(before: Sequence[Row], during: Sequence[Row], kpi: Kpi | None) -> tuple[Period, Period, float | None]:
    """Both periods as columns, and the limit that a quantile was turned into. `kpi` None: outcomes are 0, only parts matter."""
    if kpi is None:
        return _period(before, [0.0] * len(before), False), _period(during, [0.0] * len(during), False), None
    found = []
    for rows in (before, during):
        measured = [(row, value) for row in rows if (value := kpi.value(row)) is not None]
        found.append(([row for row, _ in measured], [value for _, value in measured]))
    limit = None
    if kpi.quantile is not None:
        limit = _quantile(found[0][1], kpi.quantile)
        found = [(rows, [float(limit is not None and value > limit) for value in values]) for rows, values in found]
    first, second = (_period(rows, values, kpi.written) for rows, values in found)
    return first, second, limit


def parts_of(row: Row) -> dict[str, str | None]:
    """Kinds and values; fields of its metadata by their own name."""
    parts: dict[str, str | None] = {name: _text(row.get(name)) for name in PARTS if name not in MODES}
    parts |= {name: MODES[name] if row.get(name) else f"not {MODES[name]}" for name in MODES}
    return parts | {f"metadata.{name}": value for name, value in (row.get("metadata") or {}).items() if isinstance(value, str)}


def numbers_of(row: Row, *, written: bool) -> dict[str, float | None]:
    numbers = {name: _number(row.get(name)) for name in (*NUMBERS, *(WRITTEN if written else ()))}
    fields = (row.get("metadata") or {}).items()
    return numbers | {f"metadata.{name}": float(v) for name, v in fields if isinstance(v, (int, float)) and not isinstance(v, bool)}


def takes(where: Iterable[tuple[str, str]], row: Row) -> bool:
    """Whether a request belongs to all of the parts that a cause names."""
    parts, numbers = parts_of(row), numbers_of(row, written=True)
    for kind, name in where:
        sign, _, cut = name.partition(" ")
        if kind in numbers and sign in ("≤", ">"):
            value = numbers[kind]
            if value is None or (value > float(cut)) != (sign == ">"):
                return False
        elif parts.get(kind) != name:
            return False
    return True


def _period(rows: Sequence[Row], outcome: list[float], written: bool) -> Period:
    parts, numbers = [parts_of(row) for row in rows], [numbers_of(row, written=written) for row in rows]
    kinds, counted = dict.fromkeys(k for one in parts for k in one), dict.fromkeys(k for one in numbers for k in one)
    return Period(outcome, {k: [one.get(k) for one in parts] for k in kinds}, {k: [one.get(k) for one in numbers] for k in counted})


def _quantile(values: Sequence[float], quantile: float) -> float | None:
    ordered = sorted(values)
    return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)] if ordered else None


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
