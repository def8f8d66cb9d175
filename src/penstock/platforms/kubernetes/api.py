"""Calls to the API server: objects as plain maps over the official client, which finds the cluster, signs in and keeps connections.

Each call is tried again while what went wrong may pass. Who signed in anew is taken up at the next 401.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.core.errors import BadInput, ExtraMissing, PlatformDenied
from penstock.platforms.kubernetes.errors import Answered, as_ours, may_pass
from penstock.platforms.remote.retrying import Patience, patiently

Object = dict[str, Any]
MANAGER = "penstock"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
TIMEOUT_S = (5.0, 30.0)
SILENT_S = 90.0  # for which a watch may say nothing: bookmarks come every minute
PAGE = 500
PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Kind:
    """`base` is the path of its API group. `ours`: jobs and endpoints use it; the others only an installation."""

    name: str
    api_version: str
    plural: str
    ours: bool = True
    namespaced: bool = True

    @property
    def base(self) -> str:
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("Pod", "v1", "pods"),
        Kind("Service", "v1", "services"),
        Kind("Event", "v1", "events"),
        Kind("Job", "batch/v1", "jobs"),
        Kind("Deployment", "apps/v1", "deployments"),
        Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
        Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
        Kind("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers"),
        Kind("ScaledObject", "keda.sh/v1alpha1", "scaledobjects"),
        Kind("TrainJob", "trainer.kubeflow.org/v1alpha1", "trainjobs"),
        Kind("InferenceService", "serving.kserve.io/v1beta1", "inferenceservices"),
        Kind("ConfigMap", "v1", "configmaps"),
        Kind("PrometheusRule", "monitoring.coreos.com/v1", "prometheusrules"),
        Kind("PodMonitor", "monitoring.coreos.com/v1", "podmonitors"),
        Kind("Namespace", "v1", "namespaces", ours=False, namespaced=False),
        Kind("ServiceAccount", "v1", "serviceaccounts", ours=False),
        Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims", ours=False),
        Kind("Role", "rbac.authorization.k8s.io/v1", "roles", ours=False),
        Kind("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings", ours=False),
    )
}


class Api:
    """One namespace of one cluster. Raises PlatformDenied, PlatformFull, PlatformAway, BadInput."""

    def __init__(self, namespace: str, kubeconfig: str | None = None, context: str | None = None, patience: Patience = PATIENCE) -> None:
        self.namespace, self._file, self._context, self._patience = namespace, kubeconfig, context, patience
        self._client: Any = None
        self._lock = threading.Lock()
        self._groups: dict[str, bool] = {}

    def get(self, kind: str, name: str) -> Object | None:
        return self._found("GET", self._path(kind, name))

    def rows(self, kind: str, selector: str = "", fields: str = "") -> tuple[list[Object], str]:
        """All pages, and the version to watch from. A token that grew too old begins the list anew."""
        query = {"labelSelector": selector, "fieldSelector": fields, "limit": str(PAGE)}
        rows: list[Object] = []
        token = ""
        while True:
            try:
                page = self._call("GET", self._path(kind), query={**query, "continue": token})
            except Answered as answer:
                if answer.status != 410 or not token:
                    raise as_ours(answer, f"list {kind}") from answer
                rows, token = [], ""
                continue
            rows += [{"apiVersion": KINDS[kind].api_version, "kind": kind, **row} for row in page.get("items") or ()]
            token = page["metadata"].get("continue") or ""
            if not token:
                return rows, str(page["metadata"].get("resourceVersion", ""))

    def create(self, value: Object) -> Object:
        """The object of that name that is there already is given where there is one: an earlier answer may have been lost."""
        kind, name = value["kind"], value["metadata"]["name"]
        try:
            made: Object = self._call("POST", self._path(kind), value, {"fieldManager": MANAGER, "fieldValidation": "Strict"})
            return made
        except Answered as answer:
            if answer.status == 409 and answer.reason == "AlreadyExists" and (found := self.get(kind, name)) is not None:
                return found
            raise as_ours(answer, f"create {kind} {name}") from answer

    def apply(self, value: Object) -> Object:
        """Server-side apply: made, or changed to what `value` says. Idempotent."""
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        path = self._path(value["kind"], value["metadata"]["name"])
        try:
            made: Object = self._call("PATCH", path, value, query, APPLY)
            return made
        except Answered as answer:
            raise as_ours(answer, f"apply {value['kind']} {value['metadata']['name']}") from answer

    def merge(self, kind: str, name: str, patch: Object) -> Object | None:
        """None where there is none."""
        return self._found("PATCH", self._path(kind, name), patch, {"fieldManager": MANAGER}, MERGE)

    def delete(self, kind: str, name: str) -> None:
        """With what belongs to it. Nothing there is no error."""
        self._found("DELETE", self._path(kind, name), {"propagationPolicy": "Background"})

    def log(self, pod: str, lines: int = 20) -> list[str]:
        """Of one that never ran: nothing."""
        try:
            text = self._call("GET", f"{self._path('Pod', pod)}/log", query={"tailLines": str(lines)}, raw=True)
        except Answered as answer:
            if answer.status in (400, 404):
                return []
            raise as_ours(answer, f"log of pod {pod}") from answer
        return str(text).splitlines()

    def offers(self, kind: str) -> bool:
        """Whether the cluster has that kind at all (KEDA, KServe, Kubeflow Trainer may not be installed)."""
        group = KINDS[kind].base
        if group not in self._groups:
            found = self._found("GET", group)
            names = [row["kind"] for row in (found or {}).get("resources") or ()]
            self._groups[group] = kind in names
        return self._groups[group]

    def watch(self, kind: str, selector: str, version: str, within_s: float) -> Iterator[Object]:
        """Events after `version` until the server ends it. Raises Answered (410: `version` is too old), or what broke the connection."""
        query = {"watch": "true", "labelSelector": selector, "resourceVersion": version, "allowWatchBookmarks": "true"}
        query["timeoutSeconds"] = str(int(within_s))
        response = self._send("GET", self._path(kind), None, query, None, (5.0, SILENT_S))
        raw = response.response
        try:
            rest = b""
            for data in raw.stream(amt=None):
                *lines, rest = (rest + data).split(b"\n")
                for line in filter(None, lines):
                    event: Object = json.loads(line)
                    if event["type"] == "ERROR":
                        raise Answered(int(event["object"].get("code", 500)), json.dumps(event["object"]).encode())
                    yield event
        finally:
            raw.close()

    def _path(self, kind: str, name: str = "") -> str:
        space = f"/namespaces/{self.namespace}" if KINDS[kind].namespaced else ""
        return f"{KINDS[kind].base}{space}/{KINDS[kind].plural}" + (f"/{name}" if name else "")

    def _found(self, method: str, path: str, body: Any = None, query: Mapping[str, str] = {}, media: str | None = None) -> Object | None:
        try:
            found: Object = self._call(method, path, body, query, media)
            return found
        except Answered as answer:
            if answer.status == 404 and answer.details.get("kind") != "namespaces":
                return None
            raise as_ours(answer, f"{method} {path}") from answer

    def _call(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] = {}, media: str | None = None, raw: bool = False
    ) -> Any:
        """Raises Answered for an answer that no second try would change, else PlatformAway."""

        def once() -> Any:
            response = self._send(method, path, body, query, media, TIMEOUT_S)
            data = response.read()
            return data.decode("utf-8", "replace") if raw else json.loads(data)

        try:
            return patiently(once, may_pass, self._patience)
        except Exception as error:
            if isinstance(error, Answered) and not may_pass(error):
                raise
            if may_pass(error):
                raise as_ours(error, f"{method} {path}") from error
            raise

    def _send(self, method: str, path: str, body: Any, query: Mapping[str, str], media: str | None, timeout: tuple[float, float]) -> Any:
        """The response, its body not read yet. A 401 has the credentials read anew, once."""
        for again in (True, False):
            client = self._connected()
            headers = {"Accept": "application/json", **({"Content-Type": media or "application/json"} if body is not None else {})}
            asked = client.param_serialize(
                method,
                path,
                query_params=[(key, value) for key, value in query.items() if value],
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = client.call_api(*asked, _request_timeout=timeout)
            if 200 <= response.status < 300:
                return response
            data = response.read()
            if response.status == 401 and again:
                with self._lock:
                    self._client = None
                continue
            raise Answered(response.status, data)
        raise AssertionError("not reached")

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _client(self._file, self._context)
            return self._client


def _client(kubeconfig: str | None, context: str | None) -> Any:
    """As kubectl finds its cluster; inside one, as the pod's service account. Raises PlatformDenied where neither is there."""
    try:
        from kubernetes import client, config
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"Kubernetes needs {error.name}, which is not installed", remedy="Run: pip install 'penstock[kubernetes]'"
        ) from error
    wanted = client.Configuration()
    file = str(Path(kubeconfig).expanduser()) if kubeconfig else None
    if file is not None and not Path(file).exists():
        raise BadInput(
            f"there is no kubeconfig at {file}", remedy="Correct `kubeconfig` of the platform, or leave it out to use kubectl's."
        )
    try:
        config.load_kube_config(file, context, client_configuration=wanted)
    except config.ConfigException as error:
        if file is not None or context is not None:
            raise PlatformDenied(
                f"the kubeconfig cannot be used: {error}", remedy="`kubectl config get-contexts` lists what it has."
            ) from error
        try:
            config.load_incluster_config(client_configuration=wanted)
        except config.ConfigException:
            raise PlatformDenied(
                f"no cluster is known: {error}", remedy="Sign in as kubectl does, or name a `kubeconfig` and a `context` of the platform."
            ) from error
    wanted.retries = False  # patiently() decides what is tried again
    return client.ApiClient(wanted)
