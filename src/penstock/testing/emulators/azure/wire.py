"""Azure Resource Manager over HTTP: who asks, which version of the API, faults that were planned, then the resource that is meant."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from uuid import uuid4

from penstock.testing.emulators import http
from penstock.testing.emulators.azure import autoscale, deployments, endpoints, environments, history, jobs, monitor, scoring
from penstock.testing.emulators.azure.errors import ArmError, internal, throttled
from penstock.testing.emulators.azure.identity import ARM, ML, MONITOR
from penstock.testing.emulators.azure.schemas import API_VERSION
from penstock.testing.emulators.azure.workspace import GROUP_ID, ID, LARGEST, PAGE, REGION, SUBSCRIPTION, Operation, Workspace, shown
from penstock.testing.emulators.http import Reply

_OPERATIONS = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/locations/{REGION}/mfeOperationsStatus"
_SCORING = re.compile(r"/serving/([^/]+)(/.*)")


@dataclass(slots=True)
class Meant:
    """What an HTTP request is about; names of headers in lower case; `names`: what the address names, outermost first."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    names: Sequence[str] = ()

    def json(self) -> Any:
        try:
            return json.loads(self.body or b"null")
        except ValueError:
            raise ArmError(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized.") from None


Handler = Callable[[Workspace, Meant], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """`action`: what whoever asks must be allowed to do; `version`: of the API."""

    method: str
    address: re.Pattern[str]
    name: str
    action: str
    handle: Handler
    version: str = API_VERSION
    audience: str = ARM


def answer(workspace: Workspace, request: http.Asked) -> Reply:
    """What the service would say, faults that were planned included."""
    parts = urlsplit(request.target)
    asked = Meant(request.method, unquote(parts.path), dict(parse_qsl(parts.query)), request.headers, request.body)
    try:
        if asked.path == "/msi/token":
            return _json(200, workspace.identity.token(asked.query, asked.headers, workspace.clock()))
        if asked.path.startswith("/logs/"):
            return Reply(200, history.log(workspace, asked.path.removeprefix("/logs/"), asked.query.get("sig", "")))
        if found := _SCORING.fullmatch(asked.path):
            return _scored(workspace, asked, found[1], found[2])
        return _managed(workspace, asked)
    except ArmError as error:
        return _told(error)


def _scored(workspace: Workspace, asked: Meant, endpoint: str, path: str) -> Reply:
    fault = _fault(workspace, "POST score")
    if fault == "cut":
        return Reply(0, cut=True)
    workspace.identity.check(asked.headers, (ML,), "score", workspace.clock())
    given = scoring.invoke(workspace, scoring.Invocation(endpoint, asked.method, path, asked.headers, asked.body))
    return Reply(given.status, given.body, given.headers, given.parts, cut=fault == "lose")


def _managed(workspace: Workspace, asked: Meant) -> Reply:
    for route in ROUTES:
        found = route.address.fullmatch(asked.path)
        if found is None or route.method != asked.method:
            continue
        fault = _fault(workspace, route.name)
        if fault == "cut":
            return Reply(0, cut=True)
        workspace.identity.check(asked.headers, (route.audience,), route.action, workspace.clock())
        if route.version and asked.query.get("api-version") != route.version:
            raise ArmError(400, "NoRegisteredProviderFound", f"No registered resource provider found for API version; use {route.version}.")
        asked.names = found.groups()
        with workspace.lock:
            reply = route.handle(workspace, asked)
        return Reply(0, cut=True) if fault == "lose" else reply
    raise ArmError(404, "InvalidResourceType", f"{asked.method} {asked.path} is not emulated")


def _fault(workspace: Workspace, operation: str) -> str:
    """`cut`: nothing is done and nobody answers; `lose`: it is done and nobody answers. Raises ArmError for those that say so."""
    fault = workspace.faults.next(operation)
    if fault is None:
        return ""
    if fault.kind == "throttle":
        raise throttled()
    if fault.kind == "internal":
        raise internal()
    if fault.kind == "unseen":
        raise ArmError(404, "ResourceNotFound", "The resource was not found.")
    if fault.kind == "slow":
        time.sleep(fault.seconds)
    return {"lose_request": "cut", "lose_answer": "lose"}.get(fault.kind, "")


def _json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"content-type": "application/json; charset=utf-8", **(headers or {})})


def _told(error: ArmError) -> Reply:
    return _json(error.status, error.body(), {"x-ms-failure-cause": "gateway", "x-ms-request-id": str(uuid4()), **error.headers})


