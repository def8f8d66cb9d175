"""What people ask of scaling: other bounds and targets for a deployment, and the way back. Audited; each change is a new wish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from penstock.control.policy import deploy_of
from penstock.control.traffic import changing
from penstock.control.world import World
from penstock.core.errors import BadInput
from penstock.spec.deploy import Scale
from penstock.store.resources import Resource


def set_scale(world: World, name: str, changes: Mapping[str, Any], *, principal: str) -> Resource:
    """Changes keys of the deployment's `scale`; a maximum below a new minimum rises with it. The same again changes nothing.

    Raises NotFound, BadInput with what does not fit.
    """
    if not changes:
        raise BadInput("nothing to change was named", remedy="Name at least one of --min, --max, --target-concurrency, --down-after, …")
    with changing(world, name) as resource:
        present = deploy_of(resource.spec).scale.model_dump(exclude_defaults=True)
        wanted = {**present, **changes}
        if "min" in changes and "max" not in changes and wanted.get("max") is not None:
            wanted["max"] = max(wanted["max"], int(changes["min"]))
        try:
            scale = Scale.model_validate(wanted)
        except ValidationError as error:
            raise BadInput(f"scale of {name!r}: " + "; ".join(_told(problem) for problem in error.errors())) from error
        return _want(world, resource, scale, principal)


def undo_scale(world: World, name: str, *, principal: str) -> Resource:
    """Back to before the last change; undone twice, it is as it was. Raises NotFound, BadInput when there was none."""
    with changing(world, name) as resource:
        before = resource.spec.get("scale_before")
        if before is None:
            raise BadInput(f"the scale of {name!r} was not changed since it was deployed; there is nothing to go back to")
        return _want(world, resource, Scale.model_validate(before), principal)


def _want(world: World, resource: Resource, scale: Scale, principal: str) -> Resource:
    present = deploy_of(resource.spec).scale
    if scale == present:
        return resource
    written, before = (s.model_dump(mode="json", exclude_defaults=True) for s in (scale, present))
    deploy = {**resource.spec.get("deploy", {}), "scale": written}
    spec = {**resource.spec, "deploy": deploy, "replicas": scale.min, "scale_before": before, "wanted_at": world.clock.now()}
    changed = [f"{key} {before.get(key, 'default')} → {written.get(key, 'default')}" for key in _differing(written, before)]
    world.store.audit.append(principal, "deployment.scale", resource.name, {"scale": written, "before": before})
    world.store.events.add("deployment", resource.id, "scale.set", f"{principal} wants: {', '.join(changed)}", {"scale": written})
    return world.store.resources.set_spec("deployment", resource.id, spec)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [key for key in Scale.model_fields if one.get(key) != other.get(key)]


def _told(problem: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else str(problem["msg"]).removeprefix("Value error, ")
