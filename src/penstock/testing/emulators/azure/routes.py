"""What of Resource Manager is emulated: addresses, who may ask there, and what answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from penstock.testing.emulators.azure import (
    assets,
    autoscale,
    batches,
    components,
    computes,
    deployments,
    endpoints,
    environments,
    history,
    jobs,
    monitor,
    registries,
)
from penstock.testing.emulators.azure.asking import OPERATIONS, Handler, Meant, Route, as_json, as_page, as_pending
from penstock.testing.emulators.azure.errors import ArmError, invalid
from penstock.testing.emulators.azure.identity import MONITOR
from penstock.testing.emulators.azure.workspace import GROUP_ID, ID, REGION, Operation, Workspace, shown
from penstock.testing.emulators.http import Reply


def _workspace(workspace: Workspace, asked: Meant) -> Reply:  # noqa: ARG001
    told = {"discoveryUrl": f"{workspace.url}/discovery", "provisioningState": "Succeeded"}
    return as_json(200, {**shown(ID, "", told, 0.0), "type": "Microsoft.MachineLearningServices/workspaces", "location": REGION})


def _operation(workspace: Workspace, asked: Meant) -> Reply:
    found = workspace.operations.get(asked.names[0])
    if found is None:
        raise ArmError(404, "NotFound", f"No operation {asked.names[0]}")
    endpoints.settle_all(workspace)
    body = found.body()
    if found.brief:
        found.end()
    return as_json(200, body)


def _cancel(workspace: Workspace, asked: Meant) -> Reply:
    jobs.cancel(workspace, asked.names[0])
    return Reply(200)


def _delete_job(workspace: Workspace, asked: Meant) -> Reply:
    if asked.names[0] not in workspace.of(jobs.KIND):
        return Reply(204)
    jobs.delete(workspace, asked.names[0])
    return Reply(200)


def _began(put: Callable[..., tuple[int, Any, Operation]]) -> Handler:
    """Puts what the address names, which is an operation."""

    def handle(workspace: Workspace, asked: Meant) -> Reply:
        status, body, operation = put(workspace, *asked.names, asked.json())
        return as_pending(workspace, operation, status, body)

    return handle


def _taken(delete: Callable[..., Operation | None]) -> Handler:
    """Deletes what the address names, which is an operation where it is there."""

    def handle(workspace: Workspace, asked: Meant) -> Reply:
        operation = delete(workspace, *asked.names)
        return Reply(204) if operation is None else as_pending(workspace, operation, 202)

    return handle


def _patch_deployment(workspace: Workspace, asked: Meant) -> Reply:
    return as_pending(workspace, deployments.patch(workspace, asked.names[0], asked.names[1], asked.json()), 202)


def _token(workspace: Workspace, asked: Meant) -> Reply:
    if endpoints.named(workspace, asked.names[0]).body["properties"]["authMode"] != "AMLToken":
        raise invalid("The endpoint takes no tokens of Azure Machine Learning: its authMode is another.")
    return as_json(200, workspace.identity.endpoint_token(asked.names[0], workspace.clock()))


def _deployment_log(workspace: Workspace, asked: Meant) -> Reply:
    return as_json(200, {"content": deployments.log(workspace, asked.names[0], asked.names[1], asked.json())})


def _route(method: str, below: str, name: str, handle: Handler, action: str | None = None) -> Route:
    """`below` the workspace; `action` is told by the kind where it is none of its own."""
    address = re.compile(f"{re.escape(ID)}{'/' if below else ''}{below.replace('*', '([^/]+)')}", re.IGNORECASE)
    verb = {"PUT": "write", "PATCH": "write", "GET": "read", "DELETE": "delete", "POST": "action"}[method]
    kind = re.sub(r"/\*", "", below)
    return Route(method, address, f"{method} {name}", f"Microsoft.MachineLearningServices/workspaces/{action or f'{kind}/{verb}'}", handle)


def _asset_routes(kind: str) -> tuple[Route, ...]:
    """Containers and versions of what is registered."""
    one, all_, shelf = f"{kind}/*/versions/*", f"{kind}/*/versions", assets.Shelf(kind)
    return (
        _route("PUT", f"{kind}/*", kind, lambda w, a: as_json(*assets.put_container(w, shelf, a.names[0], a.json()))),
        _route("GET", f"{kind}/*", kind, lambda w, a: as_json(200, assets.get_container(w, shelf, a.names[0]))),
        _route("PUT", one, f"{kind}/versions", lambda w, a: as_json(*assets.put(w, shelf, a.names[0], a.names[1], a.json()))),
        _route("GET", one, f"{kind}/versions", lambda w, a: as_json(200, assets.get(w, shelf, a.names[0], a.names[1]))),
        _route("GET", all_, f"{kind}/versions/list", lambda w, a: as_page(w, a, assets.rows(w, shelf, a.names[0], a.query))),
    )


def _registry_routes() -> tuple[Route, ...]:
    """Models of an organisation's registries: what changes one is an operation."""

    def route(method: str, below: str, name: str, handle: Handler, action: str) -> Route:
        address = re.compile(f"{re.escape(assets.REGISTRIES)}/([^/]+)/{below.replace('*', '([^/]+)')}", re.IGNORECASE)
        return Route(method, address, f"{method} registries/{name}", f"Microsoft.MachineLearningServices/registries/{action}", handle)

    def put_container(w: Workspace, a: Meant) -> Reply:
        status, row = assets.put_container(w, registries.shelf(w, a.names[0]), a.names[1], a.json())
        return as_pending(w, _done(w), status, row)

    def put(w: Workspace, a: Meant) -> Reply:
        status, row = assets.put(w, registries.shelf(w, a.names[0]), a.names[1], a.names[2], a.json())
        return as_pending(w, _done(w), status, row)

    def get_container(w: Workspace, a: Meant) -> Reply:
        return as_json(200, assets.get_container(w, registries.shelf(w, a.names[0]), a.names[1]))

    def get(w: Workspace, a: Meant) -> Reply:
        return as_json(200, assets.get(w, registries.shelf(w, a.names[0]), a.names[1], a.names[2]))

    def rows(w: Workspace, a: Meant) -> Reply:
        return as_page(w, a, assets.rows(w, registries.shelf(w, a.names[0]), a.names[1], a.query))

    def start(w: Workspace, a: Meant) -> Reply:
        return as_json(200, registries.start_upload(w, a.names[0], a.names[1], a.names[2], a.json()))

    one = "models/*/versions/*"
    return (
        route("PUT", "models/*", "models", put_container, "models/write"),
        route("GET", "models/*", "models", get_container, "models/read"),
        route("PUT", one, "models/versions", put, "models/versions/write"),
        route("GET", one, "models/versions", get, "models/versions/read"),
        route("GET", "models/*/versions", "models/versions/list", rows, "models/versions/read"),
        route("POST", f"{one}/startPendingUpload", "models/startPendingUpload", start, "models/versions/write"),
    )