def _pending(workspace: Workspace, operation: Operation, status: int, body: Any = None) -> Reply:
    """Accepted: where to look what became of it."""
    place = f"{workspace.url}{_OPERATIONS}/{operation.id}?api-version={API_VERSION}"
    told = {"azure-asyncoperation": place, "location": place, "retry-after": "1"}
    return _json(status, body, told) if body is not None else Reply(status, b"", told)


def _page(workspace: Workspace, asked: Meant, rows: Sequence[Any]) -> Reply:
    begin = asked.query.get("$skip", "0")
    if not begin.isdigit():
        raise ArmError(400, "UserError", f"Invalid $skip: {begin}")
    at, more = int(begin), {}
    size = min(int(asked.query.get("count") or PAGE), LARGEST)
    if at + size < len(rows):
        kept = "&".join(f"{name}={quote(value)}" for name, value in asked.query.items() if name != "$skip")
        more = {"nextLink": f"{workspace.url}{quote(asked.path)}?{kept}&%24skip={at + size}"}
    return _json(200, {"value": list(rows[at : at + size]), **more})


def _workspace(workspace: Workspace, asked: Meant) -> Reply:  # noqa: ARG001
    told = {"discoveryUrl": f"{workspace.url}/discovery", "provisioningState": "Succeeded"}
    return _json(200, {**shown(ID, "", told, 0.0), "type": "Microsoft.MachineLearningServices/workspaces", "location": REGION})


def _operation(workspace: Workspace, asked: Meant) -> Reply:
    found = workspace.operations.get(asked.names[0])
    if found is None:
        raise ArmError(404, "NotFound", f"No operation {asked.names[0]}")
    endpoints.settle_all(workspace)
    return _json(200, found.body())


def _cancel(workspace: Workspace, asked: Meant) -> Reply:
    jobs.cancel(workspace, asked.names[0])
    return Reply(200)


def _delete_job(workspace: Workspace, asked: Meant) -> Reply:
    if asked.names[0] not in workspace.of(jobs.KIND):
        return Reply(204)
    jobs.delete(workspace, asked.names[0])
    return Reply(200)


def _put_endpoint(workspace: Workspace, asked: Meant) -> Reply:
    status, body, operation = endpoints.put(workspace, asked.names[0], asked.json())
    return _pending(workspace, operation, status, body)


def _delete_endpoint(workspace: Workspace, asked: Meant) -> Reply:
    operation = endpoints.delete(workspace, asked.names[0])
    return Reply(204) if operation is None else _pending(workspace, operation, 202)


def _put_deployment(workspace: Workspace, asked: Meant) -> Reply:
    status, body, operation = deployments.put(workspace, asked.names[0], asked.names[1], asked.json())
    return _pending(workspace, operation, status, body)


def _patch_deployment(workspace: Workspace, asked: Meant) -> Reply:
    return _pending(workspace, deployments.patch(workspace, asked.names[0], asked.names[1], asked.json()), 202)


def _delete_deployment(workspace: Workspace, asked: Meant) -> Reply:
    operation = deployments.delete(workspace, asked.names[0], asked.names[1])
    return Reply(204) if operation is None else _pending(workspace, operation, 202)


def _deployment_log(workspace: Workspace, asked: Meant) -> Reply:
    return _json(200, {"content": deployments.log(workspace, asked.names[0], asked.names[1], asked.json())})


def _route(method: str, below: str, name: str, handle: Handler, action: str | None = None) -> Route:
    """`below` the workspace; `action` is told by the kind where it is none of its own."""
    address = re.compile(f"{re.escape(ID)}{'/' if below else ''}{below.replace('*', '([^/]+)')}", re.IGNORECASE)
    verb = {"PUT": "write", "PATCH": "write", "GET": "read", "DELETE": "delete", "POST": "action"}[method]
    kind = re.sub(r"/\*", "", below)
    return Route(method, address, f"{method} {name}", f"Microsoft.MachineLearningServices/workspaces/{action or f'{kind}/{verb}'}", handle)


def _published(workspace: Workspace, asked: Meant) -> Reply:
    monitor.publish(workspace, asked.json())
    return Reply(200)


