"""What a schema cannot say and a real server checks: names, labels, how fields fit together, what may not change, pod security."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from penstock.testing.emulators.kubernetes.kinds import Kind
from penstock.testing.emulators.kubernetes.quantities import quantity
from penstock.testing.emulators.kubernetes.refusals import invalid
from penstock.testing.emulators.kubernetes.selecting import matches

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_NAMED = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
Problem = tuple[str, str]

FIXED: dict[str, tuple[str, ...]] = {  # what an update may not change
    "Job": ("completions", "selector", "template", "completionMode", "podFailurePolicy"),
    "Deployment": ("selector",),
    "ReplicaSet": ("selector",),
    "PodDisruptionBudget": (),
    "TrainJob": ("runtimeRef",),
}


def check(kind: Kind, value: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Raises Refusal (422) with the first thing that is wrong."""
    name = value["metadata"]["name"]
    for field, why in _problems(kind, value, before):
        raise invalid(kind, name, field, why)


def _problems(kind: Kind, value: dict[str, Any], before: dict[str, Any] | None) -> Iterator[Problem]:
    yield from _metadata(kind, value["metadata"])
    spec = value.get("spec") or {}
    if kind.name in _KINDS:
        yield from _KINDS[kind.name](spec)
    if before is not None:
        for field in FIXED.get(kind.name, ()):
            if (before.get("spec") or {}).get(field) != spec.get(field):
                yield f"spec.{field}", "field is immutable"


def _metadata(kind: Kind, meta: dict[str, Any]) -> Iterator[Problem]:
    name = meta["name"]
    strict = kind.name in ("Service", "Namespace") or (kind.name == "Job")
    if strict and (len(name) > 63 or not _LABEL.match(name)):
        yield "metadata.name", f"{name!r}: must be a DNS-1123 label of at most 63 characters"
    if len(name) > 253 or not _SUBDOMAIN.match(name):
        yield "metadata.name", f"{name!r}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
    yield from _labels("metadata.labels", meta.get("labels") or {})
    for key in meta.get("annotations") or {}:
        if not _key(key):
            yield "metadata.annotations", f"{key!r} is no qualified name"


def _labels(field: str, labels: dict[str, Any]) -> Iterator[Problem]:
    for key, value in labels.items():
        if not _key(key):
            yield field, f"{key!r} is no qualified name"
        if len(str(value)) > 63 or not _VALUE.match(str(value)):
            yield field, f"{value!r}: a valid label must be an empty string or at most 63 alphanumeric characters, '-', '_' or '.'"


def _key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return (not slash or (bool(_SUBDOMAIN.match(prefix)) and len(prefix) <= 253)) and len(name) <= 63 and bool(_NAMED.match(name))


