"""How far a deployment is: which of its versions can take requests, by which replicas, and what is said while they cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.control.loaded import all_loaded, trouble
from penstock.control.split import Part, Wanted
from penstock.control.world import World
from penstock.platforms.contract import EndpointState, ReplicaState
from penstock.serving.snapshot import ReplicaRoute
from penstock.store.resources import Resource


def enough(wanted: Wanted, live: Sequence[Part], seen: EndpointState) -> bool:
    """Whether every version that is to get a share of requests can take it: all its replicas, or one where it serves already; and those
    that are ready have its adapters.

    Versions that only headers or the shadow lead to hold nothing up; they join when they are ready.
    """
    serves = {part.version for part in live if part.weight > 0}
    return all(
        len(there := ready(seen, p)) >= (min(1, p.replicas) if p.version in serves else p.replicas)
        and all_loaded(there, wanted.adapters.get(p.bundle, {}))
        for p in wanted.weighted
    )


def waiting_phase(resource: Resource, status: dict[str, Any], wanted: Wanted, seen: EndpointState, serves: set[int], world: World) -> str:
    """`serves`: versions that are served where they are wanted."""
    new = {str(part.version) for part in wanted.weighted if part.version not in serves}
    broken = [r for r in seen.replicas if r.version in new and r.phase == "failed"]
    unfit = trouble(resource.spec, [part.bundle for part in wanted.weighted], seen.replicas)
    fresh = any(status.get("adapters", {}).get(p.bundle, {}) != wanted.adapters.get(p.bundle, {}) for p in wanted.weighted)
    late = world.clock.now() - resource.spec["wanted_at"] > seen.ready_s
    if (new and (broken or late)) or (fresh and (unfit or late)):
        held = (status.get("held") or {}).get("message")
        status["error"] = broken[0].error if broken else unfit or held or f"not ready {seen.ready_s:.0f} s after it was asked for"
        return "failed"
    return "starting" if new or fresh else "degraded"


def beside(wanted: Wanted, seen: EndpointState) -> list[str]:
    """About versions that only headers or the shadow lead to: which of them cannot be had yet."""
    aside = [part for part in wanted.parts if part.weight == 0 and not ready(seen, part)]
    broken = {r.version: r.error for r in seen.replicas if r.phase == "failed"}
    return [f"version {p.version} is not ready: {broken.get(str(p.version)) or 'it starts'}" for p in aside]


def pairs(can: Wanted, wanted: Wanted) -> list[tuple[Part, Part]]:
    by_version = {part.version: part for part in wanted.parts}
    return [(part, by_version[part.version]) for part in can.parts]


def shares(parts: Sequence[Part]) -> list[tuple[int | str, str, float]]:
    return [(part.version, part.bundle, part.weight) for part in parts if part.weight > 0]


def used(seen: EndpointState, part: Part) -> Sequence[ReplicaState]:
    """Those that requests go to: as many as are wanted, or all where the platform counts them."""
    there = ready(seen, part)
    return there if seen.counted else there[: part.replicas]


def ready(seen: EndpointState, part: Part) -> Sequence[ReplicaState]:
    return [r for r in seen.replicas if r.version == str(part.version) and r.phase == "ready" and r.address]


def route_to(replica: ReplicaState) -> ReplicaRoute:
    assert replica.address is not None
    host, _, port = replica.address.rpartition(":")
    return ReplicaRoute(replica.id, host, int(port))


def show(replica: ReplicaState) -> dict[str, Any]:
    row = {"id": replica.id, "version": replica.version, "phase": replica.phase, "address": replica.address, "error": replica.error}
    return {**row, "cold_start_s": replica.cold_start_s}
