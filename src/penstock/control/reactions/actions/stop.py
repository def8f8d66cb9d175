"""`do: stop`: the deployment serves no more; its history stays, and `penstock deploy` brings it back."""

from __future__ import annotations

from penstock.control.deployments import alone, get_deployment
from penstock.control.reactions.contract import Scene, Turn
from penstock.control.world import World
from penstock.spec.react import With
from penstock.store.resources import Resource


class Stop:
    def estimate_usd(self, world: World, deployment: Resource, given: With) -> float:  # noqa: ARG002 (the contract's signature)
        return 0.0

    def act(self, scene: Scene) -> Turn:
        name = scene.deployment.name
        with alone(scene.world, name):
            row = get_deployment(scene.world, name)
            if not row.spec.get("delete"):
                scene.world.store.resources.set_spec("deployment", row.id, {**row.spec, "delete": True})
                scene.world.store.audit.append(scene.principal, "deployment.delete", name, {})
        says = f"{name} serves no more; `penstock deploy {row.spec['model']} --name {name}` brings it back"
        return Turn("done", says, effect={"model": row.spec["model"], "versions": row.spec["versions"]})