def _pod(spec: dict[str, Any], at: str, restart: tuple[str, ...]) -> Iterator[Problem]:
    if spec.get("restartPolicy", "Always") not in restart:
        yield f"{at}.restartPolicy", f"Unsupported value: {spec.get('restartPolicy', 'Always')!r}: supported values: {', '.join(restart)}"
    volumes = {volume["name"] for volume in spec.get("volumes") or ()}
    names: set[str] = set()
    for index, container in enumerate(spec.get("containers") or ()):
        where = f"{at}.containers[{index}]"
        if container["name"] in names:
            yield f"{where}.name", "Duplicate value"
        names.add(container["name"])
        if not container.get("image"):
            yield f"{where}.image", "Required value"
        for mount in container.get("volumeMounts") or ():
            if mount["name"] not in volumes:
                yield f"{where}.volumeMounts", f"Not found: {mount['name']!r}"
        yield from _resources(container.get("resources") or {}, f"{where}.resources")
        for variable in container.get("env") or ():
            if not re.match(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", variable["name"]):
                yield f"{where}.env", f"{variable['name']!r} is no name of a variable"
            if variable.get("value") is not None and variable.get("valueFrom") is not None:
                yield f"{where}.env", "may not be specified when `value` is not empty"
    if not spec.get("containers"):
        yield f"{at}.containers", "Required value"


def _resources(resources: dict[str, Any], at: str) -> Iterator[Problem]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for part, values in (("requests", requests), ("limits", limits)):
        for name, value in values.items():
            try:
                quantity(value)
            except ValueError as error:
                yield f"{at}.{part}.{name}", str(error)
    for name, value in requests.items():
        if name in limits and quantity(value) > quantity(limits[name]):
            yield f"{at}.requests", f"Invalid value: must be less than or equal to {name} limit of {limits[name]}"
        extended = "/" in name
        if extended and limits.get(name) != value:
            yield f"{at}.limits", f"Limit must be set for non overcommitable resources: {name}"


def _job(spec: dict[str, Any]) -> Iterator[Problem]:
    template = spec["template"]
    yield from _labels("spec.template.metadata.labels", (template.get("metadata") or {}).get("labels") or {})
    yield from _pod(template["spec"], "spec.template.spec", ("Never", "OnFailure"))
    if spec.get("podFailurePolicy") and template["spec"].get("restartPolicy") != "Never":
        yield "spec.podFailurePolicy", "only supported with restartPolicy Never"
    if spec.get("podFailurePolicy") and spec.get("podReplacementPolicy", "Failed") != "Failed":
        yield "spec.podReplacementPolicy", "Unsupported value: only Failed with a podFailurePolicy"
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        yield "spec.completions", "Required value: when completion mode is Indexed"
    if spec.get("backoffLimitPerIndex") is not None and spec.get("completionMode") != "Indexed":
        yield "spec.backoffLimitPerIndex", "requires indexed completion mode"
    for field in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if spec.get(field) is not None and spec[field] < 0:
            yield f"spec.{field}", "must be greater than or equal to 0"


def _deployment(spec: dict[str, Any]) -> Iterator[Problem]:
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    yield from _labels("spec.template.metadata.labels", labels)
    if not matches(labels, spec["selector"]) or not (spec["selector"].get("matchLabels") or spec["selector"].get("matchExpressions")):
        yield "spec.template.metadata.labels", f"Invalid value: {labels!r}: `selector` does not match template `labels`"
    if spec.get("replicas", 1) < 0:
        yield "spec.replicas", "must be greater than or equal to 0"
    yield from _pod(spec["template"]["spec"], "spec.template.spec", ("Always",))


def _service(spec: dict[str, Any]) -> Iterator[Problem]:
    if not spec.get("ports") and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        yield "spec.ports", "Required value"


def _budget(spec: dict[str, Any]) -> Iterator[Problem]:
    if (spec.get("minAvailable") is None) == (spec.get("maxUnavailable") is None):
        yield "spec", "minAvailable and maxUnavailable: exactly one of them"


def _autoscaler(spec: dict[str, Any]) -> Iterator[Problem]:
    least, most = spec.get("minReplicas", 1), spec["maxReplicas"]
    if least < 1:
        yield "spec.minReplicas", "must be greater than or equal to 1"
    if most < least:
        yield "spec.maxReplicas", "must be greater than or equal to `minReplicas`"


_KINDS: dict[str, Callable[[dict[str, Any]], Iterator[Problem]]] = {
    "Pod": lambda spec: _pod(spec, "spec", ("Always", "Never", "OnFailure")),
    "Job": _job,
    "Deployment": _deployment,
    "ReplicaSet": _deployment,
    "Service": _service,
    "PodDisruptionBudget": _budget,
    "HorizontalPodAutoscaler": _autoscaler,
}


def unrestricted(spec: dict[str, Any]) -> list[str]:
    """What of a pod's spec the Pod Security Standard `restricted` forbids (as its admission controller says it)."""
    pod, found = spec.get("securityContext") or {}, []
    found += [f"host namespaces ({field}=true)" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret", "name"}
    found += [f"restricted volume types ({volume['name']})" for volume in spec.get("volumes") or () if set(volume) - allowed]
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        own = container.get("securityContext") or {}
        where = f'container "{container["name"]}" must set'
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"allowPrivilegeEscalation != false ({where} securityContext.allowPrivilegeEscalation=false)")
        if own.get("privileged"):
            found.append(f"privileged ({where} securityContext.privileged=false)")
        if "ALL" not in ((own.get("capabilities") or {}).get("drop") or ()):
            found.append(f'unrestricted capabilities ({where} securityContext.capabilities.drop=["ALL"])')
        if (own.get("runAsNonRoot", pod.get("runAsNonRoot"))) is not True:
            found.append(f"runAsNonRoot != true ({where} securityContext.runAsNonRoot=true)")
        if own.get("runAsUser", pod.get("runAsUser")) == 0:
            found.append(f"runAsUser=0 ({where} another user)")
        profile = (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            found.append(f'seccompProfile ({where} securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")')
    return found
