"""`do: alert`: people are told; the alert is over when the condition no longer holds, or when somebody resolves it."""

from __future__ import annotations

from penstock.control.alerts.rows import raise_alert
from penstock.control.reactions.contract import Scene, Turn
from penstock.control.world import World
from penstock.spec.react import With
from penstock.store.resources import Resource


class Alert:
    def estimate_usd(self, world: World, deployment: Resource, given: With) -> float:  # noqa: ARG002 (the contract's signature)
        return 0.0

    def act(self, scene: Scene) -> Turn:
        spec = scene.reaction.spec
        message = f"{spec['when']}: {spec['cause'].get('says', '')}".rstrip(": ")
        raised = raise_alert(scene.world, scene.deployment.name, spec["rule"], "warning", message, spec["cause"])
        return Turn("done", f"{raised.id} is raised: {message}", effect={"alert": raised.id})
