"""What `penstock down` does beyond this machine: deployments leave the platforms that bill for them; what stays is told."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from penstock.control.outside import forget
from penstock.core.errors import PenstockError, PlatformAway
from penstock.core.home import Home
from penstock.platforms.contract import Endpoints
from penstock.store.resources import Resource
from penstock.store.store import Store

_KINDS = {"deployment": 100_000, "run": 1000, "batch": 1000}  # of resources that may be beyond this machine; so many of each
THROTTLED_S = 300.0


def leave_platforms(home: Home) -> dict[str, Any]:
    """`elsewhere`: replicas that went; `left`: names of what is there (jobs that run on); `unknown`: why nobody knows of a platform."""
    told: dict[str, Any] = {"elsewhere": 0, "left": [], "unknown": []}
    if home.database_url.startswith("sqlite:///") and not Path(home.database_url.removeprefix("sqlite:///")).exists():
        return told  # nothing was ever written down here
    store = Store.open(home)
    try:
        rows = [row for kind, most in _KINDS.items() for row in store.resources.list(kind, limit=most)]
        for place in _places(rows):
            try:
                mine = [row.name for row in rows if row.kind == "deployment" and row.phase != "deleted" and place in _where(row)]
                told["elsewhere"] += _leave(home, store, place["config"], mine)
                told["left"] += [f"{place['name']}: {name}" for name in _parts(place).left(home, store.artifacts, place["config"])]
            except PenstockError as error:
                told["unknown"].append(f"{place['name']}: {error}")
    finally:
        store.close()
    return told


def _places(rows: Sequence[Resource]) -> list[dict[str, Any]]:
    """The platforms, other than this machine, that any run, batch or deployment was asked of."""
    asked = [place for row in rows for place in (*_where(row), *_placements(row)) if "config" in place]
    places = {json.dumps(place, sort_keys=True): place for place in asked}
    return [place for place in places.values() if place["config"].get("kind", "local") != "local"]


def _where(row: Resource) -> list[dict[str, Any]]:
    """Platforms where the whole of it is: of a deployment that moves, also those that it comes from."""
    wanted = row.spec.get("platform", {})
    return [wanted, *(place for place in row.status.get("places", ()) if place != wanted)]


def _placements(row: Resource) -> list[dict[str, Any]]:
    """Platforms where steps of a run go when there is no room on its own."""
    named = {there["on"] for node in row.spec.get("graph", ()) for there in node.get("otherwise", ()) if there["on"]}
    return [{"name": name, "config": row.spec["platforms"][name]} for name in sorted(named)]


def _parts(place: dict[str, Any]) -> Any:
    from penstock.platforms.table import PLATFORMS

    return PLATFORMS.load(place["config"]["kind"])


def _leave(home: Home, store: Store, config: dict[str, Any], names: Sequence[str]) -> int:
    endpoints = _parts({"config": config}).endpoints(home, store.artifacts, config)
    count = sum(len(endpoints.observe(name).replicas) for name in names)
    with ThreadPoolExecutor(16) as pool:  # each waits until its replicas have finished what they answer
        list(pool.map(lambda name: delete(endpoints, name), names))
    for name in names:
        forget(home, name)
    return count


def delete(endpoints: Endpoints, name: str) -> None:
    """Waits for its turn where the account takes so many calls a second, for THROTTLED_S at most. Raises PlatformAway after that."""
    deadline = time.monotonic() + THROTTLED_S
    while True:
        try:
            endpoints.delete(name)
            return
        except PlatformAway as error:
            if not error.refused or time.monotonic() + error.after_s > deadline:
                raise
            time.sleep(error.after_s)
