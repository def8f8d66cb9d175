"""Why did a signal change: the records of two spans of time are read and compared part by part. Used by the command and by alerts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penstock.core.errors import BadInput, ExtraMissing
from penstock.monitoring.causes.attribution import attribute
from penstock.monitoring.causes.composition import shifts
from penstock.monitoring.causes.outcomes import NUMBERS, PARTS, WRITTEN, Kpi, Row, known, kpi_of, periods, takes
from penstock.monitoring.causes.wording import cause_line, note, shift_line
from penstock.serving.joined import Joined, read_joined
from penstock.serving.record_files import read_records

MOST = 100_000  # requests of a span; of more, evenly spaced ones are taken
_FIELDS = (*PARTS, *NUMBERS, *WRITTEN, "status", "total_ms", "first_ms", "queue_ms", "attempts", "flags", "error")
_AMOUNTS = ("cost_usd", "energy_wh", "confidence", "metadata")


@dataclass(frozen=True, slots=True)
class Span:
    """Requests that arrived since ≤ ts < until, seconds since the epoch."""

    since: float
    until: float


def explain(gateway: Path, deployment: str, signal: str, before: Span, during: Span) -> dict[str, Any]:
    """The causes of what `signal` did between two spans, as JSON values, with a line in words each. `gateway`: its folder.

    A drift signal is explained by the parts of the traffic whose shares moved. Raises BadInput, ExtraMissing.
    """
    kpi = kpi_of(signal)
    if kpi is None and not signal.startswith("drift"):
        raise BadInput(f"{signal} is no signal of single requests (those are: {', '.join(known())}, and drift)")
    rows = [_rows(gateway, deployment, span, kpi) for span in (before, during)]
    spans = [{**asdict(span), "requests": len(found)} for span, found in zip((before, during), rows, strict=True)]
    about = {"deployment": deployment, "signal": signal, "before": spans[0], "during": spans[1]}
    try:
        found = _moved(rows[0], rows[1]) if kpi is None else _caused(rows[0], rows[1], kpi)
    except ModuleNotFoundError as error:
        raise ExtraMissing(f"finding causes needs {error.name}", remedy="Run: pip install 'penstock[monitor]'") from error
    return {**about, **found}


def _caused(before: list[Row], during: list[Row], kpi: Kpi) -> dict[str, Any]:
    first, second, limit = periods(before, during, kpi)
    found = attribute(first, second)
    causes = []
    for cause in found.causes:
        told = {"where": dict(cause.where), "same_as": [list(pair) for pair in cause.same_as], "text": cause_line(cause, kpi, limit)}
        numbers = {"kind": cause.kind, "share": cause.share, "p": cause.p, "requests": cause.count}
        means = {"inside": cause.inside, "outside": cause.outside, "traffic": cause.traffic}
        errors = _errors(row for row in during if takes(cause.where, row))
        causes.append({**told, **numbers, **means, "errors": errors})
    values = {"before": found.before if found.count[0] else None, "during": found.during if found.count[1] else None}
    whole = {"value": values, "limit": limit, "p": found.p, "changed": found.changed, "tested": found.tested}
    return {**whole, "causes": causes, "note": note(found, kpi), "spent": _spent(before, during) if kpi.signal.endswith("_ms") else None}


def _moved(before: list[Row], during: list[Row]) -> dict[str, Any]:
    first, second, _ = periods(before, during, None)
    found = shifts(first, second)
    causes = [
        {"where": {one.kind: one.value}, "kind": "mix", "share": one.part, "p": one.p, "distance": one.distance}
        | {"traffic": (one.before, one.during), "text": shift_line(one)}
        for one in found
    ]
    enough = bool(before and during)
    said = "" if causes else "no part of the traffic has another share than before" if enough else "there are no requests to compare"
    return {"value": None, "limit": None, "p": None, "changed": bool(causes), "tested": None, "causes": causes, "note": said, "spent": None}


def _rows(gateway: Path, deployment: str, span: Span, kpi: Kpi | None) -> list[Row]:
    """Evenly spaced records of the span, without texts; with what feedback said where the signal is about that."""
    if kpi is not None and kpi.signal in ("live.accuracy", "live.score"):
        rated = read_joined(gateway, span.since, span.until)
        return _thinned(_rated(one) for one in rated if one.record["model"] == deployment)
    records = read_records(gateway / "records", span.since, span.until)
    return _thinned(_slim(one) for one in records if one["model"] == deployment and one.get("shadow_of") is None)


def _slim(record: Mapping[str, Any]) -> Row:
    return {name: record.get(name) for name in (*_FIELDS, *_AMOUNTS)}


def _rated(one: Joined) -> Row:
    label = one.record.get("label")
    right = None if one.label is None or label is None else float(one.label == label)
    return {**_slim(one.record), "right": right, "score": None if one.score is None else (one.score + 1) / 2}


def _thinned(rows: Iterable[Row]) -> list[Row]:
    """At most 2 * MOST: whenever there are so many, every second is dropped, and from then on only as many are taken."""
    found, stride = list[Row](), 1
    for number, row in enumerate(rows):
        if number % stride == 0:
            found.append(row)
            if len(found) >= 2 * MOST:
                found, stride = found[::2], stride * 2
    return found


def _errors(rows: Iterable[Row]) -> dict[str, int]:
    """Codes of errors and how often, the five most frequent."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.get("error"):
            counts[str(row["error"])] = counts.get(str(row["error"]), 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:5])


def _spent(before: list[Row], during: list[Row]) -> dict[str, list[float | None]]:
    """Mean milliseconds in line, until the first byte and after it, before and during, of requests that were answered well."""
    return {name: [_mean(_stage(rows, name)) for rows in (before, during)] for name in ("queue", "first_byte", "rest")}


def _stage(rows: list[Row], name: str) -> Iterator[float]:
    for row in rows:
        if 200 <= row["status"] < 300 and row.get("total_ms") is not None:
            queue, first, total = (float(row.get(field) or 0.0) for field in ("queue_ms", "first_ms", "total_ms"))
            yield {"queue": queue, "first_byte": max(0.0, first - queue), "rest": max(0.0, total - max(first, queue))}[name]


def _mean(values: Iterator[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
