"""The instances of a deployment: each a process that is asked for its readiness, as its environment says how, until it may serve."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.azure.errors import ArmError
from penstock.testing.emulators.azure.workspace import Operation, Workspace
from penstock.testing.emulators.instances import Instance, cut_to, gone, looked, stop
from penstock.testing.ports import free_port

_numbers = itertools.count(1)


@dataclass(slots=True)
class Deployment:
    """`state` as the service's provisioningState; `rolling`: instances of before an update, which serve until the new ones do; `gone` once
    nothing is left of a deletion.
    """

    endpoint: str
    name: str
    body: dict[str, Any]
    created: float
    operation: Operation
    state: str = "Creating"
    changed: float = 0.0
    instances: list[Instance] = field(default_factory=list)
    rolling: list[Instance] = field(default_factory=list)
    leaving: list[Instance] = field(default_factory=list)
    turn: int = 0
    gone: bool = False

    @property
    def kubernetes(self) -> bool:
        return bool(self.body["properties"]["endpointComputeType"] == "Kubernetes")

    @property
    def scales(self) -> bool:
        """By the router of its cluster; here nobody is busy, so it has the fewest that it may."""
        return bool((self.body["properties"].get("scaleSettings") or {}).get("scaleType") == "TargetUtilization")

    @property
    def wanted(self) -> int:
        if self.scales:
            return int(self.body["properties"]["scaleSettings"].get("minInstances") or 1)
        return int((self.body.get("sku") or {}).get("capacity") or 1)

    @property
    def machine(self) -> str:
        return str(self.body["properties"].get("instanceType") or "Standard_F4s_v2")

    @property
    def ready(self) -> list[Instance]:
        return [instance for instance in (*self.instances, *self.rolling) if instance.ready]


def settle(workspace: Workspace, one: Deployment) -> None:
    """Starts what is missing, stops what is too much, notices who is ready and who died."""
    if one.state == "Deleting":
        one.leaving, one.instances, one.rolling = [*one.leaving, *one.rolling, *one.instances], [], []
        if gone(workspace.processes, one.leaving):
            one.gone = True
            one.operation.end()
        return
    if one.state == "Failed":
        return
    changing = one.state in ("Creating", "Updating", "Scaling")
    if changing and (workspace.clock() - one.changed < workspace.start_s or not _room(workspace, one)):
        return
    lost = looked(workspace.processes, one.instances, _route(workspace, one, "readinessRoute")["path"])
    if lost is not None and one.state in ("Creating", "Updating"):
        code = "KubernetesCrashLoopBackOff" if one.kubernetes else "ResourceNotReady"
        _fail(workspace, one, ArmError(400, code, _why(workspace, *lost)))
        return
    over = cut_to(one.instances, one.wanted)
    stop(workspace.processes, over)
    one.leaving += over
    while len(one.instances) < one.wanted:
        one.instances.append(_start(workspace, one))
    if changing and all(instance.ready for instance in one.instances):
        stop(workspace.processes, one.rolling)
        one.leaving, one.rolling = [*one.leaving, *one.rolling], []
        one.state = "Succeeded"
        one.operation.end()


def end(workspace: Workspace, one: Deployment) -> None:
    """Begins to take the deployment away."""
    one.state = "Deleting"
    stop(workspace.processes, (*one.instances, *one.rolling))


def log_of(workspace: Workspace, one: Deployment) -> list[str]:
    return [line for instance in (*one.leaving, *one.rolling, *one.instances) for line in workspace.processes.tail(instance.container)]


def scoring_path(workspace: Workspace, one: Deployment) -> str:
    return str(_route(workspace, one, "scoringRoute")["path"])


def _room(workspace: Workspace, one: Deployment) -> bool:
    """Fails the deployment where quota or capacity is short."""
    if one.machine in workspace.quotas and one.wanted > workspace.quotas[one.machine]:
        told = f"Not enough quota available for {one.machine} in SubscriptionId. Current usage/limit: 0/{workspace.quotas[one.machine]}."
        _fail(workspace, one, ArmError(400, "OutOfQuota", f"{told} Additional needed: {one.wanted}"))
    elif one.machine in workspace.dry and len(one.instances) < one.wanted:
        managed = ("OutOfCapacity", f"The specified VM Size {one.machine} cannot be provisioned due to a lack of capacity.")
        attached = ("PodUnschedulable", f"0/1 nodes are available for instance type {one.machine}: insufficient cpu.")
        _fail(workspace, one, ArmError(400, *(attached if one.kubernetes else managed)))
    elif (workspace.image_of(one.body["properties"]["environmentId"]).get("image")) not in workspace.images:
        code = "ImagePullLoopBackOff" if one.kubernetes else "ImageBuildFailure"
        _fail(workspace, one, ArmError(400, code, "Unable to pull the image of the environment: manifest unknown"))
    return one.state != "Failed"


def _fail(workspace: Workspace, one: Deployment, error: ArmError) -> None:
    stop(workspace.processes, one.instances)
    one.leaving += one.instances
    one.instances, one.state = [], "Failed"
    one.operation.end(error)


def _why(workspace: Workspace, instance: Instance, reason: str) -> str:
    last = next((line for line in reversed(list(workspace.processes.tail(instance.container))) if line.strip()), "")
    return f"User container has crashed or terminated: {reason}. Please see troubleshooting guide. Last line of its log: {last[:300]}"


def _start(workspace: Workspace, one: Deployment) -> Instance:
    """The image's own command: a deployment cannot say another."""
    properties = one.body["properties"]
    port, container = free_port(), f"{one.endpoint}.{one.name}.{next(_numbers)}"
    told = {"AZUREML_ENTRY_ENDPOINT": one.endpoint, **(properties.get("environmentVariables") or {})}
    # Here all containers share one machine, so each is told a port of its own in place of the route's.
    workspace.run(container, ("penstock", "serve"), {**told, "PENSTOCK_SERVE_PORT": str(port)})
    return Instance(container, port)


def _route(workspace: Workspace, one: Deployment, name: str) -> dict[str, Any]:
    config = workspace.image_of(one.body["properties"]["environmentId"])["inferenceConfig"]
    route: dict[str, Any] = config[name]
    return route
