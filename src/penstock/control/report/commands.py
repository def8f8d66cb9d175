"""The report of a deployment, written to a file. Used by the commands."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from penstock.control.delivery import opened_world
from penstock.control.report.collect import story
from penstock.control.report.page import figures, page
from penstock.core import units
from penstock.core.errors import BadInput
from penstock.core.files import told_plainly, write_atomic


def write_report(name: str, since: str, until: str, path: Path) -> dict[str, Any]:
    """`since`, `until`: a time, or an age such as 7d, or "now". Raises NotFound, BadInput, DiskFull, ReadOnly."""
    with opened_world() as world:
        now = world.clock.now()
        first, last = moment("--since", since, now), moment("--until", until, now)
        if first >= last:
            raise BadInput(f"--since {since} is not before --until {until}")
        told = story(world, name, first, last)
    with told_plainly(path):
        write_atomic(path, page(told).encode())
    shown = [{"figure": title, "value": f"{value} {unit}".strip(), "note": note} for title, value, unit, note in figures(told)]
    period = {"deployment": name, "since": first, "until": last, "file": str(path)}
    return {**period, "figures": shown, "alerts": list(told.alerts), "reactions": list(told.reactions)}


def moment(option: str, text: str, now: float) -> float:
    """Seconds since the epoch. Raises BadInput."""
    if text == "now":
        return now
    try:
        return now - units.seconds(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise BadInput(f"{option}: {text!r} is neither an age such as 7d nor a time such as 2026-11-21T03:12:00") from None
