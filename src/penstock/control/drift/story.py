"""The latest drift signals of a deployment, each with its course and what moved."""

from __future__ import annotations

from typing import Any

from penstock.control.delivery import opened_world
from penstock.control.deployments import get_deployment
from penstock.store.signals import Signal

COURSE = 200  # of the newest values that are given


def drift_story(name: str, since: float = 0.0, version: str = "") -> dict[str, Any]:
    """`version`: a number as text; empty for the whole deployment. Summaries come first. Raises NotFound."""
    with opened_world() as world:
        deployment = get_deployment(world, name)
        found = world.store.signals.read(deployment.name, since=since)
        mine = [signal for signal in found if signal.name.startswith("drift") and signal.version == version]
        by_name: dict[str, list[Signal]] = {}
        for signal in mine:
            by_name.setdefault(signal.name, []).append(signal)
        declared = (deployment.spec.get("deploy") or {}).get("monitor") or deployment.spec.get("monitor") or {}
        return {
            "deployment": deployment.name,
            "version": version,
            "declared": bool(declared.get("drift")) if isinstance(declared, dict) else False,
            "signals": [_told(by_name[name_]) for name_ in sorted(by_name, key=_order)],
        }


def _told(course: list[Signal]) -> dict[str, Any]:
    last = course[-1]
    limit = last.limit or 1.0
    return {
        "name": last.name,
        "at": last.at,
        "value": last.value,
        "limit": last.limit,
        "over": last.over,
        "count": last.count,
        "windows": len(course),
        "windows_over": sum(signal.over for signal in course),
        "evidence": dict(last.evidence),
        "course": [[signal.at, signal.value / (signal.limit or limit)] for signal in course[-COURSE:]],
    }


def _order(name: str) -> tuple[int, str]:
    """Summaries first, the widest of them first."""
    summary = name == "drift" or name in ("drift.input", "drift.output", "drift.feedback", "drift.metadata")
    return (0 if name == "drift" else 1 if summary else 2), name
