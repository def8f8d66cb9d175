"""Azure Resource Manager over HTTP: who asks, which version of the API, faults that were planned, then the resource that is meant."""

from __future__ import annotations

import re
import time
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import uuid4

from penstock.testing.emulators import http
from penstock.testing.emulators.azure import batches, history, registries, scoring
from penstock.testing.emulators.azure.asking import Meant, as_json
from penstock.testing.emulators.azure.errors import ArmError, internal, throttled
from penstock.testing.emulators.azure.identity import ML
from penstock.testing.emulators.azure.routes import ROUTES
from penstock.testing.emulators.azure.workspace import Workspace
from penstock.testing.emulators.http import Reply

_BATCH = re.compile(r"/batch/([^/]+)/jobs")
_SCORING = re.compile(r"/serving/([^/]+)(/.*)")


def answer(workspace: Workspace, request: http.Asked) -> Reply:
    """What the service would say, faults that were planned included."""
    parts = urlsplit(request.target)
    asked = Meant(request.method, unquote(parts.path), dict(parse_qsl(parts.query)), request.headers, request.body)
    try:
        if asked.path == "/msi/token":
            return as_json(200, workspace.identity.token(asked.query, asked.headers, workspace.clock()))
        if asked.path.startswith("/logs/"):
            return Reply(200, history.log(workspace, asked.path.removeprefix("/logs/"), asked.query.get("sig", "")))
        if asked.path.startswith(registries.BLOBS):
            return _stored(workspace, asked)
        if (found := _BATCH.fullmatch(asked.path)) and asked.method == "POST":
            return _invoked(workspace, asked, found[1])
        if found := _SCORING.fullmatch(asked.path):
            return _scored(workspace, asked, found[1], found[2])
        return _managed(workspace, asked)
    except ArmError as error:
        return _told(error)


def _stored(workspace: Workspace, asked: Meant) -> Reply:
    fault = _fault(workspace, "PUT blob")
    if fault == "cut":
        return Reply(0, cut=True)
    if asked.method != "PUT":
        raise ArmError(405, "UnsupportedHttpVerb", "Blobs are only put here.")
    registries.put_blob(workspace, asked.path, asked.query, asked.headers, asked.body)
    return Reply(0, cut=True) if fault == "lose" else Reply(201)


def _scored(workspace: Workspace, asked: Meant, endpoint: str, path: str) -> Reply:
    fault = _fault(workspace, "POST score")
    if fault == "cut":
        return Reply(0, cut=True)
    scoring.check(workspace, endpoint, asked.headers)
    given = scoring.invoke(workspace, scoring.Invocation(endpoint, asked.method, path, asked.headers, asked.body))
    return Reply(given.status, given.body, given.headers, given.parts, cut=fault == "lose")


def _invoked(workspace: Workspace, asked: Meant, endpoint: str) -> Reply:
    fault = _fault(workspace, "POST batch")
    if fault == "cut":
        return Reply(0, cut=True)
    workspace.identity.check(asked.headers, (ML,), "batch", workspace.clock())
    with workspace.lock:
        found = batches.invoke(workspace, endpoint, asked.headers.get(scoring.TARGET, ""), asked.body)
    return Reply(0, cut=True) if fault == "lose" else as_json(201, found)


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


def _told(error: ArmError) -> Reply:
    return as_json(error.status, error.body(), {"x-ms-failure-cause": "gateway", "x-ms-request-id": str(uuid4()), **error.headers})
