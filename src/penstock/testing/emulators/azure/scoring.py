"""A request to an endpoint: by traffic, or to the deployment that `azureml-model-deployment` names, and on to one of its instances.

An answer of the container that is no success becomes 424, its own status in `ms-azureml-model-error-statuscode`; the router of a Kubernetes
cluster passes it on as it is.
Source: "Troubleshoot online endpoints", HTTP status codes.
"""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from penstock.testing.emulators.azure import fleet
from penstock.testing.emulators.azure.endpoints import KIND, Endpoint, settle
from penstock.testing.emulators.azure.errors import ArmError
from penstock.testing.emulators.azure.identity import ML, audience_of
from penstock.testing.emulators.azure.workspace import Workspace
from penstock.testing.emulators.http import passed_on
from penstock.testing.emulators.instances import Instance

LONGEST_S, MAX_BODY = 180.0, 10 << 20
TARGET = "azureml-model-deployment"
_OURS = ("host", "content-length", "authorization", "connection", "transfer-encoding", TARGET)


@dataclass(slots=True)
class Invocation:
    """`headers` in lower case; `path` below the endpoint."""

    endpoint: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    parts: Generator[bytes] | None = None


def check(workspace: Workspace, endpoint: str, headers: Mapping[str, str]) -> None:
    """Whether the token is one that the endpoint takes. Raises ArmError 401 or 403."""
    one: Endpoint | None = workspace.of(KIND).get(endpoint)
    own = one is not None and one.body["properties"]["authMode"] == "AMLToken"
    workspace.identity.check(headers, (audience_of(endpoint) if own else ML,), "score", workspace.clock())


def invoke(workspace: Workspace, asked: Invocation) -> Answer:
    """Raises ArmError: 404 without a deployment to ask, 413, 424 for what the container refused, 503."""
    if len(asked.body) > MAX_BODY:
        raise ArmError(413, "PayloadTooLarge", f"The request is larger than {MAX_BODY} bytes.")
    with workspace.lock:
        endpoint, one = _chosen(workspace, asked)
        instance = _instance(one)
        path = fleet.scoring_path(workspace, one) if asked.path == "/score" else asked.path
        copies = [] if asked.headers.get(TARGET) else _mirrored(endpoint)
    for copy in copies:
        sent = (copy.port, asked.method, path, asked.body, _passed(asked.headers))
        threading.Thread(target=_forget, args=sent, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=LONGEST_S)
    try:
        connection.request(asked.method, path, asked.body, _passed(asked.headers))
        answer = connection.getresponse()
    except TimeoutError:
        connection.close()
        raise ArmError(408, "RequestTimeout", "The request timed out.") from None
    except OSError as error:
        connection.close()
        raise ArmError(502, "BadGateway", f"The container could not be reached: {error}") from None
    kept = {"content-type": answer.headers.get("content-type", ""), TARGET: one.name}
    if answer.status != 200 and endpoint.compute:
        body = answer.read()
        connection.close()
        return Answer(answer.status, kept, body)
    if answer.status != 200:
        body, status, reason = answer.read(), str(answer.status), answer.reason
        connection.close()
        more = {"ms-azureml-model-error-statuscode": status, "ms-azureml-model-error-reason": f"model_error ({reason})"}
        return Answer(424, {**kept, **more}, body)
    if answer.headers.get("content-length") is None:
        return Answer(200, kept, parts=passed_on(connection, answer))
    body = answer.read()
    connection.close()
    return Answer(200, kept, body)


def _chosen(workspace: Workspace, asked: Invocation) -> tuple[Endpoint, fleet.Deployment]:
    endpoint: Endpoint | None = workspace.of(KIND).get(asked.endpoint)
    if endpoint is not None:
        settle(workspace, endpoint)
    if endpoint is None or endpoint.state == "Deleting":
        raise ArmError(404, "NotFound", f"No endpoint {asked.endpoint}.")
    wanted, live = asked.headers.get(TARGET), {name: share for name, share in endpoint.traffic.items() if share}
    if wanted is not None and wanted not in endpoint.deployments:
        raise ArmError(404, "NotFound", f"Specified deployment {wanted} was not found.")
    if wanted is None and not live:
        raise ArmError(404, "NotFound", "There is no valid deployment with traffic to route to.")
    name = wanted if wanted is not None else random.choices(list(live), list(live.values()))[0]
    return endpoint, endpoint.deployments[name]


def _instance(one: fleet.Deployment) -> Instance:
    if not one.ready:
        raise ArmError(503, "ServiceUnavailable", f"Deployment {one.name} has no instance that is ready.")
    one.turn += 1
    return one.ready[one.turn % len(one.ready)]


def _mirrored(endpoint: Endpoint) -> list[Instance]:
    found = [endpoint.deployments[name] for name, share in endpoint.mirror.items() if random.uniform(0, 100) < share]
    return [_instance(one) for one in found if one.ready]


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _OURS}


def _forget(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
    """A mirrored request: nobody waits for its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_S)
    try:
        connection.request(method, path, body, headers)
        connection.getresponse().read()
    except OSError:
        return
    finally:
        connection.close()
