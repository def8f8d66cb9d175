"""A pipeline's triggers as a row: made, changed and removed with its file; fired by hand or by CI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.control.preparing import Prepared, queue_run
from penstock.control.triggers.reconciler import KIND
from penstock.control.world import World
from penstock.store.resources import Resource


def follow(world: World, prepared: Prepared, overrides: list[str], principal: str) -> Resource | None:
    """The row is as the pipeline declares it; None when it declares no triggers. Audited where that changes something."""
    pipeline = prepared.pipeline
    found = world.store.resources.find(KIND, pipeline.name)
    wanted = [trigger.model_dump(mode="json", by_alias=True, exclude_none=True) for trigger in pipeline.triggers]
    if not wanted:
        if found is not None and not found.spec.get("removed"):
            world.store.resources.set_spec(KIND, found.id, {**found.spec, "removed": True})
            world.store.audit.append(principal, "trigger.remove", pipeline.name, {})
        return None
    spec = {
        "triggers": wanted,
        "file": str(Path(prepared.file).absolute()) if prepared.file else "",
        "set": overrides,
        "deployment": (pipeline.deploy.name if pipeline.deploy else None) or pipeline.name,
        "pipeline": None if prepared.file else pipeline.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    if found is None or found.phase == "removed" or found.spec.get("removed"):
        world.store.audit.append(principal, "trigger.set", pipeline.name, {"triggers": wanted})
        return world.store.resources.create(KIND, pipeline.name, spec)
    if found.spec == spec:
        return found
    world.store.audit.append(principal, "trigger.set", pipeline.name, {"triggers": wanted})
    return world.store.resources.set_spec(KIND, found.id, spec)


def fire(world: World, prepared: Prepared, ident: str | None, principal: str) -> Resource:
    """A run in the background; the same `ident` (a commit, say) gives the same run."""
    cause: dict[str, Any] = {"by": principal, "id": ident if ident is not None else f"{world.clock.now():.6f}"}
    run = queue_run(prepared, world, cause)
    world.store.audit.append(principal, "trigger.fire", prepared.pipeline.name, {"run": run.id, "id": ident})
    return run


def trigger_row(resource: Resource) -> dict[str, Any]:
    """What commands print."""
    rows = {row["what"]: row for row in resource.status.get("triggers", ())}
    return {
        "id": resource.id,
        "pipeline": resource.name,
        "file": resource.spec.get("file"),
        "phase": resource.phase,
        "triggers": [
            {**spec, **{key: row.get(key) for key in ("next", "last_fired", "error")}}
            for spec, row in zip(resource.spec["triggers"], [*rows.values(), *[{}] * len(resource.spec["triggers"])], strict=False)
        ],
    }