def _done(workspace: Workspace) -> Operation:
    made = workspace.operation()
    if workspace.start_s:
        made.brief = True
    else:
        made.end()
    return made


def _published(workspace: Workspace, asked: Meant) -> Reply:
    monitor.publish(workspace, asked.json())
    return Reply(200)


def _rows_routes(kind: str, name: str, version: str) -> tuple[Route, ...]:
    """Resources beside the workspace that are rows."""
    base = re.escape(f"{GROUP_ID}/providers/{kind}")
    one, all_ = re.compile(f"{base}/([^/]+)", re.IGNORECASE), re.compile(base, re.IGNORECASE)
    return (
        Route("PUT", one, f"PUT {name}", f"{kind}/Write", lambda w, a: as_json(*monitor.put(w, kind, a.names[0], a.json())), version),
        Route("DELETE", one, f"DELETE {name}", f"{kind}/Delete", lambda w, a: Reply(monitor.delete(w, kind, a.names[0])), version),
        Route("GET", all_, f"GET {name}", f"{kind}/Read", lambda w, a: as_page(w, a, monitor.rows(w, kind)), version),
    )


def _scale_route(method: str, below: str, handle: Handler) -> Route:
    address = re.compile(re.escape(f"{GROUP_ID}/providers/Microsoft.Insights/autoscaleSettings") + below, re.IGNORECASE)
    verb = {"PUT": "Write", "GET": "Read", "DELETE": "Delete"}[method]
    return Route(
        method, address, f"{method} autoscaleSettings", f"Microsoft.Insights/AutoscaleSettings/{verb}", handle, autoscale.API_VERSION
    )


