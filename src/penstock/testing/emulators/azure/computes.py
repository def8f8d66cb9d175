"""Computes of the workspace: clusters that a test names, and attached Kubernetes clusters with a namespace and instance types.

Source: ComputeResource of the schema; "Create and manage instance types", whose default type every attached cluster has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.testing.emulators.azure.errors import ArmError, invalid, not_found, user_error
from penstock.testing.emulators.azure.workspace import ID, Workspace, shown

KIND = "computes"
DEFAULT = "defaultinstancetype"
_NAME = re.compile(r"[a-zA-Z](?![a-zA-Z0-9-]*-[0-9]+$)[a-zA-Z0-9-]{2,23}")
_SMALL = {"resources": {"requests": {"cpu": "100m", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}}
_UNITS = {"m": 1e-3, "": 1.0, "Mi": 2.0**20, "Gi": 2.0**30, "M": 1e6, "G": 1e9}


def put(workspace: Workspace, name: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Attaches a Kubernetes cluster."""
    workspace.schemas.check("workspaces_computes", body)
    properties = body["properties"]
    if not _NAME.fullmatch(name):
        raise invalid(f"Compute name {name!r} is not valid.")
    if properties["computeType"] != "Kubernetes":
        raise invalid("Only attaching Kubernetes clusters is emulated.")
    if not properties.get("resourceId"):
        raise invalid("resourceId of the cluster is required.")
    own = properties.get("properties") or {}
    for type_ in (own.get("instanceTypes") or {}).values():
        resources = type_.get("resources") or {}
        if any(not (resources.get(part) or {}).get(what) for part in ("requests", "limits") for what in ("cpu", "memory")):
            raise user_error("An instance type needs requests and limits of cpu and memory.")
    known = {DEFAULT: _SMALL, **(own.get("instanceTypes") or {})}
    told = {**properties, "properties": {"namespace": "default", "defaultInstanceType": DEFAULT, **own, "instanceTypes": known}}
    workspace.of(KIND)[name] = shown(f"{ID}/computes/{name}", KIND, {**told, "provisioningState": "Succeeded"}, workspace.clock())
    return 201, workspace.of(KIND)[name]


def get(workspace: Workspace, name: str) -> dict[str, Any]:
    if name in workspace.clusters:
        machines = {"vmSize": workspace.clusters[name], "vmPriority": "Dedicated"}
        told = {"computeType": "AmlCompute", "provisioningState": "Succeeded", "properties": machines}
        return shown(f"{ID}/computes/{name}", KIND, told, 0.0)
    found: dict[str, Any] | None = workspace.of(KIND).get(name)
    if found is None:
        raise not_found("compute", name)
    return found


def machine(workspace: Workspace, compute: str, instance_type: str | None) -> str:
    """What a job or deployment on the compute of that resource id runs on: a machine type, or an instance type. Raises ArmError."""
    name = compute.rpartition("/")[2]
    if name in workspace.clusters:
        return workspace.clusters[name]
    if name not in workspace.of(KIND):
        raise user_error(f"Unknown compute target '{compute}'.")
    wanted = instance_type or DEFAULT
    if wanted not in _types(workspace, compute):
        raise user_error(f"The instance type {wanted} was not found in compute {name}.")
    return wanted


def check_kubernetes(workspace: Workspace, compute: str) -> None:
    """Raises ArmError unless an endpoint can be on it."""
    if compute.rpartition("/")[2] not in workspace.of(KIND):
        raise ArmError(400, "ComputeNotFound", f"The compute {compute} for the deployment is not found.")


def check_resources(workspace: Workspace, compute: str, instance_type: str | None, asked: Mapping[str, Any]) -> None:
    """`asked`: containerResourceRequirements. Its limits must be less than those of the instance type. Raises ArmError."""
    most = _types(workspace, compute)[machine(workspace, compute, instance_type)]["resources"]["limits"]
    requests, limits = asked.get("containerResourceRequests") or {}, asked.get("containerResourceLimits") or {}
    if not (requests.get("cpu") and requests.get("memory")):
        raise invalid("containerResourceRequests needs cpu and memory.")
    for what in ("cpu", "memory"):
        if what in limits and _amount(limits[what]) >= _amount(most[what]):
            raise invalid(f"The limit of {what} ({limits[what]}) must be less than that of the instance type ({most[what]}).")
        if _amount(requests[what]) > _amount(limits.get(what, requests[what])):
            raise invalid(f"The request of {what} is above its limit.")
    if int(limits.get("gpu") or 0) > int(most.get("nvidia.com/gpu") or 0):
        raise invalid("The instance type has fewer GPUs.")


def _types(workspace: Workspace, compute: str) -> dict[str, Any]:
    found: dict[str, Any] = workspace.of(KIND)[compute.rpartition("/")[2]]["properties"]["properties"]["instanceTypes"]
    return found


def _amount(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", text)
    if found is None or found[2] not in _UNITS:
        raise invalid(f"{text!r} is no quantity.")
    return float(found[1]) * _UNITS[found[2]]
