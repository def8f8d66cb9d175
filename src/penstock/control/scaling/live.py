"""The policy at work on one deployment: the gateway's load is read, the decision kept in the row with its reason, and told when it changes.

Everything the next decision needs lies in `status["scaling"]`, so a control process that takes over goes on where the last one was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from penstock.control.policy import deploy_of
from penstock.control.scaling import history
from penstock.control.scaling.forecast import slot_of
from penstock.control.scaling.policy import Observation, Rules, State, decide
from penstock.control.scaling.schedule import bounds
from penstock.control.scaling.windows import average
from penstock.control.split import Part, Wanted
from penstock.control.world import World
from penstock.serving.load import read_load
from penstock.spec.deploy import Scale
from penstock.store.resources import Resource

KEEP = 0.7  # weight of what was known of the cold start when another one is measured


def wanted_replicas(resource: Resource, status: dict[str, Any], serving: Sequence[str], world: World) -> int:
    """Replicas that the versions of the deployment should have together. Writes `status["scaling"]`; adds an event when the number changes.

    `serving`: versions that requests go to; their replicas are those of `status["replicas"]`, as seen at the last pass. A deployment
    whose bounds are one number is not looked at further. Where the gateway's load file is missing or old, the number stays.
    """
    seen: Sequence[Mapping[str, Any]] = status.get("replicas", ())
    scale, now = deploy_of(resource.spec).scale, world.clock.now()
    kept: Mapping[str, Any] = status.get("scaling") or {}
    if not moves(scale):
        status["scaling"] = {"wanted": scale.min, "reason": f"always {scale.min}", "at": kept.get("at", now)}
        return scale.min
    state = State.parse(kept.get("state", {}))
    cold, counted = _cold_start(kept, seen)
    expected, forecast = history.foreseen(world.store, resource.id, scale, kept.get("forecast"), (now, cold))
    rules = Rules(scale, cold, expected)
    ready = sum(replica["phase"] == "ready" and replica["version"] in serving for replica in seen)
    observation = _observation(resource.name, ready, world)
    made = decide(state, observation, rules, now)
    busiest = kept.get("slot")
    if observation is not None:
        demand = average(made.state.buckets, now, rules.stable_s).demand
        busiest = history.note(world.store, resource.id, busiest, (slot_of(now), demand), now)
    changed = made.wanted != kept.get("wanted")
    if changed and kept.get("wanted") is not None:
        data = {"from": kept["wanted"], "to": made.wanted, "wishes": dict(made.wishes)}
        message = f"{kept['wanted']} → {made.wanted} replicas: {made.reason}"
        world.store.events.add("deployment", resource.id, "deployment.scaled", message, data)
    at = now if changed else kept.get("at", now)
    measured = {"cold_start_s": round(cold, 3), "counted": counted}
    status["scaling"] = {**made.as_json(), "at": at, **measured, "slot": busiest, "forecast": forecast, "state": made.state.as_json()}
    return made.wanted


def moves(scale: Scale) -> bool:
    """Whether load or the clock can change the number of replicas."""
    return bool(scale.schedule) or scale.min != scale.most


def with_replicas(
    wanted: Wanted, live: Sequence[Part], resource: Resource, status: dict[str, Any], world: World
) -> tuple[Wanted, tuple[Part, ...]]:
    """`wanted` and `live` with the number of replicas that each version should have now.

    A version that does not serve yet has one at least, so that its bundle is known to load before it is switched to; what serves while
    another version comes up grows with the load and shrinks only after the switch.
    """
    serving = [str(part.version) for part in live if part.weight > 0]
    total = wanted_replicas(resource, status, serving, world)
    if not moves(deploy_of(resource.spec).scale):
        return wanted, tuple(live)
    share = shares(total, {part.version: part.weight for part in wanted.weighted})
    shadow = math.ceil(total * wanted.shadow.sample) if wanted.shadow is not None else 0
    parts = []
    for part in wanted.parts:
        number = share.get(part.version, max(shadow if _is_shadow(part, wanted) else 0, min(total, 1), part.warm))
        proven = part.weight == 0 or str(part.version) in serving
        parts.append(replace(part, replicas=number if proven else max(number, 1)))
    staying = {part.version for part in parts}
    leaving = shares(total, {part.version: part.weight for part in live if part.weight > 0})
    now = [p if p.version in staying else replace(p, replicas=max(p.replicas, leaving.get(p.version, 0))) for p in live]
    return replace(wanted, parts=tuple(parts)), tuple(now)


def _is_shadow(part: Part, wanted: Wanted) -> bool:
    return wanted.shadow is not None and wanted.shadow.version == str(part.version)


def shares(wanted: int, weights: Mapping[int, float]) -> dict[int, int]:
    """`wanted` replicas over versions by their weights: each as many as its part of the load needs, and one where any traffic goes."""
    total = sum(weights.values())
    return {version: math.ceil(wanted * weight / total - 1e-9) if weight > 0 else 0 for version, weight in weights.items()}


def wake_held(world: World) -> bool:
    """Makes the deployments due that have no replica and a request that is held. Cheap: a small file is read; True when one was woken."""
    woken = False
    for name, load in read_load(world.home.gateway).items():
        row = world.store.resources.find("deployment", name) if load.held else None
        if row is not None and row.phase == "live" and (row.status.get("scaling") or {}).get("wanted") == 0:
            world.store.resources.wake("deployment", row.id)
            woken = True
    return woken


def scaling_row(resource: Resource, now: float) -> dict[str, Any]:
    """What commands print: bounds, number, reason, and what each rule asks for."""
    scale = deploy_of(resource.spec).scale
    limits, kept = bounds(scale, now), resource.status.get("scaling") or {}
    replicas = resource.status.get("replicas", [])
    return {
        "name": resource.name,
        "wanted": kept.get("wanted", scale.min),
        "ready": sum(replica["phase"] == "ready" for replica in replicas),
        "min": limits.least,
        "max": limits.most,
        "bounds_by": limits.why or "min and max",
        "reason": kept.get("reason", "not looked at yet"),
        "wishes": kept.get("wishes", {}),
        "since": kept.get("at"),
        "cold_start_s": kept.get("cold_start_s"),
        "scale": scale.model_dump(mode="json"),
    }


def _observation(name: str, ready: int, world: World) -> Observation | None:
    load = read_load(world.home.gateway).get(name)
    if load is None:
        return None
    return Observation(load.in_flight, load.waiting + load.held, load.rate, load.last_request, ready)


def _cold_start(kept: Mapping[str, Any], seen: Sequence[Mapping[str, Any]]) -> tuple[float, list[str]]:
    """Seconds from start to readiness of the last replicas, newer ones counting more; and which replicas are counted in it."""
    value, counted = kept.get("cold_start_s"), kept.get("counted", ())
    known = [replica for replica in seen if replica.get("cold_start_s") is not None]
    for replica in known:
        if replica["id"] not in counted:
            value = replica["cold_start_s"] if value is None else KEEP * value + (1 - KEEP) * replica["cold_start_s"]
    return float(value or 0.0), sorted(replica["id"] for replica in known)
