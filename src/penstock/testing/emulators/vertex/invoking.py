"""A dedicated endpoint: `…/invoke/**` by the traffic split, `…/deployedModels/ID/invoke/**` to one model; paths and answers go through.

Source: "Use arbitrary custom routes on a single deployment" and the REST reference of `deployedModels.invoke`.
"""

from __future__ import annotations

import http.client
import json
import random
import re

from penstock.testing.emulators.http import Asked, Reply, passed_on
from penstock.testing.emulators.instances import Instance
from penstock.testing.emulators.vertex.endpoints import KIND, Endpoint, shown
from penstock.testing.emulators.vertex.errors import VertexError, not_found
from penstock.testing.emulators.vertex.fleet import Deployed
from penstock.testing.emulators.vertex.project import Project

LONGEST_S = 600.0
_PATH = re.compile(r"/v1/(projects/[^/]+/locations/[^/]+/endpoints/[^/]+)(?:/deployedModels/(\d+))?/invoke(/.*)")
_STATUS = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "FAILED_PRECONDITION": 400, "UNAVAILABLE": 503}


def invoke(project: Project, asked: Asked) -> Reply | None:
    """None for what is no such request."""
    found = _PATH.fullmatch(asked.target)
    if found is None:
        return None
    try:
        with project.lock:
            project.identities.check(asked.headers.get("authorization", ""), "Invoke", found[1])
            replica = _placed(project, found[1], found[2])
    except VertexError as error:
        status = _STATUS.get(error.code, 500)
        told = {"error": {"code": status, "message": error.message, "status": error.code}}
        return Reply(status, json.dumps(told).encode(), {"content-type": "application/json; charset=UTF-8"})
    return _forwarded(asked, found[3], replica)


def _placed(project: Project, name: str, id_: str | None) -> Instance:
    endpoint: Endpoint | None = project.of(KIND).get(name)
    if endpoint is None:
        raise not_found("Endpoint", name)
    shown(project, endpoint)
    there = {key: one for key, one in endpoint.deployed.items() if one.settled}
    if id_ is not None and id_ not in there:
        raise not_found("DeployedModel", f"{name}/deployedModels/{id_}")
    split = dict(endpoint.row.traffic_split)
    if id_ is None and not split:
        raise VertexError("FAILED_PRECONDITION", f"Endpoint {name} doesn't have traffic_split.")
    deployed: Deployed = there[id_ or random.choices(list(split), list(split.values()))[0]]
    if not deployed.model.container_spec.invoke_route_prefix:
        raise VertexError("FAILED_PRECONDITION", "The model has no invoke_route_prefix.")
    if not deployed.ready:
        raise VertexError("UNAVAILABLE", "The model server is not ready.")
    deployed.turn += 1
    return deployed.ready[deployed.turn % len(deployed.ready)]


def _forwarded(asked: Asked, path: str, replica: Instance) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=LONGEST_S)
    try:
        connection.request(asked.method, path, asked.body, {"content-type": asked.headers.get("content-type", "application/json")})
        answer = connection.getresponse()
    except OSError as error:
        connection.close()
        return Reply(
            503, json.dumps({"error": {"code": 503, "message": f"upstream connect error: {error}", "status": "UNAVAILABLE"}}).encode()
        )
    kept = {name: value for name in ("content-type", "retry-after") if (value := answer.headers.get(name)) is not None}
    return Reply(answer.status, b"", kept, passed_on(connection, answer))
