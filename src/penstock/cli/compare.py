"""Two sets of metrics beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.cli.figures import is_end
from penstock.cli.output import table


def metrics(first: Mapping[str, float], second: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row per metric of either: name, first, second, difference (second − first; None where one lacks it)."""
    rows = []
    for name in sorted({*first, *second}):
        a, b = first.get(name), second.get(name)
        rows.append({"metric": name, "first": a, "second": b, "difference": None if a is None or b is None else b - a})
    return rows


def lines(heads: tuple[str, str], rows: list[dict[str, Any]]) -> list[str]:
    """A table of the rows, without the ends of intervals."""
    names = {r["metric"] for r in rows}
    shown = [
        (r["metric"], _number(r["first"]), _number(r["second"]), _number(r["difference"], sign=True))
        for r in rows
        if not is_end(r["metric"], names)
    ]
    return table(("METRIC", *heads, "DIFFERENCE"), shown)


def _number(value: float | None, *, sign: bool = False) -> str:
    return "-" if value is None else f"{value:{'+' if sign else ''}.4g}"
