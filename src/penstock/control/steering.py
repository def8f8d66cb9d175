"""What people do with traffic: set the split, shadow and header rules, go back, look. Each change waits until the gateway follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from penstock.control.daemon import ensure_up
from penstock.control.delivery import opened_world, seen_from
from penstock.control.deployments import get_deployment, patience_s, phase_of
from penstock.control.movers import bandit_row, experiment_row, mover_of, start_mover
from penstock.control.policy import deploy_of
from penstock.control.shadows import by_version, compare_shadow
from penstock.control.show import deployment_row
from penstock.control.split import live_of, split_of
from penstock.control.traffic import set_header, set_shadow, set_traffic, undo_traffic
from penstock.control.world import World, principal
from penstock.core.errors import BadInput, ReplicaFailed
from penstock.serving.record_files import read_records
from penstock.spec.deploy import Bandit, Experiment, Shadow, Version
from penstock.store.resources import Resource

RECENT_S = 3600.0
ALIASES = ("champion", "challenger", "previous")


def shares_of(texts: list[str]) -> dict[Version | str, float]:
    """`["3=90", "champion=10"]`: percent by version. Raises BadInput unless they sum to 100."""
    shares: dict[Version | str, float] = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            shares[version_of(name)] = float(share.rstrip("%"))
        except ValueError:
            raise BadInput(f"{text!r} is not a share; write VERSION=PERCENT, such as 3=90") from None
    if len(shares) != len(texts):
        raise BadInput("a version stands twice in the split")
    if abs(sum(shares.values()) - 100.0) > 0.01:
        raise BadInput(f"the shares sum to {sum(shares.values()):g} %, not to 100")
    return shares


def version_of(text: str) -> Version:
    """A number or an alias that follows the registry. Raises BadInput."""
    if text.isdigit():
        return int(text)
    if text in ALIASES:
        return text  # type: ignore[return-value]  # one of the literals
    raise BadInput(f"{text!r} is not a version; write its number or one of {', '.join(ALIASES)}")


def header_of(text: str) -> tuple[str, str]:
    """`x-beta=1` → its two sides. Raises BadInput."""
    header, sign, value = text.partition("=")
    if not header or not sign or not value:
        raise BadInput(f"{text!r} is not a header rule; write HEADER=VALUE, such as x-beta=1")
    return header, value


def change_split(name: str, shares: Mapping[Version | str, float]) -> dict[str, Any]:
    """Raises NotFound, BadInput, ReplicaFailed."""
    return _settled(name, lambda world: set_traffic(world, name, shares, principal=principal()))


def undo_split(name: str) -> dict[str, Any]:
    return _settled(name, lambda world: undo_traffic(world, name, principal=principal()))


def change_shadow(name: str, shadow: Shadow | None) -> dict[str, Any]:
    return _settled(name, lambda world: set_shadow(world, name, shadow, principal=principal()))


def change_header(name: str, header: str, value: str, version: Version | None) -> dict[str, Any]:
    return _settled(name, lambda world: set_header(world, name, header, value, version, principal=principal()))


def begin_experiment(name: str, wish: Experiment) -> dict[str, Any]:
    """Starts it and waits until the split is in force. Raises NotFound, BadInput, Conflict, ReplicaFailed."""
    return _begun(name, "experiment", lambda world, row: experiment_row(world, row, wish, principal=principal()))


def begin_bandit(name: str, wish: Bandit) -> dict[str, Any]:
    return _begun(name, "bandit", lambda world, row: bandit_row(world, row, wish, principal=principal()))


def traffic_story(name: str) -> dict[str, Any]:
    """Who gets which requests now, by rule, how the versions did in the last hour, and what an experiment or a bandit found."""
    with opened_world() as world:
        return story_of(world, get_deployment(world, name))


def story_of(world: World, resource: Resource) -> dict[str, Any]:
    traffic = deploy_of(resource.spec).traffic.model_dump(mode="json")
    live = {part.version: part.weight for part in live_of(resource.status)}
    wanted = {part.version: part.weight for part in split_of(resource.spec)}
    row = seen_from(world.home, deployment_row(resource))
    records = list(read_records(world.home.gateway / "records", world.clock.now() - RECENT_S))
    did = by_version(records, resource.name)
    empty = {"requests": 0, "failed": 0, "median_ms": None}
    versions = [
        {"version": v, "share": live.get(v, 0.0), "wanted": wanted.get(v, 0.0), **did.get(str(v), empty)} for v in sorted({*live, *wanted})
    ]
    shadow = traffic["shadow"]
    if shadow is not None and (copied := _shadow_version(resource)) is not None:
        shadow = {**shadow, "resolved": copied, **compare_shadow(records, resource.name, str(copied))}
    return {
        "deployment": resource.name,
        "model": row["model"],
        "phase": row["phase"],
        "versions": versions,
        "headers": traffic["headers"],
        "shadow": shadow,
        "moved_by": resource.spec.get("experiment"),
        "mover": _mover(world, resource),
        "before": [{"version": part["version"], "share": part["weight"]} for part in resource.spec.get("before") or ()],
        "notes": row["notes"],
        "error": row["error"],
    }


def _shadow_version(resource: Resource) -> int | None:
    found = resource.status.get("shadow")
    return int(found) if found is not None else None


def _mover(world: World, resource: Resource) -> dict[str, Any] | None:
    """The newest experiment or bandit: its wish, and what it found, without what only the test itself needs."""
    row = mover_of(world, resource.name)
    if row is None:
        return None
    found = {k: v for k, v in row.status.items() if k not in ("race", "exposed", "counted", "arms", "cursor", "started")}
    return {"id": row.id, "kind": row.kind, "phase": row.phase, "wish": row.spec, "found": found}


def _begun(name: str, kind: str, spec: Callable[[World, Resource], dict[str, Any]]) -> dict[str, Any]:
    with opened_world() as world:
        ensure_up(world.home)
        deployment = get_deployment(world, name)
        row = start_mover(world, deployment, kind, spec(world, deployment))
        began = time.monotonic()
        while (waited := time.monotonic() - began) < patience_s(get_deployment(world, name)):
            row = world.store.resources.get(kind, row.id)
            if row.phase == "stopped":
                raise ReplicaFailed(f"{row.id}: {row.status.get('reason')}")
            if row.phase not in ("pending", "starting"):
                return story_of(world, get_deployment(world, name))
            time.sleep(0.05)
        raise ReplicaFailed(f"{row.id} is still {row.phase} after {waited:.0f} s; look at `penstock traffic show {name}`")


def _settled(name: str, change: Callable[[World], Resource]) -> dict[str, Any]:
    """Makes the change and waits until the gateway routes by it. Raises ReplicaFailed with why it does not."""
    with opened_world() as world:
        ensure_up(world.home)
        generation = change(world).generation
        began = time.monotonic()
        while (waited := time.monotonic() - began) < patience_s(resource := get_deployment(world, name)):
            phase = phase_of(resource)
            if phase == "failed":
                raise ReplicaFailed(f"{name!r}: {resource.status.get('error')}", remedy="What was live serves on; `penstock traffic undo`.")
            starting = any(note.endswith("it starts") for note in resource.status.get("notes", ()))
            if resource.generation > generation or (phase == "live" and not starting):
                return story_of(world, resource)
            time.sleep(0.05)
        raise ReplicaFailed(f"{name!r} does not route as asked after {waited:.0f} s; look at `penstock traffic show {name}`")
