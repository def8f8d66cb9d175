"""Kubeflow Trainer's TrainJob with a torch runtime: an indexed Job with torchrun's variables, and its end as the TrainJob's."""

from __future__ import annotations

from typing import Any

from penstock.testing.emulators.kubernetes.objects import Object
from penstock.testing.emulators.kubernetes.world import World, condition, with_condition

RUNTIMES = ("torch-distributed",)
PORT = 29400
RANK = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def sync(world: World) -> None:
    for train in world.all("TrainJob"):
        if condition(train, "Complete") or condition(train, "Failed") or "deletionTimestamp" in train["metadata"]:
            continue
        if train["spec"]["runtimeRef"]["name"] not in RUNTIMES:
            world.event(train, "TrainingRuntimeNotFound", f"no ClusterTrainingRuntime {train['spec']['runtimeRef']['name']!r}")
            continue
        jobs = world.owned("Job", train)
        if not jobs:
            world.create(train, _service(train))
            world.create(train, _job(train))
        for job in jobs:
            _follow(train, job, world)


def _follow(train: Object, job: Object, world: World) -> None:
    if bool(job["spec"].get("suspend")) != bool(train["spec"].get("suspend")):
        world.put({**job, "spec": {**job["spec"], "suspend": bool(train["spec"].get("suspend"))}})
    for kind in ("Complete", "Failed"):
        if (seen := condition(job, kind)) is not None:
            told = with_condition(train, kind, "True", seen.get("reason", ""), seen.get("message", "") or kind)
            world.status(train, conditions=told)


def _service(train: Object) -> Object:
    selector = {"trainer.kubeflow.org/trainjob": train["metadata"]["name"]}
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": selector}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": train["metadata"]["name"]}, "spec": spec}


def _job(train: Object) -> Object:
    name, spec = train["metadata"]["name"], train["spec"]
    trainer: dict[str, Any] = spec.get("trainer") or {}
    nodes = trainer.get("numNodes", 1)
    variables = [
        {"name": "PET_NNODES", "value": str(nodes)},
        {"name": "PET_NPROC_PER_NODE", "value": str(trainer.get("numProcPerNode", 1))},
        {
            "name": "PET_NODE_RANK",
            "valueFrom": {"fieldRef": {"fieldPath": RANK}},
        },
        {"name": "PET_MASTER_ADDR", "value": f"{name}-node-0-0.{name}"},
        {"name": "PET_MASTER_PORT", "value": str(PORT)},
    ]
    container = {"name": "node", "image": trainer.get("image", ""), "env": [*(trainer.get("env") or ()), *variables]}
    container |= {key: trainer[key] for key in ("command", "args") if trainer.get(key)}
    container |= {"resources": trainer["resourcesPerNode"]} if trainer.get("resourcesPerNode") else {}
    pod: dict[str, Any] = {"restartPolicy": "Never", "subdomain": name, "containers": [container]}
    labels = {"trainer.kubeflow.org/trainjob": name}
    for template in _patches(spec):
        patch = template.get("spec") or {}
        labels |= (template.get("metadata") or {}).get("labels") or {}
        pod |= {k: v for k, v in patch.items() if k not in ("containers", "initContainers")}
        for extra in patch.get("containers") or ():
            if extra["name"] == "node":
                container["env"] = [*container["env"], *(extra.get("env") or ())]
                container |= {k: v for k, v in extra.items() if k not in ("name", "env")}
    template = {"metadata": {"labels": labels}, "spec": pod}
    body = {"completionMode": "Indexed", "completions": nodes, "parallelism": nodes, "backoffLimit": 0, "template": template}
    if spec.get("activeDeadlineSeconds"):
        body["activeDeadlineSeconds"] = spec["activeDeadlineSeconds"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"{name}-node-0", "labels": labels}, "spec": body}


def _patches(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Pod templates of the runtime patches that aim at the nodes."""
    found = []
    for patch in spec.get("runtimePatches") or ():
        template = (((patch.get("trainingRuntimeSpec") or {}).get("template") or {}).get("spec") or {}).get("replicatedJobs") or ()
        for job in template:
            if job.get("name") == "node":
                found.append(((job.get("template") or {}).get("spec") or {}).get("template") or {})
    return found
