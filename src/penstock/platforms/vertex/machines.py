"""Machine types of Vertex AI. Sizes: "Configure compute resources for training". Prices: custom training in us-central1, USD an hour.

n1-standard is priced by size, from the row of n1-standard-4. Prices of accelerators and of other families are left out: they were not read
at their source. `n1-standard-8+2xt4` is our name for a machine with accelerators attached; Vertex has a machine type and a count for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.platforms.remote.machines import GIB, Machine

PRICES_OF = "2026-10-07"
PRICES_FROM = "https://cloud.google.com/vertex-ai/pricing"
_N1_USD_PER_CPU = 0.21849885 / 4
TYPES: Mapping[str, str] = {
    "t4": "NVIDIA_TESLA_T4",
    "v100": "NVIDIA_TESLA_V100",
    "l4": "NVIDIA_L4",
    "a100-40gb": "NVIDIA_TESLA_A100",
    "a100-80gb": "NVIDIA_A100_80GB",
    "h100-80gb": "NVIDIA_H100_80GB",
    "h200": "NVIDIA_H200_141GB",
    "b200": "NVIDIA_B200",
}


def _built_in(name: str, cpus: int, gib: float, accelerator: str, count: int) -> Machine:
    return Machine(name, cpus, int(gib * GIB), accelerator, count)


def _attached(cpus: int, accelerator: str, count: int) -> Machine:
    return Machine(f"n1-standard-{cpus}+{count}x{accelerator}", cpus, int(cpus * 3.75 * GIB), accelerator, count)


_N1 = tuple(Machine(f"n1-standard-{n}", n, int(n * 3.75 * GIB), usd_per_h=n * _N1_USD_PER_CPU) for n in (4, 8, 16, 32, 64, 96))
_PLAIN = (
    *(Machine(f"n1-highmem-{n}", n, int(n * 6.5 * GIB)) for n in (2, 4, 8, 16, 32, 64, 96)),
    *(Machine(f"e2-standard-{n}", n, n * 4 * GIB) for n in (4, 8, 16, 32)),
    *(Machine(f"n2-standard-{n}", n, n * 4 * GIB) for n in (4, 8, 16, 32, 48, 64, 80)),
    Machine("m1-ultramem-80", 80, 1922 * GIB),
    Machine("m1-ultramem-160", 160, 3844 * GIB),
)
_GPUS = (
    *(_attached(8, "t4", 1), _attached(16, "t4", 2), _attached(32, "t4", 4)),
    *(_attached(8, "v100", 1), _attached(16, "v100", 2), _attached(32, "v100", 4), _attached(64, "v100", 8)),
    *(_built_in(f"g2-standard-{n}", n, n * 4, "l4", 1) for n in (4, 8, 12, 16, 32)),
    *(
        _built_in("g2-standard-24", 24, 96, "l4", 2),
        _built_in("g2-standard-48", 48, 192, "l4", 4),
        _built_in("g2-standard-96", 96, 384, "l4", 8),
    ),
    *(_built_in(f"a2-highgpu-{n}g", 12 * n, 85 * n, "a100-40gb", n) for n in (1, 2, 4, 8)),
    _built_in("a2-megagpu-16g", 96, 1360, "a100-40gb", 16),
    *(_built_in(f"a2-ultragpu-{n}g", 12 * n, 170 * n, "a100-80gb", n) for n in (1, 2, 4, 8)),
    *(_built_in(f"a3-highgpu-{n}g", 26 * n, 234 * n, "h100-80gb", n) for n in (1, 2, 4, 8)),
    _built_in("a3-ultragpu-8g", 224, 2952, "h200", 8),
    _built_in("a4-highgpu-8g", 224, 3968, "b200", 8),
)
_TPUS = (
    *(_built_in("ct5lp-hightpu-1t", 24, 48, "tpu-v5e", 1), _built_in("ct5lp-hightpu-4t", 112, 192, "tpu-v5e", 4)),
    _built_in("ct5lp-hightpu-8t", 224, 384, "tpu-v5e", 8),
    _built_in("ct5p-hightpu-4t", 208, 448, "tpu-v5p", 4),
    *(_built_in("ct6e-standard-1t", 44, 176, "tpu-v6e", 1), _built_in("ct6e-standard-4t", 180, 720, "tpu-v6e", 4)),
    _built_in("ct6e-standard-8t", 180, 1440, "tpu-v6e", 8),
)
TRAINING = (*_N1, *_PLAIN, *_GPUS, *_TPUS)
HOSTING = (Machine("n1-standard-2", 2, int(7.5 * GIB)), *TRAINING)


def machine_spec(machine: Machine) -> dict[str, object]:
    """The MachineSpec of the API."""
    kind = machine.name.partition("+")[0]
    if machine.accelerator is None or machine.accelerator.startswith("tpu"):
        return {"machine_type": kind}
    return {"machine_type": kind, "accelerator_type": TYPES[machine.accelerator], "accelerator_count": machine.accelerators}
