"""Machine types of Azure that Azure ML takes. Sizes: Azure's documentation of virtual machine sizes.

Prices are on-demand Linux in East US, USD an hour, as public price tables told on the day below; most types have none here, because
Azure's own price list was not at hand and a guess is worse than none. `usd_per_hour` of the platform's section says yours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from penstock.platforms.remote.machines import GIB, Machine
from penstock.spec.platforms.azureml import Cluster

PRICES_OF = "2026-11-29"
PRICES_FROM = "https://azure.microsoft.com/pricing/details/virtual-machines/linux/"


def _machine(name: str, cpus: int, gib: float, accelerator: str | None = None, count: int = 0, usd_per_h: float | None = None) -> Machine:
    return Machine(f"Standard_{name}", cpus, int(gib * GIB), accelerator, count, usd_per_h)


_ACCELERATED = (
    _machine("NC4as_T4_v3", 4, 28, "t4", 1),
    _machine("NC8as_T4_v3", 8, 56, "t4", 1),
    _machine("NC16as_T4_v3", 16, 110, "t4", 1),
    _machine("NC64as_T4_v3", 64, 440, "t4", 4),
    _machine("NC24ads_A100_v4", 24, 220, "a100-80gb", 1),
    _machine("NC48ads_A100_v4", 48, 440, "a100-80gb", 2),
    _machine("NC96ads_A100_v4", 96, 880, "a100-80gb", 4),
    _machine("ND96asr_v4", 96, 900, "a100-40gb", 8),
    _machine("ND96amsr_A100_v4", 96, 1900, "a100-80gb", 8),
    _machine("ND96isr_H100_v5", 96, 1900, "h100-80gb", 8),
    _machine("ND96isr_H200_v5", 96, 1850, "h200", 8),
    _machine("ND96isr_MI300X_v5", 96, 1850, "mi300x", 8),
)
_MEMORY = (
    _machine("E4s_v3", 4, 32),
    _machine("E8s_v3", 8, 64),
    _machine("E16s_v3", 16, 128),
    _machine("E32s_v3", 32, 256),
    _machine("E64s_v3", 64, 432),
)
TRAINING: Sequence[Machine] = (
    _machine("D2s_v3", 2, 8, usd_per_h=0.096),
    _machine("D4s_v3", 4, 16, usd_per_h=0.192),
    _machine("D8s_v3", 8, 32, usd_per_h=0.384),
    _machine("D16s_v3", 16, 64, usd_per_h=0.768),
    _machine("D32s_v3", 32, 128, usd_per_h=1.536),
    _machine("D64s_v3", 64, 256, usd_per_h=3.072),
    *_MEMORY,
    *_ACCELERATED,
)
HOSTING: Sequence[Machine] = (
    _machine("F2s_v2", 2, 4),
    _machine("F4s_v2", 4, 8),
    _machine("F8s_v2", 8, 16),
    _machine("F16s_v2", 16, 32),
    _machine("F32s_v2", 32, 64),
    _machine("DS2_v2", 2, 7),
    _machine("DS3_v2", 4, 14),
    _machine("DS4_v2", 8, 28),
    _machine("DS5_v2", 16, 56),
    *_MEMORY,
    *_ACCELERATED,
)


def instance_types(cluster: Cluster, prices: Mapping[str, float]) -> Sequence[Machine]:
    """Of an attached Kubernetes cluster; what one costs only whoever pays for its nodes knows."""
    rows = [
        Machine(name, one.cpus, one.memory, one.gpu.type if one.gpu else None, one.gpu.count if one.gpu else 0)
        for name, one in cluster.instance_types.items()
    ]
    return priced(rows, prices)


def priced(table: Sequence[Machine], prices: Mapping[str, float]) -> Sequence[Machine]:
    """With the prices of whoever pays in place of those that are listed."""
    return [replace(machine, usd_per_h=prices.get(machine.name, machine.usd_per_h)) for machine in table]
