"""What a shadow version answered beside what the live one did, from the records of both; and how each version did with its own requests."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]


def compare_shadow(records: Iterable[Row], deployment: str, version: str) -> dict[str, Any]:
    """Copies to `version` of `deployment` whose live request is among `records`, counted.

    `same_status`, `shadow_failed` (it answered 5xx where the live one did not), `same_tokens` (as many read and written), `captured` (pairs
    of which both texts were kept) and `same_text` of these; `slower`: median of shadow time by live time, None without answers of both.
    """
    live: dict[str, Row] = {}
    copies: list[Row] = []
    for record in records:
        if record.get("model") != deployment:
            continue
        if record.get("shadow_of") is None:
            live[record["id"]] = record
        elif record.get("version") == version:
            copies.append(record)
    pairs = [(live[copy["shadow_of"]], copy) for copy in copies if copy["shadow_of"] in live]
    answered = [(one, two) for one, two in pairs if one["status"] == two["status"] == 200]
    captured = [(one, two) for one, two in answered if one.get("text_out") is not None and two.get("text_out") is not None]
    times = [two["total_ms"] / one["total_ms"] for one, two in answered if one["total_ms"] > 0]
    return {
        "copies": len(copies),
        "pairs": len(pairs),
        "same_status": sum(one["status"] == two["status"] for one, two in pairs),
        "shadow_failed": sum(two["status"] >= 500 > one["status"] for one, two in pairs),
        "same_tokens": sum(_tokens(one) == _tokens(two) for one, two in answered),
        "captured": len(captured),
        "same_text": sum(one["text_out"] == two["text_out"] for one, two in captured),
        "slower": round(statistics.median(times), 3) if times else None,
    }


def by_version(records: Iterable[Row], deployment: str) -> dict[str, dict[str, Any]]:
    """Of each version that answered clients of `deployment`: requests, failed ones (5xx), median milliseconds of the good ones."""
    found: dict[str, list[Row]] = {}
    for record in records:
        if record.get("model") == deployment and record.get("shadow_of") is None and record.get("version") is not None:
            found.setdefault(record["version"], []).append(record)
    return {version: _summary(rows) for version, rows in sorted(found.items())}


def _summary(rows: list[Row]) -> dict[str, Any]:
    times = [row["total_ms"] for row in rows if row["status"] == 200]
    median = round(statistics.median(times), 3) if times else None
    return {"requests": len(rows), "failed": sum(row["status"] >= 500 for row in rows), "median_ms": median}


def _tokens(record: Row) -> tuple[int, int]:
    return record["prompt_tokens"], record["completion_tokens"]
