"""Jobs as objects of the cluster: a Job for one pod, an indexed Job with a headless Service or a TrainJob for several.

Several pods find each other by torchrun's own variables (PET_*, https://docs.pytorch.org/docs/stable/elastic/run.html).
"""

from __future__ import annotations

from typing import Any

from penstock.platforms.kubernetes.api import KINDS
from penstock.platforms.kubernetes.pods import Container, pod_spec, resources
from penstock.platforms.remote.driver import Order
from penstock.spec.platforms.kubernetes import KubernetesPlatform

GRACE_S = 60  # to save in, when it is asked to go
KEPT_S = 3600  # that a Job which ended stays to be looked at
PORT = 29400
CONTAINER = "step"
RANK = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
RUNTIME = "torch-distributed"  # the ClusterTrainingRuntime that Kubeflow Trainer installs
PATCHED = frozenset(  # of a pod's spec, that a TrainJob may patch
    {"affinity", "imagePullSecrets", "nodeSelector", "securityContext", "serviceAccountName", "terminationGracePeriodSeconds"}
    | {"tolerations", "volumes"}
)
JOB_NAME = "batch.kubernetes.io/job-name"


def job(order: Order, settings: KubernetesPlatform) -> dict[str, Any]:
    """One attempt is one Job, never started again by the cluster: a pod that was taken away ends it, and Penstock places it anew."""
    several = order.nodes > 1
    service = {"subdomain": order.name} if several else {}
    spec = _pod(order, settings, _rendezvous(order) if several else {}, {"PET_NODE_RANK": RANK} if several else {}, **service)
    body: dict[str, Any] = {
        "parallelism": order.nodes,
        "completions": order.nodes,
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": KEPT_S,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]},
        "template": {"metadata": {"labels": dict(order.labels)}, "spec": spec},
    }
    body |= {"completionMode": "Indexed"} if several else {}
    body |= {"activeDeadlineSeconds": max(1, round(order.timeout_s))} if order.timeout_s else {}
    return _object("Job", order, body)


def service(order: Order) -> dict[str, Any]:
    """Names in the cluster's DNS for the pods of an indexed Job."""
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {JOB_NAME: order.name}}
    return _object("Service", order, {**spec, "ports": [{"name": "rendezvous", "port": PORT}]})


def train_job(order: Order, settings: KubernetesPlatform) -> dict[str, Any]:
    """For Kubeflow Trainer, which sets the rendezvous variables itself. What Trainer's own fields do not reach is patched onto its pods."""
    spec = _pod(order, settings, {}, {})
    container = spec["containers"][0]
    trainer = {
        "image": settings.image,
        "command": container["command"],
        "numNodes": order.nodes,
        "numProcPerNode": order.processes,
        "env": container["env"],
        "resourcesPerNode": resources(order.machine),
    }
    rest = {key: container[key] for key in ("volumeMounts", "securityContext")}
    pods = {**{key: value for key, value in spec.items() if key in PATCHED}, "containers": [{"name": "node", **rest}]}
    template = {"metadata": {"labels": dict(order.labels)}, "spec": pods}
    replicated = [{"name": "node", "template": {"spec": {"template": template}}}]
    patch = {"manager": "penstock.dev/platform", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": replicated}}}}
    body: dict[str, Any] = {"runtimeRef": {"name": RUNTIME}, "trainer": trainer, "runtimePatches": [patch]}
    body |= {"activeDeadlineSeconds": max(1, round(order.timeout_s))} if order.timeout_s else {}
    return _object("TrainJob", order, body)


def _rendezvous(order: Order) -> dict[str, str]:
    return {
        "PET_NNODES": str(order.nodes),
        "PET_NPROC_PER_NODE": str(order.processes),
        "PET_MASTER_ADDR": f"{order.name}-0.{order.name}",
        "PET_MASTER_PORT": str(PORT),
    }


def _pod(order: Order, settings: KubernetesPlatform, values: dict[str, str], fields: dict[str, str], **more: Any) -> dict[str, Any]:
    container = Container(CONTAINER, order.command, {**order.environment, **values}, fields)
    grace = {"restartPolicy": "Never", "terminationGracePeriodSeconds": GRACE_S}
    return pod_spec(container, order.machine, order.spot, settings, **grace, **more)


def _object(kind: str, order: Order, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": KINDS[kind].api_version,
        "kind": kind,
        "metadata": {"name": order.name, "labels": dict(order.labels)},
        "spec": spec,
    }
