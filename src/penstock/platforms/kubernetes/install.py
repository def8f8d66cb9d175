"""What Penstock itself needs in a cluster, as objects: control process and gateway in one pod, its rights, its disk. Pure.

One pod: the gateway reads the snapshot that the control process beside it writes. Not covered: several gateways (run one a namespace).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import BadInput
from penstock.platforms.kubernetes.api import KINDS
from penstock.platforms.kubernetes.labels import MANAGED
from penstock.platforms.kubernetes.machines import ANY
from penstock.platforms.kubernetes.monitoring_manifests import pod_monitor
from penstock.platforms.kubernetes.pods import Container, pod_spec
from penstock.platforms.remote.machines import Machine
from penstock.spec.platforms.kubernetes import KubernetesPlatform

NAME, WORKER, PORT = "penstock", "penstock-work", 8080
METRICS_KEY = "PENSTOCK_METRICS_KEY"  # of the Secret
HOME = "/home/penstock"
OWN = {"app.kubernetes.io/name": "penstock", "app.kubernetes.io/component": "control"}
CHANGES = ("create", "get", "list", "watch", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Wish:
    """`store`: URL of the artifact store; `secret`: a Secret whose keys become variables (PENSTOCK_DATABASE, credentials of the store)."""

    image: str
    store: str
    namespace: str = "penstock"
    secret: str | None = None
    disk: str = "10Gi"
    annotations: Mapping[str, str] = field(default_factory=dict)  # of the service accounts: cloud identities
    monitor: Mapping[str, str] | None = None  # labels of a PodMonitor of the gateway, by which Prometheus chooses; None: there is none


def objects(wish: Wish) -> list[dict[str, Any]]:
    """In the order in which they can be made."""
    return [
        _namespace(wish.namespace),
        _account(NAME, wish.annotations),
        _account(WORKER, wish.annotations),
        _role(),
        _binding(wish.namespace),
        _disk(wish.disk),
        _service(),
        _policy(),
        _deployment(wish),
        *_monitor(wish),
    ]


def rules() -> list[dict[str, Any]]:
    """The rights that are enough for jobs and endpoints, in the namespace and nowhere else."""
    groups: dict[str, list[str]] = {}
    for kind in KINDS.values():
        if kind.ours and kind.name not in ("Pod", "Event"):
            groups.setdefault(kind.api_version.rpartition("/")[0], []).append(kind.plural)
    found = [{"apiGroups": [group], "resources": plurals, "verbs": list(CHANGES)} for group, plurals in groups.items()]
    return [
        *found,
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
    ]


def _object(kind: str, api_version: str, name: str, **parts: Any) -> dict[str, Any]:
    meta = {"name": name, "labels": {**MANAGED, **OWN}, **parts.pop("meta", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **parts}


def _namespace(name: str) -> dict[str, Any]:
    enforced = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**MANAGED, **enforced}}}


def _account(name: str, annotations: Mapping[str, str]) -> dict[str, Any]:
    meta = {"annotations": dict(annotations)} if annotations else {}
    return _object("ServiceAccount", "v1", name, meta=meta, automountServiceAccountToken=False)


def _role() -> dict[str, Any]:
    return _object("Role", "rbac.authorization.k8s.io/v1", NAME, rules=rules())


def _binding(namespace: str) -> dict[str, Any]:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    subjects = [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}]
    return _object("RoleBinding", "rbac.authorization.k8s.io/v1", NAME, roleRef=role, subjects=subjects)


def _disk(size: str) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return _object("PersistentVolumeClaim", "v1", NAME, spec=spec)


def _service() -> dict[str, Any]:
    return _object("Service", "v1", NAME, spec={"selector": OWN, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]})


def _policy() -> dict[str, Any]:
    """Only the gateway's port is open; callers show a key there."""
    open_: dict[str, Any] = {"ports": [{"protocol": "TCP", "port": PORT}]}
    spec = {"podSelector": {"matchLabels": OWN}, "policyTypes": ["Ingress"], "ingress": [open_]}
    return _object("NetworkPolicy", "networking.k8s.io/v1", NAME, spec=spec)


def _monitor(wish: Wish) -> list[dict[str, Any]]:
    """Raises BadInput: over a network the gateway wants a key, also of Prometheus."""
    if wish.monitor is None:
        return []
    if wish.secret is None:
        raise BadInput(
            "Prometheus must show the gateway a key, and there is no Secret to take it from",
            remedy=f"Name one with --secret; its {METRICS_KEY} is a key made by `penstock keys create prometheus`.",
        )
    return [pod_monitor(NAME, {**wish.monitor, **MANAGED, **OWN}, OWN, (wish.secret, METRICS_KEY))]


def _deployment(wish: Wish) -> dict[str, Any]:
    # Over a network the gateway answers nobody without a key: that it listens must do.
    listens: dict[str, Any] = {"tcpSocket": {"port": PORT}, "timeoutSeconds": 2}
    extra: dict[str, Any] = {
        "startupProbe": {**listens, "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {**listens, "periodSeconds": 10},
        "readinessProbe": {**listens, "periodSeconds": 5},
        "ports": [{"name": "http", "containerPort": PORT}],
    }
    command = ("penstock", "up", "--foreground", "--host", "0.0.0.0", "--port", str(PORT))
    values = {"PENSTOCK_HOME": f"{HOME}/state", "PENSTOCK_ARTIFACTS": wish.store}
    settings = KubernetesPlatform(kind="kubernetes", image=wish.image, service_account=NAME, secrets=(wish.secret,) if wish.secret else ())
    pod = pod_spec(Container("penstock", command, values, {}, extra), Machine(ANY, 1.0, 2 << 30), False, settings)
    pod["volumes"].append({"name": "home", "persistentVolumeClaim": {"claimName": NAME}})
    pod["containers"][0]["volumeMounts"] = [*pod["containers"][0]["volumeMounts"], {"name": "home", "mountPath": HOME}]
    pod |= {"terminationGracePeriodSeconds": 60, "automountServiceAccountToken": True}  # it alone speaks to the cluster
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": OWN},
        "template": {"metadata": {"labels": {**MANAGED, **OWN}}, "spec": pod},
    }
    return _object("Deployment", "apps/v1", NAME, spec=spec)
