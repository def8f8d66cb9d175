"""Two reports side by side: which numbers differ, by how much, and whether the tests were alike enough to be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.core.errors import BadInput

NAMES = (
    "throughput_rps",
    "error_rate",
    "latency.mean_ms",
    "latency.p50_ms",
    "latency.p95_ms",
    "latency.p99_ms",
    "latency.max_ms",
    "first_token.p50_ms",
    "first_token.p95_ms",
    "inter_token.p50_ms",
    "completion_tokens_per_s",
    "generator.cpu_us_per_request",
)


def read_report(path: Path) -> dict[str, Any]:
    """Raises BadInput for anything but a report of `penstock bench --json`."""
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        if value["kind"] != "penstock-load-test":
            raise KeyError("kind")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is no load test's report ({error})", remedy="Write one: `penstock bench NAME --json > FILE`.") from error
    return value


def compared(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """`rows`: name, both values and their ratio (second by first); `unlike`: what the tests did not have in common."""
    rows = []
    for name in NAMES:
        one, two = _value(first, name), _value(second, name)
        if one is not None or two is not None:
            rows.append({"name": name, "first": one, "second": two, "ratio": two / one if one and two is not None else None})
    for name in ("max_rate", "turns_up_at"):
        one, two = (report.get("knee", {}).get(name) for report in (first, second))
        if one is not None or two is not None:
            rows.append({"name": f"knee.{name}", "first": one, "second": two, "ratio": two / one if one and two is not None else None})
    unlike = [what for what in ("load", "target") if _comparable(first, what) != _comparable(second, what)]
    invalid = [
        which
        for which, report in (("first", first), ("second", second))
        if not report.get("result", {}).get("generator", {"valid": True})["valid"]
    ]
    return {"rows": rows, "unlike": unlike, "invalid": invalid}


def _comparable(report: Mapping[str, Any], what: str) -> Any:
    if what == "load":
        return report["load"]
    return {name: report["target"].get(name) for name in ("path", "stream", "max_tokens", "prompt_tokens")}


def _value(report: Mapping[str, Any], name: str) -> float | None:
    value: Any = report.get("result")
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) else None
