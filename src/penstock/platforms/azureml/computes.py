"""The compute that a section names: there, attached, and of the kind that the section says. Penstock makes none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.core.errors import BadInput, PlatformAway
from penstock.platforms.azureml.arm import Arm, not_there
from penstock.spec.platforms.azureml import Cluster

CLUSTER, KUBERNETES = "AmlCompute", "Kubernetes"
_ATTACH = "az ml compute attach --type Kubernetes --name {name} --resource-id CLUSTER --namespace NAMESPACE"
_CREATE = "az ml compute create --type AmlCompute --name {name} --size {machine}"


@dataclass(slots=True)
class Compute:
    """Asks nobody where the section names none, and once where it does."""

    arm: Arm
    _sound: bool = False

    def require(self) -> None:
        """Raises BadInput with the way out; PlatformAway while it is still being attached."""
        cluster = self.arm.settings.compute
        if cluster is None or self._sound:
            return
        found = self.arm.call("GET", f"computes/{cluster.name}", known=not_there)
        check(cluster, self.arm.settings.workspace, None if found is None else found.body["properties"])
        self._sound = True


def check(cluster: Cluster, workspace: str, found: Mapping[str, Any] | None) -> None:
    """`found`: properties of the compute of that name. Raises as `Compute.require`."""
    make = (_ATTACH if cluster.instance_types else _CREATE).format(name=cluster.name, machine=cluster.machine)
    if found is None:
        raise BadInput(f"workspace {workspace!r} has no compute {cluster.name!r}", remedy=f"Make it: {make}")
    kind, wanted = found["computeType"], KUBERNETES if cluster.instance_types else CLUSTER
    if kind != wanted:
        say = "instance_types" if kind == KUBERNETES else "machine"
        way_out = f"Say `{say}` of it" if kind in (CLUSTER, KUBERNETES) else "Name another"
        raise BadInput(
            f"compute {cluster.name!r} of workspace {workspace!r} is of kind {kind}, not {wanted}", remedy=f"{way_out}, or: {make}"
        )
    state = found.get("provisioningState", "Succeeded")
    if state in ("Creating", "Updating"):
        raise PlatformAway(f"compute {cluster.name!r} is still {state.lower()}")
    if state != "Succeeded":
        raise BadInput(
            f"compute {cluster.name!r} is in state {state}", remedy="See why in the studio (Compute), detach it and attach it again."
        )
    known = (found.get("properties") or {}).get("instanceTypes")
    missing = [name for name in cluster.instance_types if known is not None and name not in known]
    if missing:
        raise BadInput(
            f"compute {cluster.name!r} has no instance type {missing[0]!r} (it has: {', '.join(sorted(known or ()))})",
            remedy="Make the InstanceType in the cluster (kubectl apply), or name one that is there.",
        )
