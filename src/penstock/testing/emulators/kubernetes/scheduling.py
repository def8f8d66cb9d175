"""Which node a pod goes to: one whose labels, taints and free resources fit. Addresses are given here too: 127.x.y.z, one a pod."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.testing.emulators.kubernetes.objects import Object
from penstock.testing.emulators.kubernetes.quantities import quantity
from penstock.testing.emulators.kubernetes.selecting import matches
from penstock.testing.emulators.kubernetes.world import World, ended, with_condition


def addresses() -> Iterator[str]:
    """Addresses of this machine's own network; each emulator process begins elsewhere."""
    first = 16 + os.getpid() % 200
    for number in itertools.count(256 * (os.getpid() // 200 % 200)):
        yield f"127.{first}.{number // 250 % 250}.{2 + number % 250}"


def requests(spec: Mapping[str, Any]) -> dict[str, float]:
    total: dict[str, float] = {"pods": 1.0}
    for container in spec.get("containers") or ():
        resources = container.get("resources") or {}
        for name, value in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            total[name] = total.get(name, 0.0) + quantity(value)
    return total


def place(pod: Object, world: World, ips: Iterator[str]) -> None:
    """Binds the pod, or says why it cannot be."""
    nodes = world.all("Node")
    why = {node["metadata"]["name"]: _objection(pod, node, world) for node in nodes}
    fitting = [name for name, objection in why.items() if objection is None]
    missing = _missing_claim(pod, world)
    if missing or not fitting:
        reasons = sorted({reason for reason in why.values() if reason})
        message = missing or f"0/{len(nodes)} nodes are available: {', '.join(reasons) or 'there are none'}."
        world.status(pod, phase="Pending", conditions=with_condition(pod, "PodScheduled", "False", "Unschedulable", message))
        return
    meta = pod["metadata"]
    with world.objects.lock:
        present = world.get("Pod", meta["namespace"], meta["name"])
        if present is None or present["metadata"]["uid"] != meta["uid"]:
            return
        status = {"phase": "Pending", "podIP": next(ips), "conditions": with_condition(present, "PodScheduled", "True")}
        world.put({**present, "spec": {**present["spec"], "nodeName": fitting[0]}, "status": {**present.get("status", {}), **status}})


def _objection(pod: Object, node: Object, world: World) -> str | None:
    spec, labels = pod["spec"], node["metadata"].get("labels") or {}
    if node["spec"].get("unschedulable"):
        return "node(s) were unschedulable"
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(t, taint) for t in spec.get("tolerations") or ()):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if not all(labels.get(k) == v for k, v in (spec.get("nodeSelector") or {}).items()) or not _affine(spec, labels):
        return "node(s) didn't match Pod's node affinity/selector"
    free = {name: quantity(value) for name, value in node["status"]["allocatable"].items()}
    for other in world.all("Pod"):
        if other["spec"].get("nodeName") == node["metadata"]["name"] and not ended(other):
            for name, used in requests(other["spec"]).items():
                free[name] = free.get(name, 0.0) - used
    for name, wanted in requests(spec).items():
        if wanted > free.get(name, 0.0) + 1e-9:
            return f"Insufficient {name}"
    return None


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))


def _affine(spec: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if affinity is None:
        return True
    return any(matches(labels, {"matchExpressions": term.get("matchExpressions") or []}) for term in affinity["nodeSelectorTerms"])


def _missing_claim(pod: Object, world: World) -> str | None:
    for volume in pod["spec"].get("volumes") or ():
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim and world.get("PersistentVolumeClaim", pod["metadata"]["namespace"], claim) is None:
            return f'persistentvolumeclaim "{claim}" not found'
    return None
