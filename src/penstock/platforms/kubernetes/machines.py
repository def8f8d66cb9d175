"""Where pods go: node pools as declared, else whatever the cluster has. Accelerators by the resource and the node labels they have.

Label values: NVIDIA GPU feature discovery (`nvidia.com/gpu.product`), GKE accelerators and TPUs, as their pages have them in 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from penstock.core.errors import PlatformLacks
from penstock.platforms.contract import JobSpec
from penstock.platforms.remote.machines import Machine, Need, choose, need_of
from penstock.spec.platforms.kubernetes import KubernetesPlatform, Pool

DEFAULT_CPUS, DEFAULT_MEMORY = 1.0, 2 << 30  # what a step that says nothing asks for
ANY = "any node"
PLATFORM = "kubernetes"

RESOURCES = {  # extended resource of each kind of accelerator
    **dict.fromkeys(("t4", "l4", "a10g", "v100", "a100-40gb", "a100-80gb", "l40s", "h100-80gb", "h200", "b200"), "nvidia.com/gpu"),
    "mi300x": "amd.com/gpu",
    **dict.fromkeys(("tpu-v5e", "tpu-v5p", "tpu-v6e"), "google.com/tpu"),
    **dict.fromkeys(("trainium1", "trainium2", "inferentia2"), "aws.amazon.com/neuron"),
    "gaudi2": "habana.ai/gaudi",
}
LABELS: Mapping[str, Mapping[str, Sequence[str]]] = {  # any one of these labels marks a node of the kind
    "t4": {"nvidia.com/gpu.product": ("Tesla-T4",), "cloud.google.com/gke-accelerator": ("nvidia-tesla-t4",)},
    "l4": {"nvidia.com/gpu.product": ("NVIDIA-L4",), "cloud.google.com/gke-accelerator": ("nvidia-l4",)},
    "a10g": {"nvidia.com/gpu.product": ("NVIDIA-A10G",)},
    "v100": {
        "nvidia.com/gpu.product": ("Tesla-V100-SXM2-16GB", "Tesla-V100-SXM2-32GB"),
        "cloud.google.com/gke-accelerator": ("nvidia-tesla-v100",),
    },
    "a100-40gb": {
        "nvidia.com/gpu.product": ("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB"),
        "cloud.google.com/gke-accelerator": ("nvidia-tesla-a100",),
    },
    "a100-80gb": {
        "nvidia.com/gpu.product": ("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe"),
        "cloud.google.com/gke-accelerator": ("nvidia-a100-80gb",),
    },
    "l40s": {"nvidia.com/gpu.product": ("NVIDIA-L40S",)},
    "h100-80gb": {
        "nvidia.com/gpu.product": ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe"),
        "cloud.google.com/gke-accelerator": ("nvidia-h100-80gb", "nvidia-h100-mega-80gb"),
    },
    "h200": {"nvidia.com/gpu.product": ("NVIDIA-H200",), "cloud.google.com/gke-accelerator": ("nvidia-h200-141gb",)},
    "b200": {"nvidia.com/gpu.product": ("NVIDIA-B200",), "cloud.google.com/gke-accelerator": ("nvidia-b200",)},
    "tpu-v5e": {"cloud.google.com/gke-tpu-accelerator": ("tpu-v5-lite-podslice",)},
    "tpu-v5p": {"cloud.google.com/gke-tpu-accelerator": ("tpu-v5p-slice",)},
    "tpu-v6e": {"cloud.google.com/gke-tpu-accelerator": ("tpu-v6e-slice",)},
}
SPOT: Mapping[str, str] = {  # labels by which the managed clusters mark nodes that may be taken away
    "cloud.google.com/gke-spot": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
}


def machine_for(job: JobSpec, settings: KubernetesPlatform) -> Machine:
    """What the pod of a job asks for, with the price of its share of a node. Raises PlatformLacks."""
    return machine(need_of(job), job.spot, settings)


def machine(need: Need, spot: bool, settings: KubernetesPlatform) -> Machine:
    """`name` is the pool, or ANY."""
    asked = Machine(ANY, need.cpus or DEFAULT_CPUS, need.memory_bytes or DEFAULT_MEMORY, need.accelerator, need.accelerators)
    if not settings.pools:
        if need.machine is not None:
            raise PlatformLacks(
                f"no pool {need.machine!r} is declared for this cluster", remedy="Describe it under `pools:` of the platform, or name none."
            )
        return asked
    table = [_node(name, pool) for name, pool in settings.pools.items() if pool.spot == spot]
    if not table:
        raise PlatformLacks(
            f"no pool of this cluster is {'spot' if spot else 'there to stay'} (declared: {', '.join(settings.pools)})",
            remedy="Declare one under `pools:` of the platform, or change `spot` of the step.",
        )
    node = choose(table, need, PLATFORM)
    share = max(asked.cpus / node.cpus, asked.memory_bytes / node.memory_bytes, _part(asked.accelerators, node.accelerators))
    price = None if node.usd_per_h is None else node.usd_per_h * min(1.0, share)
    return replace(asked, name=node.name, accelerator=node.accelerator if need.accelerators else None, usd_per_h=price)


def _part(wanted: int, there: int) -> float:
    return wanted / there if there else 0.0


def _node(name: str, pool: Pool) -> Machine:
    gpu = pool.gpu
    return Machine(name, pool.cpus, pool.memory, gpu.type if gpu else None, gpu.count if gpu else 0, pool.usd_per_hour)


def resource_of(accelerator: str | None) -> str:
    """The extended resource that a pod asks for; NVIDIA's where any kind will do."""
    return RESOURCES.get(accelerator or "", "nvidia.com/gpu")


def placed(machine: Machine, spot: bool, settings: KubernetesPlatform) -> dict[str, Any]:
    """The fields of a pod's spec that choose its node."""
    pool = settings.pools.get(machine.name)
    if pool is not None:
        chosen: dict[str, Any] = {"nodeSelector": dict(pool.labels)} if pool.labels else {}
        return chosen | ({"tolerations": [_tolerated(taint) for taint in pool.taints]} if pool.taints else {})
    kinds = [[_in(key, values)] for key, values in LABELS.get(machine.accelerator or "", {}).items()] or [[]]
    markets = [[_in(key, (value,))] for key, value in SPOT.items()] if spot else [[]]
    terms = [kind + market for kind in kinds for market in markets if kind + market]
    made: dict[str, Any] = {}
    if terms:
        required = {"nodeSelectorTerms": [{"matchExpressions": term} for term in terms]}
        made["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    tolerated = [{"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"} for key, value in SPOT.items()] if spot else []
    if machine.accelerators:
        tolerated.append({"key": resource_of(machine.accelerator), "operator": "Exists", "effect": "NoSchedule"})
    return made | ({"tolerations": tolerated} if tolerated else {})


def _in(key: str, values: Sequence[str]) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


def _tolerated(taint: str) -> dict[str, Any]:
    pair, _, effect = taint.rpartition(":")
    key, equals, value = pair.partition("=")
    return (
        {"key": key, "operator": "Equal", "value": value, "effect": effect}
        if equals
        else {"key": key, "operator": "Exists", "effect": effect}
    )
