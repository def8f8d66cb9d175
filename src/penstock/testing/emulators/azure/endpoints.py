"""Online endpoints: Creating → Succeeded; Updating → Succeeded; Deleting → gone, with its deployments.

Traffic sums to 100 or is none, mirrored traffic to 50 at most and to one deployment; both name deployments that are there and fit.
Source: REST reference and "Limits for online endpoints".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.azure import computes, fleet
from penstock.testing.emulators.azure.errors import conflict, invalid, not_found
from penstock.testing.emulators.azure.workspace import ID, REGION, Operation, Workspace, shown

KIND = "onlineEndpoints"
BUSY = ("Creating", "Updating", "Deleting")
NAME = re.compile(r"[a-zA-Z](?:[a-zA-Z0-9-]{1,30}[a-zA-Z0-9])")


@dataclass(slots=True)
class Endpoint:
    name: str
    body: dict[str, Any]
    created: float
    operation: Operation
    state: str = "Creating"
    changed: float = 0.0
    deployments: dict[str, fleet.Deployment] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{ID}/onlineEndpoints/{self.name}"

    @property
    def traffic(self) -> dict[str, int]:
        return dict(self.body["properties"].get("traffic") or {})

    @property
    def mirror(self) -> dict[str, int]:
        return dict(self.body["properties"].get("mirrorTraffic") or {})

    @property
    def compute(self) -> str:
        """Resource id of the Kubernetes compute that it is on; empty for a managed one."""
        return str(self.body["properties"].get("compute") or "")

    def shown(self, workspace: Workspace) -> dict[str, Any]:
        base = f"{workspace.url}/serving/{self.name}"
        told = {**self.body["properties"], "traffic": self.traffic, "mirrorTraffic": self.mirror, "provisioningState": self.state}
        told |= {"scoringUri": f"{base}/score", "swaggerUri": f"{base}/swagger.json"}
        more = {key: self.body[key] for key in ("identity", "kind", "tags") if key in self.body}
        return shown(self.id, KIND, told, self.created, location=REGION, **more)


def put(workspace: Workspace, name: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any], Operation]:
    workspace.schemas.check("workspaces_onlineEndpoints", body)
    old: Endpoint | None = workspace.of(KIND).get(name)
    if old is not None:
        settle(workspace, old)
        old = workspace.of(KIND).get(name)
    properties = body["properties"]
    if str(body["location"]).lower() != REGION:
        raise invalid(f"The location must be that of the workspace: {REGION}.")
    if old is None:
        _check_new(workspace, name, properties)
        _check_kind(workspace, properties)
        now = workspace.clock()
        made = workspace.of(KIND)[name] = Endpoint(name, dict(body), now, workspace.operation(), changed=now)
        return 201, made.shown(workspace), made.operation
    if old.state in BUSY:
        raise conflict(f"The endpoint {name} is being {old.state.lower()}; wait until that is over.")
    if properties["authMode"] != old.body["properties"]["authMode"]:
        raise invalid("AuthMode cannot be changed.")
    if str(properties.get("compute") or "").lower() != old.compute.lower():
        raise invalid("Compute cannot be changed.")
    _check_kind(workspace, properties)
    check_traffic(old, properties)
    old.body, old.state, old.changed, old.operation = dict(body), "Updating", workspace.clock(), workspace.operation()
    return 200, old.shown(workspace), old.operation


def _check_new(workspace: Workspace, name: str, properties: Mapping[str, Any]) -> None:
    if not NAME.fullmatch(name):
        raise invalid(f"Endpoint name {name!r} is not valid: 3 to 32 letters, digits and '-', from a letter to a letter or digit.")
    if len(workspace.of(KIND)) >= workspace.most_endpoints:
        raise invalid(f"The limit of {workspace.most_endpoints} endpoints in this subscription and region was reached.")
    if properties.get("traffic") or properties.get("mirrorTraffic"):
        raise invalid("Traffic must be empty while the endpoint has no deployments.")


def _check_kind(workspace: Workspace, properties: Mapping[str, Any]) -> None:
    """Source: "Authenticate clients for online endpoints", "CLI (v2) online endpoint YAML schema"."""
    compute = properties.get("compute")
    if compute:
        computes.check_kubernetes(workspace, compute)
        if properties["authMode"] == "AADToken":
            raise invalid("AADToken is only supported for managed online endpoints.")
        if properties.get("mirrorTraffic"):
            raise invalid("Mirror traffic is only supported for managed online endpoints.")


def check_traffic(endpoint: Endpoint, properties: Mapping[str, Any]) -> None:
    traffic, mirror = properties.get("traffic") or {}, properties.get("mirrorTraffic") or {}
    for name in (*traffic, *mirror):
        one = endpoint.deployments.get(name)
        if one is None:
            raise invalid(f"Traffic names deployment '{name}', which the endpoint has not.")
        if one.state in ("Creating", "Failed", "Deleting") and {**traffic, **mirror}[name]:
            raise invalid(f"Deployment '{name}' is in state {one.state} and can have no traffic.")
    if any(not 0 <= share <= 100 for share in (*traffic.values(), *mirror.values())):
        raise invalid("Traffic percentages must be from 0 to 100.")
    if sum(traffic.values()) not in (0, 100):
        raise invalid(f"Traffic percentages must sum to 0 or 100; these sum to {sum(traffic.values())}.")
    if sum(mirror.values()) > 50:
        raise invalid("Mirror traffic must be at most 50 percent.")
    live = [name for name, share in mirror.items() if share]
    if len(live) > 1:
        raise invalid("Traffic can be mirrored to one deployment only.")
    if live and traffic.get(live[0]):
        raise invalid(f"Deployment '{live[0]}' gets live traffic and cannot get mirrored traffic too.")


def get(workspace: Workspace, name: str) -> dict[str, Any]:
    return named(workspace, name).shown(workspace)


def rows(workspace: Workspace, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """`tags`: comma-separated names, or names with the value they must have (`name=value`); only endpoints that have all of them."""
    settle_all(workspace)
    tags = [tag for tag in query.get("tags", "").split(",") if tag]
    return [one.shown(workspace) for one in workspace.of(KIND).values() if all(_tagged(one, tag) for tag in tags)]


def _tagged(one: Endpoint, tag: str) -> bool:
    name, asked, value = tag.partition("=")
    has = one.body.get("tags") or {}
    return name in has and (not asked or has[name] == value)


def delete(workspace: Workspace, name: str) -> Operation | None:
    """None: it is not there."""
    endpoint: Endpoint | None = workspace.of(KIND).get(name)
    if endpoint is None:
        return None
    settle(workspace, endpoint)
    if endpoint.state == "Deleting":
        return endpoint.operation
    if endpoint.state in BUSY or any(one.state in BUSY for one in endpoint.deployments.values()):
        raise conflict(f"The endpoint {name} is being changed; wait until that is over.")
    endpoint.state, endpoint.operation = "Deleting", workspace.operation()
    for one in endpoint.deployments.values():
        fleet.end(workspace, one)
    return endpoint.operation


def settle_all(workspace: Workspace) -> None:
    for endpoint in list(workspace.of(KIND).values()):
        settle(workspace, endpoint)


def settle(workspace: Workspace, endpoint: Endpoint) -> None:
    """Moves the endpoint and its deployments on as far as their instances and the clock have."""
    for one in list(endpoint.deployments.values()):
        fleet.settle(workspace, one)
        if one.gone:
            del endpoint.deployments[one.name]
    if endpoint.state == "Deleting" and not endpoint.deployments:
        endpoint.operation.end()
        workspace.of(KIND).pop(endpoint.name, None)
    elif endpoint.state in ("Creating", "Updating") and workspace.clock() - endpoint.changed >= workspace.start_s:
        endpoint.state = "Succeeded"
        endpoint.operation.end()


def named(workspace: Workspace, name: str) -> Endpoint:
    endpoint: Endpoint | None = workspace.of(KIND).get(name)
    if endpoint is not None:
        settle(workspace, endpoint)
    if endpoint is None or name not in workspace.of(KIND):
        raise not_found("online endpoint", name)
    return endpoint