def _rows_routes(kind: str, name: str, version: str) -> tuple[Route, ...]:
    """Resources beside the workspace that are rows."""
    base = re.escape(f"{GROUP_ID}/providers/{kind}")
    one, all_ = re.compile(f"{base}/([^/]+)", re.IGNORECASE), re.compile(base, re.IGNORECASE)
    return (
        Route("PUT", one, f"PUT {name}", f"{kind}/Write", lambda w, a: _json(*monitor.put(w, kind, a.names[0], a.json())), version),
        Route("DELETE", one, f"DELETE {name}", f"{kind}/Delete", lambda w, a: Reply(monitor.delete(w, kind, a.names[0])), version),
        Route("GET", all_, f"GET {name}", f"{kind}/Read", lambda w, a: _page(w, a, monitor.rows(w, kind)), version),
    )


def _scale_route(method: str, below: str, handle: Handler) -> Route:
    address = re.compile(re.escape(f"{GROUP_ID}/providers/Microsoft.Insights/autoscaleSettings") + below, re.IGNORECASE)
    verb = {"PUT": "Write", "GET": "Read", "DELETE": "Delete"}[method]
    return Route(
        method, address, f"{method} autoscaleSettings", f"Microsoft.Insights/AutoscaleSettings/{verb}", handle, autoscale.API_VERSION
    )


_ENDPOINT, _DEPLOYMENT, _VERSION = "onlineEndpoints/*", "onlineEndpoints/*/deployments/*", "environments/*/versions/*"
ROUTES = (
    _route("GET", "", "workspace", _workspace, "read"),
    _route("PUT", "jobs/*", "jobs", lambda w, a: _json(*jobs.put(w, a.names[0], a.json()))),
    _route("GET", "jobs/*", "jobs", lambda w, a: _json(200, jobs.get(w, a.names[0]))),
    _route("DELETE", "jobs/*", "jobs", _delete_job),
    _route("GET", "jobs", "jobs/list", lambda w, a: _page(w, a, jobs.rows(w, a.query))),
    _route("POST", "jobs/*/cancel", "jobs/cancel", _cancel, "jobs/cancel/action"),
    _route("PUT", _VERSION, "environments", lambda w, a: _json(*environments.put(w, a.names[0], a.names[1], a.json()))),
    _route("GET", _VERSION, "environments", lambda w, a: _json(200, environments.get(w, a.names[0], a.names[1]))),
    _route("PUT", _ENDPOINT, "onlineEndpoints", _put_endpoint),
    _route("GET", _ENDPOINT, "onlineEndpoints", lambda w, a: _json(200, endpoints.get(w, a.names[0]))),
    _route("DELETE", _ENDPOINT, "onlineEndpoints", _delete_endpoint),
    _route("GET", "onlineEndpoints", "onlineEndpoints/list", lambda w, a: _page(w, a, endpoints.rows(w, a.query))),
    _route("PUT", _DEPLOYMENT, "deployments", _put_deployment),
    _route("PATCH", _DEPLOYMENT, "deployments", _patch_deployment),
    _route("GET", _DEPLOYMENT, "deployments", lambda w, a: _json(200, deployments.get(w, a.names[0], a.names[1]))),
    _route("DELETE", _DEPLOYMENT, "deployments", _delete_deployment),
    _route("GET", "onlineEndpoints/*/deployments", "deployments/list", lambda w, a: _page(w, a, deployments.rows(w, a.names[0]))),
    _route(
        "POST",
        f"{_DEPLOYMENT}/getLogs",
        "deployments/getLogs",
        _deployment_log,
        "onlineEndpoints/deployments/getLogs/action",
    ),
    Route("GET", re.compile(re.escape(_OPERATIONS) + "/([^/]+)"), "GET operations", "read", _operation),
    Route(
        "GET",
        re.compile(f"/history/v1.0{re.escape(ID)}/runs/([^/]+)/details"),
        "GET history",
        "Microsoft.MachineLearningServices/workspaces/experiments/runs/read",
        lambda w, a: _json(200, history.details(w, a.names[0])),
        version="",
    ),
    Route("POST", re.compile(f"{re.escape(ID)}/metrics"), "POST metrics", "Microsoft.Insights/Metrics/Write", _published, "", MONITOR),
    *_rows_routes(monitor.ALARMS, "metricAlerts", "2018-03-01"),
    *_rows_routes(monitor.BOARDS, "dashboards", "2020-09-01-preview"),
    _scale_route("PUT", "/([^/]+)", lambda w, a: _json(*autoscale.put(w, a.names[0], a.json()))),
    _scale_route("GET", "/([^/]+)", lambda w, a: _json(200, autoscale.get(w, a.names[0]))),
    _scale_route("DELETE", "/([^/]+)", lambda w, a: Reply(autoscale.delete(w, a.names[0]))),
    _scale_route("GET", "", lambda w, a: _page(w, a, autoscale.rows(w))),
)
