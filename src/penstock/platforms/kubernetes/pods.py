"""The pod that jobs and replicas share: restricted pod security, resources, variables, a folder to write in, the store's volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.platforms.kubernetes.machines import placed, resource_of
from penstock.platforms.remote.container import PLACES, USER, WORK
from penstock.platforms.remote.machines import Machine
from penstock.spec.platforms.kubernetes import KubernetesPlatform


@dataclass(frozen=True, slots=True)
class Container:
    """`extra`: more fields of the container (ports, probes); `fields`: variables that the cluster fills in, by the path of a field."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


def pod_spec(container: Container, machine: Machine, spot: bool, settings: KubernetesPlatform, **more: Any) -> dict[str, Any]:
    """A PodSpec that the standard `restricted` admits (https://kubernetes.io/docs/concepts/security/pod-security-standards/)."""
    volumes: list[dict[str, Any]] = [{"name": "work", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    mounts: list[dict[str, Any]] = [{"name": "work", "mountPath": WORK}, {"name": "tmp", "mountPath": "/tmp"}]
    if settings.volume is not None:
        volumes.append({"name": "store", "persistentVolumeClaim": {"claimName": settings.volume.claim}})
        mounts.append({"name": "store", "mountPath": settings.volume.at})
    made: dict[str, Any] = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [_container(container, machine, settings, mounts)],
        "volumes": volumes,
        **placed(machine, spot, settings),
        **more,
    }
    if settings.service_account:
        made["serviceAccountName"] = settings.service_account  # a cloud identity needs no token for the cluster itself
    if settings.pull_secret:
        made["imagePullSecrets"] = [{"name": settings.pull_secret}]
    return made


def resources(machine: Machine) -> dict[str, Any]:
    """Memory and accelerators are what it gets and no more; processors are what it gets at least."""
    limits: dict[str, str] = {"memory": str(machine.memory_bytes)}
    if machine.accelerators:
        limits[resource_of(machine.accelerator)] = str(machine.accelerators)
    return {"requests": {"cpu": f"{round(machine.cpus * 1000)}m", **limits}, "limits": limits}


def _container(container: Container, machine: Machine, settings: KubernetesPlatform, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    shared = {"PENSTOCK_SHARED_STORE": "1"} if settings.volume is not None else {}
    values = {**PLACES, **shared, **settings.environment, **container.environment}
    variables: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in values.items()]
    variables += [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in container.fields.items()]
    made: dict[str, Any] = {
        "name": container.name,
        "image": settings.image,
        "command": list(container.command),
        "env": variables,
        "resources": resources(machine),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if settings.secrets:
        made["envFrom"] = [{"secretRef": {"name": name}} for name in settings.secrets]
    return made | dict(container.extra)
