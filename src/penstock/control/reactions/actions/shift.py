"""`do: shift`: a share of the requests goes to another version of the model."""

from __future__ import annotations

from penstock.control.deployments import lead_of, phase_of
from penstock.control.reactions.contract import Scene, Turn
from penstock.control.split import resolve, split_of, told
from penstock.control.traffic import set_traffic
from penstock.control.world import World
from penstock.spec.react import With
from penstock.store.resources import Resource

SOON_S = 0.2


class Shift:
    def estimate_usd(self, world: World, deployment: Resource, given: With) -> float:  # noqa: ARG002 (the contract's signature)
        return 0.0

    def act(self, scene: Scene) -> Turn:
        state = dict(scene.state)
        if not state:
            wanted = scene.given.to or "previous"
            found = resolve(
                scene.world.store.registry,
                scene.deployment.name,
                scene.deployment.spec["model"],
                int(wanted) if wanted.isdigit() else wanted,
            )
            lead = lead_of(scene.deployment)
            if found.version == lead:
                return Turn("failed", f"version {lead} ({wanted}) has most requests already")
            share = 1.0 if scene.given.share is None else scene.given.share
            return Turn(
                "working",
                f"shifting {share:.0%} to version {found.version}",
                {"to": found.version, "from": lead, "share": share},
                after_s=0.0,
            )
        split = {state["to"]: state["share"], state["from"]: 1 - state["share"]}
        after = set_traffic(scene.world, scene.deployment.name, {k: v for k, v in split.items() if v > 0}, principal=scene.principal)
        if phase_of(after) in ("live", "degraded"):
            return Turn("done", told(after.spec["model"], split_of(after.spec)), state, {"split": {str(k): v for k, v in split.items()}})
        if phase_of(after) == "failed":
            return Turn("failed", f"version {state['to']} does not start: {after.status.get('error')}", state)
        return Turn("working", f"shifting {state['share']:.0%} to version {state['to']}", state, after_s=SOON_S)
