"""A deployment that goes to another place: it serves where it was until it can serve there; then the old place is let go.

`at` in its status is the platform that serves, `places` all where something of it may be.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from penstock.platforms.places import place_of

Platform = Mapping[str, Any]  # name, config


def serving_at(status: MutableMapping[str, Any], wanted: Platform) -> Platform | None:
    """Where it serves, when that is another place than is wanted. Notes that something of it may now be at `wanted`, as it is said now."""
    places = [row for row in status.get("places", ()) if not _same(row, wanted)]
    status["places"] = [*places, dict(wanted)]
    at = status.get("at")
    return at if at is not None and not _same(at, wanted) else None


def arrived(status: MutableMapping[str, Any], wanted: Platform) -> None:
    """Requests go to `wanted` alone."""
    status["at"] = dict(wanted)


def to_leave(status: Mapping[str, Any], wanted: Platform) -> list[Platform]:
    """Places that nothing leads to any more."""
    kept = [wanted, *([status["at"]] if status.get("at") is not None else [])]
    return [row for row in status.get("places", ()) if not any(_same(row, one) for one in kept)]


def left(status: MutableMapping[str, Any], place: Platform) -> None:
    status["places"] = [row for row in status.get("places", ()) if not _same(row, place)]


def _same(one: Platform, other: Platform) -> bool:
    return place_of(one["config"]) == place_of(other["config"])
