"""What a real server fills in where a client says nothing."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from penstock.testing.emulators.kubernetes.kinds import Kind


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def created(kind: Kind, value: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The object as it is stored: identified, dated, with the defaults that the controllers here look at. A status given is dropped."""
    meta = {**value["metadata"], "uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
    meta.pop("resourceVersion", None)
    if kind.namespaced:
        meta["namespace"] = namespace
    made = {**{k: v for k, v in value.items() if k != "status"}, "metadata": meta}
    if "spec" in made or kind.name in _SPECS:
        made["spec"] = {**_SPECS.get(kind.name, {}), **(made.get("spec") or {})}
    if kind.name == "Job":
        made = _job(made)
    if kind.name == "Namespace":
        meta["labels"] = {"kubernetes.io/metadata.name": meta["name"], **(meta.get("labels") or {})}
    return made


_SPECS: dict[str, dict[str, Any]] = {
    "Job": {"parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False},
    "Deployment": {"replicas": 1, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10},
    "ReplicaSet": {"replicas": 1},
    "Pod": {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30},
    "Service": {"type": "ClusterIP"},
}


def _job(value: dict[str, Any]) -> dict[str, Any]:
    spec, uid, name = dict(value["spec"]), value["metadata"]["uid"], value["metadata"]["name"]
    if spec.get("completions") is None and spec["completionMode"] == "NonIndexed" and spec["parallelism"] == 1:
        spec["completions"] = 1
    own = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name, "controller-uid": uid, "job-name": name}
    template = dict(spec["template"])
    meta = dict(template.get("metadata") or {})
    template["metadata"] = {**meta, "labels": {**(meta.get("labels") or {}), **own}}
    spec |= {"template": template, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}}
    return {**value, "spec": spec}
