"""What people, runs and reactions ask of rollouts: begin one, pause it, go on, call it off, promote now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from penstock.control.policy import deploy_of
from penstock.control.rollouts.machine import ENDED
from penstock.control.rollouts.reconciler import KIND
from penstock.control.rollouts.stages import stages_of
from penstock.control.world import World
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import BadInput, NotFound
from penstock.spec.strategy import Strategy
from penstock.store.resources import Resource

Order = Literal["", "pause", "abort", "promote"]
_DONE = {"": "rollout.resumed", "pause": "rollout.paused", "abort": "rollout.aborted", "promote": "rollout.promoted_by_hand"}


def start_rollout(
    world: World, deployment: Resource, version: int, *, principal: str, cause: Mapping[str, Any], strategy: Strategy | None = None
) -> Resource:
    """A rollout of `version` by the strategy that the deployment's row names (or the one given); the same cause again gives the same row.

    `cause`: what it comes from, as JSON: a run, a reaction, a person's command. Audited. Raises NotFound, BadInput without a strategy.
    """
    deploy = deploy_of(deployment.spec)
    chosen = strategy or deploy.strategy
    if chosen is None:
        raise BadInput(f"{deployment.name!r} declares no strategy", remedy="Add `deploy.strategy` to the file, or name one.")
    found = world.store.registry.get(deployment.spec["model"], version)
    ident = f"{KIND}-{hex_of(digest_json([deployment.id, found.version, dict(cause)]))[:20]}"
    try:
        return world.store.resources.get(KIND, ident)
    except NotFound:
        pass
    spec = {
        "deployment": deployment.name,
        "model": found.model,
        "new": {"version": found.version, "bundle": found.bundle},
        "strategy": chosen.model_dump(mode="json", exclude_none=True),
        "conditions": list(deploy.rollback_when),
        "cause": dict(cause),
        "principal": principal,
        "order": "",
    }
    made = world.store.resources.create(KIND, deployment.name, spec, id=ident)
    world.store.audit.append(
        principal, "rollout.start", deployment.name, {"rollout": ident, "version": found.version, "cause": dict(cause)}
    )
    told = f"{principal} begins: version {found.version} by {chosen.kind}"
    world.store.events.add(KIND, ident, "rollout.created", told, {"cause": dict(cause), "strategy": spec["strategy"]})
    return made


def order_rollout(world: World, name: str, order: Order, *, principal: str) -> Resource:
    """To the rollout under way of deployment `name`. Audited. Raises NotFound when there is none."""
    found = active_rollout(world, name)
    if found is None:
        last = world.store.resources.find(KIND, name)
        how = f"; the last one, of version {last.spec['new']['version']}, is {last.phase}" if last is not None else ""
        raise NotFound(f"no rollout of {name!r} is under way{how}")
    if found.phase == "watching" and order in ("pause", "promote"):
        raise BadInput(f"version {found.spec['new']['version']} has all requests already; it can only be rolled back (abort)")
    if found.spec["order"] == order:
        return found
    world.store.audit.append(principal, f"rollout.{order or 'resume'}", name, {"rollout": found.id})
    world.store.events.add(KIND, found.id, _DONE[order], f"{principal} asked for it", {})
    return world.store.resources.set_spec(KIND, found.id, {**found.spec, "order": order})


def active_rollout(world: World, name: str) -> Resource | None:
    """The rollout of deployment `name` that moves its traffic, else the one that waits to."""
    rows = [row for row in world.store.resources.list(KIND, name=name) if row.phase not in ENDED]
    return next((row for row in rows if row.phase != "pending"), rows[0] if rows else None)


def rollout_row(resource: Resource) -> dict[str, Any]:
    """What commands print."""
    state = resource.status.get("state", {})
    return {
        "id": resource.id,
        "deployment": resource.spec["deployment"],
        "model": resource.spec["model"],
        "version": resource.spec["new"]["version"],
        "before": (resource.status.get("old") or {}).get("version"),
        "strategy": resource.spec["strategy"],
        "phase": resource.phase,
        "order": resource.spec.get("order", ""),
        "stage": state.get("stage", 0),
        "stages": stage_names(resource),
        "since": state.get("since"),
        "reason": resource.status.get("reason", ""),
        "requests": (resource.status.get("evidence") or {}).get("requests", 0),
        "conditions": resource.status.get("findings", []),
        "cause": resource.spec["cause"],
        "created_at": resource.created_at,
        "ended_at": state.get("ended_at"),
    }


def stage_names(resource: Resource) -> Sequence[str]:
    replicas = int(resource.status.get("replicas", 1))
    return [stage.name for stage in stages_of(Strategy.model_validate(resource.spec["strategy"]), replicas)]
