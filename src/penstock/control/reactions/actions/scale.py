"""`do: scale_up`, `do: scale_down`: other bounds for the number of replicas; `penstock scale undo` goes back."""

from __future__ import annotations

from penstock.control.policy import deploy_of
from penstock.control.reactions.contract import Scene, Turn
from penstock.control.scaling.orders import set_scale
from penstock.control.world import World
from penstock.spec.react import With
from penstock.store.resources import Resource


class _Scale:
    sign = 1

    def estimate_usd(self, world: World, deployment: Resource, given: With) -> float:  # noqa: ARG002 (the contract's signature)
        return 0.0

    def act(self, scene: Scene) -> Turn:
        state = dict(scene.state)
        if not state:
            scale, by = deploy_of(scene.deployment.spec).scale, self.sign * (scene.given.by or 1)
            least = max(scale.min + by, 0 if scale.min == 0 else 1)
            wish = {"min": least, "max": max(scale.most + by, least, 1), "before": {"min": scale.min, "max": scale.most}}
            if (wish["min"], wish["max"]) == (scale.min, scale.most):
                return Turn("failed", f"{scale.min} to {scale.most} replicas is as few as it goes")
            return Turn("working", f"{wish['min']} to {wish['max']} replicas", wish, after_s=0.0)
        set_scale(scene.world, scene.deployment.name, {"min": state["min"], "max": state["max"]}, principal=scene.principal)
        before = state["before"]
        says = f"{state['min']} to {state['max']} replicas, before {before['min']} to {before['max']}"
        return Turn("done", says, state, {"before": before, "min": state["min"], "max": state["max"]})


class ScaleUp(_Scale):
    sign = 1


class ScaleDown(_Scale):
    sign = -1
