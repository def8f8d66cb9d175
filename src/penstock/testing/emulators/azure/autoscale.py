"""Autoscale settings of Azure Monitor, as rows: one a deployment, within its bounds. That a rule fires is not emulated.

Source: REST reference of Microsoft.Insights/autoscaleSettings, 2022-10-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.testing.emulators.azure.endpoints import KIND as ENDPOINTS
from penstock.testing.emulators.azure.errors import ArmError, invalid
from penstock.testing.emulators.azure.workspace import GROUP_ID, REGION, Workspace

API_VERSION = "2022-10-01"
KIND = "autoscaleSettings"
_FIELDS = {"location", "tags", "properties"}
_PROPERTIES = {"profiles", "notifications", "enabled", "name", "targetResourceUri", "targetResourceLocation", "predictiveAutoscalePolicy"}
_RULE = {"metricTrigger", "scaleAction"}
_TRIGGER = {"metricName", "metricResourceUri", "timeGrain", "statistic", "timeWindow", "timeAggregation", "operator", "threshold"}
_ACTION = {"direction", "type", "value", "cooldown"}


def put(workspace: Workspace, name: str, body: Any) -> tuple[int, dict[str, Any]]:
    _check(workspace, body)
    target = str(body["properties"]["targetResourceUri"]).lower()
    for other, known in workspace.of(KIND).items():
        if other != name and str(known["properties"]["targetResourceUri"]).lower() == target:
            raise ArmError(409, "Conflict", f"The resource has an autoscale setting already: {other}.")
    status = 200 if name in workspace.of(KIND) else 201
    kind = "Microsoft.Insights/autoscaleSettings"
    workspace.of(KIND)[name] = {**body, "id": f"{GROUP_ID}/providers/{kind}/{name}", "name": name, "type": kind}
    return status, workspace.of(KIND)[name]


def get(workspace: Workspace, name: str) -> dict[str, Any]:
    found: dict[str, Any] | None = workspace.of(KIND).get(name)
    if found is None:
        raise ArmError(404, "ResourceNotFound", f"The autoscale setting {name} was not found.")
    return found


def rows(workspace: Workspace) -> list[dict[str, Any]]:
    return list(workspace.of(KIND).values())


def delete(workspace: Workspace, name: str) -> int:
    return 200 if workspace.of(KIND).pop(name, None) is not None else 204


def _check(workspace: Workspace, body: Any) -> None:
    if not isinstance(body, dict) or body.get("location") != REGION:
        raise invalid(f"location must be {REGION}")
    properties = body.get("properties") or {}
    _only(body, _FIELDS, "body")
    _only(properties, _PROPERTIES, "properties")
    profiles = properties.get("profiles") or []
    if not 1 <= len(profiles) <= 20:
        raise invalid("properties.profiles must have 1 to 20 profiles")
    for profile in profiles:
        _only(profile, {"name", "capacity", "rules", "fixedDate", "recurrence"}, "profile")
        low, high, usual = (int(profile["capacity"][key]) for key in ("minimum", "maximum", "default"))
        if not 1 <= low <= usual <= high:
            raise invalid("capacity needs 1 ≤ minimum ≤ default ≤ maximum")
        for rule in profile["rules"]:
            _only(rule, _RULE, "rule")
            _only(rule["metricTrigger"], _TRIGGER, "metricTrigger")
            _only(rule["scaleAction"], _ACTION, "scaleAction")
    endpoint, _, deployment = str(properties.get("targetResourceUri", "")).rpartition("/onlineEndpoints/")[2].partition("/deployments/")
    if endpoint not in workspace.of(ENDPOINTS) or deployment not in workspace.of(ENDPOINTS)[endpoint].deployments:
        raise ArmError(404, "ResourceNotFound", f"{properties.get('targetResourceUri')} was not found.")


def _only(value: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(value) - known)
    if unknown:
        raise invalid(f"{where} has no {unknown[0]!r}")
