"""Deployments of an endpoint, managed or on Kubernetes: Creating → Succeeded or Failed; Updating, Scaling → Succeeded.

One with traffic is not deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.testing.emulators.azure import computes, fleet
from penstock.testing.emulators.azure.endpoints import BUSY, NAME, Endpoint, named
from penstock.testing.emulators.azure.errors import conflict, invalid, not_found
from penstock.testing.emulators.azure.workspace import REGION, Operation, Workspace, shown

MOST, MOST_INSTANCES = 20, 50
_ROUTES = ("livenessRoute", "readinessRoute", "scoringRoute")


def put(workspace: Workspace, endpoint: str, name: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any], Operation]:
    workspace.schemas.check("workspaces_onlineEndpoints_deployments", body)
    parent = named(workspace, endpoint)
    if parent.state in ("Creating", "Deleting"):
        raise conflict(f"The endpoint {endpoint} is being {parent.state.lower()}.")
    _check(workspace, parent, name, body)
    old, now = parent.deployments.get(name), workspace.clock()
    if old is None:
        if len(parent.deployments) >= MOST:
            raise invalid(f"An endpoint has at most {MOST} deployments.")
        made = parent.deployments[name] = fleet.Deployment(endpoint, name, dict(body), now, workspace.operation(), changed=now)
        return 201, _shown(parent, made), made.operation
    _idle(old)
    if old.state == "Failed":
        raise conflict(f"The deployment {name} failed; delete it first.")
    if old.body["properties"] != body["properties"]:
        old.rolling, old.instances = [*old.rolling, *old.instances], []
    old.body, old.state, old.changed, old.operation = dict(body), "Updating", now, workspace.operation()
    return 200, _shown(parent, old), old.operation


def patch(workspace: Workspace, endpoint: str, name: str, body: Any) -> Operation:
    """`{"sku": {"capacity": N}}` and `{"tags": …}`."""
    if not isinstance(body, dict) or set(body) - {"sku", "tags"}:
        raise invalid("Only sku and tags of a deployment can be patched.")
    _, one = _both(workspace, endpoint, name)
    _idle(one)
    capacity = (body.get("sku") or {}).get("capacity")
    if capacity is not None:
        if one.scales:
            raise invalid("The instances of a deployment that scales by target utilization cannot be set.")
        if not 1 <= capacity <= MOST_INSTANCES:
            raise invalid(f"A deployment has 1 to {MOST_INSTANCES} instances.")
        one.body["sku"] = {**one.body["sku"], **body["sku"]}
    one.body["tags"] = {**(one.body.get("tags") or {}), **(body.get("tags") or {})}
    one.state, one.changed, one.operation = "Scaling", workspace.clock(), workspace.operation()
    return one.operation


def get(workspace: Workspace, endpoint: str, name: str) -> dict[str, Any]:
    return _shown(*_both(workspace, endpoint, name))


def rows(workspace: Workspace, endpoint: str) -> list[dict[str, Any]]:
    parent = named(workspace, endpoint)
    return [_shown(parent, one) for one in parent.deployments.values()]


def delete(workspace: Workspace, endpoint: str, name: str) -> Operation | None:
    """None: it is not there."""
    parent = named(workspace, endpoint)
    one = parent.deployments.get(name)
    if one is None:
        return None
    if one.state == "Deleting":
        return one.operation
    _idle(one)
    if parent.traffic.get(name) or parent.mirror.get(name):
        raise invalid(f"Deployment '{name}' gets traffic and cannot be deleted; set its traffic to 0 first.")
    one.operation = workspace.operation()
    fleet.end(workspace, one)
    return one.operation


def log(workspace: Workspace, endpoint: str, name: str, body: Any) -> str:
    _, one = _both(workspace, endpoint, name)
    return "\n".join(fleet.log_of(workspace, one)[-int((body or {}).get("tail") or 100) :])


def _both(workspace: Workspace, endpoint: str, name: str) -> tuple[Endpoint, fleet.Deployment]:
    parent = named(workspace, endpoint)
    one = parent.deployments.get(name)
    if one is None:
        raise not_found("online deployment", f"{endpoint}/{name}")
    return parent, one


def _check(workspace: Workspace, parent: Endpoint, name: str, body: Mapping[str, Any]) -> None:
    properties = body["properties"]
    if not NAME.fullmatch(name):
        raise invalid(f"Deployment name {name!r} is not valid: 3 to 32 letters, digits and '-', from a letter to a letter or digit.")
    if str(body["location"]).lower() != REGION:
        raise invalid(f"The location must be that of the workspace: {REGION}.")
    if properties["endpointComputeType"] != ("Kubernetes" if parent.compute else "Managed"):
        raise invalid(f"The endpoint is {'on Kubernetes' if parent.compute else 'managed'}, and its deployments are of that kind.")
    if not 1 <= int((body.get("sku") or {}).get("capacity") or 0) <= MOST_INSTANCES:
        raise invalid(f"sku.capacity must be from 1 to {MOST_INSTANCES}.")
    scale = properties.get("scaleSettings") or {"scaleType": "Default"}
    if parent.compute:
        _check_on_kubernetes(workspace, parent.compute, properties, scale)
    elif scale["scaleType"] != "Default":
        raise invalid("A managed deployment scales by Azure Monitor: scaleType must be Default.")
    if not properties.get("environmentId") or not properties.get("instanceType"):
        raise invalid("environmentId and instanceType are required.")
    config = workspace.image_of(properties["environmentId"]).get("inferenceConfig") or {}
    if any(route not in config for route in _ROUTES):
        raise invalid(
            "A deployment without code and model needs an environment whose inferenceConfig names liveness, readiness and scoring."
        )


def _check_on_kubernetes(workspace: Workspace, compute: str, properties: Mapping[str, Any], scale: Mapping[str, Any]) -> None:
    computes.machine(workspace, compute, properties.get("instanceType"))
    if asked := properties.get("containerResourceRequirements"):
        computes.check_resources(workspace, compute, properties.get("instanceType"), asked)
    if scale["scaleType"] == "TargetUtilization" and not 1 <= int(scale.get("minInstances", 1)) <= int(scale.get("maxInstances", 1)):
        raise invalid("scaleSettings needs 1 ≤ minInstances ≤ maxInstances.")


def _idle(one: fleet.Deployment) -> None:
    if one.state in (*BUSY, "Scaling"):
        raise conflict(f"The deployment {one.name} is in state {one.state}; wait until that is over.")


def _shown(parent: Endpoint, one: fleet.Deployment) -> dict[str, Any]:
    told = {**one.body["properties"], "provisioningState": one.state}
    more = {key: one.body[key] for key in ("sku", "tags", "identity") if key in one.body}
    return shown(f"{parent.id}/deployments/{one.name}", "onlineEndpoints/deployments", told, one.created, location=REGION, **more)