_BATCH_ENDPOINT, _BATCH_DEPLOYMENT = "batchEndpoints/*", "batchEndpoints/*/deployments/*"
_COMPONENT = "components/*/versions/*"
_ENDPOINT, _DEPLOYMENT, _VERSION = "onlineEndpoints/*", "onlineEndpoints/*/deployments/*", "environments/*/versions/*"
ROUTES = (
    _route("GET", "", "workspace", _workspace, "read"),
    _route("PUT", "jobs/*", "jobs", lambda w, a: as_json(*jobs.put(w, a.names[0], a.json()))),
    _route("GET", "jobs/*", "jobs", lambda w, a: as_json(200, jobs.get(w, a.names[0]))),
    _route("DELETE", "jobs/*", "jobs", _delete_job),
    _route("GET", "jobs", "jobs/list", lambda w, a: as_page(w, a, jobs.rows(w, a.query))),
    _route("POST", "jobs/*/cancel", "jobs/cancel", _cancel, "jobs/cancel/action"),
    _route("PUT", _VERSION, "environments", lambda w, a: as_json(*environments.put(w, a.names[0], a.names[1], a.json()))),
    _route("GET", _VERSION, "environments", lambda w, a: as_json(200, environments.get(w, a.names[0], a.names[1]))),
    _route("PUT", _COMPONENT, "components", lambda w, a: as_json(*components.put(w, a.names[0], a.names[1], a.json()))),
    _route("GET", _COMPONENT, "components", lambda w, a: as_json(200, components.get(w, a.names[0], a.names[1]))),
    _route("PUT", _BATCH_ENDPOINT, "batchEndpoints", _began(batches.put)),
    _route("GET", _BATCH_ENDPOINT, "batchEndpoints", lambda w, a: as_json(200, batches.get(w, a.names[0]))),
    _route("DELETE", _BATCH_ENDPOINT, "batchEndpoints", _taken(batches.delete)),
    _route("GET", "batchEndpoints", "batchEndpoints/list", lambda w, a: as_page(w, a, batches.rows(w, a.query))),
    _route("PUT", _BATCH_DEPLOYMENT, "batchDeployments", _began(batches.put_deployment)),
    _route("GET", _BATCH_DEPLOYMENT, "batchDeployments", lambda w, a: as_json(200, batches.get_deployment(w, a.names[0], a.names[1]))),
    _route("PUT", "computes/*", "computes", lambda w, a: as_json(*computes.put(w, a.names[0], a.json()))),
    _route("GET", "computes/*", "computes", lambda w, a: as_json(200, computes.get(w, a.names[0]))),
    _route("PUT", "datastores/*", "datastores", lambda w, a: as_json(*assets.put_datastore(w, a.names[0], a.json()))),
    _route("GET", "datastores/*", "datastores", lambda w, a: as_json(200, assets.get_datastore(w, a.names[0]))),
    *_asset_routes("models"),
    *_asset_routes("data"),
    *_registry_routes(),
    _route("PUT", _ENDPOINT, "onlineEndpoints", _began(endpoints.put)),
    _route("GET", _ENDPOINT, "onlineEndpoints", lambda w, a: as_json(200, endpoints.get(w, a.names[0]))),
    _route("DELETE", _ENDPOINT, "onlineEndpoints", _taken(endpoints.delete)),
    _route("GET", "onlineEndpoints", "onlineEndpoints/list", lambda w, a: as_page(w, a, endpoints.rows(w, a.query))),
    _route("POST", f"{_ENDPOINT}/token", "onlineEndpoints/token", _token, "onlineEndpoints/token/action"),
    _route("PUT", _DEPLOYMENT, "deployments", _began(deployments.put)),
    _route("PATCH", _DEPLOYMENT, "deployments", _patch_deployment),
    _route("GET", _DEPLOYMENT, "deployments", lambda w, a: as_json(200, deployments.get(w, a.names[0], a.names[1]))),
    _route("DELETE", _DEPLOYMENT, "deployments", _taken(deployments.delete)),
    _route("GET", "onlineEndpoints/*/deployments", "deployments/list", lambda w, a: as_page(w, a, deployments.rows(w, a.names[0]))),
    _route(
        "POST",
        f"{_DEPLOYMENT}/getLogs",
        "deployments/getLogs",
        _deployment_log,
        "onlineEndpoints/deployments/getLogs/action",
    ),
    Route("GET", re.compile(re.escape(OPERATIONS) + "/([^/]+)"), "GET operations", "read", _operation),
    Route(
        "GET",
        re.compile(f"/history/v1.0{re.escape(ID)}/runs/([^/]+)/details"),
        "GET history",
        "Microsoft.MachineLearningServices/workspaces/experiments/runs/read",
        lambda w, a: as_json(200, history.details(w, a.names[0])),
        version="",
    ),
    Route("POST", re.compile(f"{re.escape(ID)}/metrics"), "POST metrics", "Microsoft.Insights/Metrics/Write", _published, "", MONITOR),
    *_rows_routes(monitor.ALARMS, "metricAlerts", "2018-03-01"),
    *_rows_routes(monitor.BOARDS, "dashboards", "2020-09-01-preview"),
    _scale_route("PUT", "/([^/]+)", lambda w, a: as_json(*autoscale.put(w, a.names[0], a.json()))),
    _scale_route("GET", "/([^/]+)", lambda w, a: as_json(200, autoscale.get(w, a.names[0]))),
    _scale_route("DELETE", "/([^/]+)", lambda w, a: Reply(autoscale.delete(w, a.names[0]))),
    _scale_route("GET", "", lambda w, a: as_page(w, a, autoscale.rows(w))),
)
