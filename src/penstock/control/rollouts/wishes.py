"""A rollout's wish as a deployment's spec, and whether the deployment is by now what was wished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.control.deployments import phase_of
from penstock.control.rollouts.machine import Wish
from penstock.control.split import Part, live_of
from penstock.control.traffic import set_rollout
from penstock.control.world import World
from penstock.store.resources import Resource


def set_wish(world: World, rollout: Resource, status: Mapping[str, Any], asked: Wish) -> Resource:
    """Idempotent. `status` names the old version. Raises NotFound when the deployment is being removed."""
    old, new = status["old"], rollout.spec["new"]
    parts = [Part(old["version"], old["bundle"], round(1 - asked.share, 6)), Part(new["version"], new["bundle"], round(asked.share, 6))]
    total = int(status["replicas"])
    aside: dict[str, Any] = {}
    if asked.warm:
        aside["warm"] = [{**(old if asked.warm == "old" else new), "replicas": asked.replicas or total}]
    if asked.shadow is not None:
        aside["shadow"] = {"version": new["version"], "sample": asked.shadow}
    if asked.replicas is not None and 0 < asked.share < 1:
        mine = max(1, round(total * asked.share))
        aside["replicas_of"] = {str(new["version"]): mine, str(old["version"]): max(total - mine, 1)}
    mover = rollout.id if asked.mine else None
    shares = [part for part in parts if part.weight > 0]
    return set_rollout(world, rollout.spec["deployment"], shares, aside, rollout=mover, principal=f"rollout {rollout.id}")


def confirmed(deployment: Resource, rollout: Resource, status: Mapping[str, Any], asked: Wish) -> bool:
    """Whether the gateway routes by the wish, and who is to be ready is."""
    if phase_of(deployment) not in ("live", "degraded") or deployment.status.get("experiment") != deployment.spec.get("experiment"):
        return False
    new, old = rollout.spec["new"]["version"], status["old"]["version"]
    live = {part.version: part.weight for part in live_of(deployment.status) if part.weight > 0}
    wanted = {version: share for version, share in ((old, 1 - asked.share), (new, asked.share)) if share > 0}
    if live.keys() != wanted.keys() or any(abs(live[version] - share) > 1e-4 for version, share in wanted.items()):
        return False
    if asked.shadow is not None and (str(deployment.status.get("shadow")) != str(new) or not of_version(deployment, new)):
        return False
    return asked.warm != "new" or of_version(deployment, new) >= (asked.replicas or 1)


def of_version(deployment: Resource, version: int) -> int:
    """Replicas of a version that can answer, as seen at the deployment's last pass."""
    return sum(row["version"] == str(version) and row["phase"] == "ready" for row in deployment.status.get("replicas", ()))
