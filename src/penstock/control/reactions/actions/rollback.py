"""`do: rollback`: a rollout under way is called off; otherwise the version that served before serves all requests again."""

from __future__ import annotations

from penstock.control.crowning import crown
from penstock.control.deployments import lead_of, phase_of
from penstock.control.reactions.contract import Scene, Turn
from penstock.control.rollouts.orders import active_rollout, order_rollout
from penstock.control.split import live_of, previous_version
from penstock.control.traffic import set_traffic
from penstock.control.world import World
from penstock.core.errors import NotFound
from penstock.spec.react import With
from penstock.store.resources import Resource

SOON_S = 0.2


class Rollback:
    def estimate_usd(self, world: World, deployment: Resource, given: With) -> float:  # noqa: ARG002 (the contract's signature)
        return 0.0

    def act(self, scene: Scene) -> Turn:
        state = dict(scene.state)
        if not state:
            return self._choose(scene)
        if "rollout" in state:
            return self._called_off(scene, state)
        target, before = int(state["to"]), int(state["from"])
        set_traffic(scene.world, scene.deployment.name, {target: 1.0}, principal=scene.principal)
        crown(scene.world, scene.deployment.spec["model"], before, target, scene.principal)
        live = [part.version for part in live_of(scene.deployment.status) if part.weight > 0]
        if phase_of(scene.deployment) in ("live", "degraded") and live == [target]:
            return Turn("done", f"version {target} serves all requests again, instead of {before}", state, {"from": before, "to": target})
        if phase_of(scene.deployment) == "failed":
            return Turn("failed", f"version {target} does not start: {scene.deployment.status.get('error')}", state)
        return Turn("working", f"going back to version {target}", state, after_s=SOON_S)

    def _choose(self, scene: Scene) -> Turn:
        """Decides first and acts at the next turn, so that a crash in between cannot go back twice."""
        rollout = active_rollout(scene.world, scene.deployment.name)
        if rollout is not None and rollout.phase != "pending":
            return Turn("working", f"calling off {rollout.id}", {"rollout": rollout.id}, after_s=0.0)
        lead = lead_of(scene.deployment)
        target = previous_version(scene.world.store.registry, scene.deployment.name)
        if target is None or target == lead:
            return Turn("failed", f"version {lead} is the only one that ever served; there is nothing to go back to")
        return Turn("working", f"going back from version {lead} to {target}", {"from": lead, "to": target}, after_s=0.0)

    def _called_off(self, scene: Scene, state: dict[str, str]) -> Turn:
        rollout = scene.world.store.resources.get("rollout", state["rollout"])
        version, old = rollout.spec["new"]["version"], (rollout.status.get("old") or {}).get("version")
        if rollout.phase in ("rolled_back", "stopped"):
            return Turn("done", f"version {version} was sent back; {old} serves all requests", state, {"from": version, "to": old})
        if rollout.phase == "promoted":  # it ended before it could be called off
            return Turn("working", "the rollout was over before it could be called off", {"from": version, "to": old}, after_s=0.0)
        try:
            order_rollout(scene.world, scene.deployment.name, "abort", principal=scene.principal)
        except NotFound:
            return Turn("working", "the rollout is ending", state, after_s=SOON_S)
        return Turn("working", f"calling off the rollout of version {version}", state, after_s=SOON_S)
