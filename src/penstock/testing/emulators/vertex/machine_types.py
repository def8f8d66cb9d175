"""Which machines there are and which accelerators each takes. Source: Vertex AI, "Configure compute resources for training"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_N1 = re.compile(r"n1-(?:standard-(?:4|8|16|32|64|96)|highmem-(?:2|4|8|16|32|64|96)|highcpu-(?:16|32|64|96))")
_SERVING_ONLY = re.compile(r"n1-standard-2|n1-highcpu-(?:2|4|8)|e2-standard-2|e2-highmem-2|e2-highcpu-(?:2|4|8)")
_PLAIN = re.compile(
    r"e2-(?:standard-(?:4|8|16|32)|highmem-(?:2|4|8|16)|highcpu-(?:16|32))|n2-(?:standard|highmem)-(?:4|8|16|32|48|64|80)"
    r"|c2-standard-(?:4|8|16|30|60)|m1-ultramem-(?:40|80|160)|m1-megamem-96"
)
_ATTACHED: Mapping[str, tuple[int, ...]] = {
    "NVIDIA_TESLA_T4": (1, 2, 4),
    "NVIDIA_TESLA_V100": (1, 2, 4, 8),
    "NVIDIA_TESLA_P100": (1, 2, 4),
    "NVIDIA_TESLA_P4": (1, 2, 4),
}
_BUILT_IN: Mapping[str, tuple[str, int]] = {
    **{f"g2-standard-{cpus}": ("NVIDIA_L4", 1) for cpus in (4, 8, 12, 16, 32)},
    "g2-standard-24": ("NVIDIA_L4", 2),
    "g2-standard-48": ("NVIDIA_L4", 4),
    "g2-standard-96": ("NVIDIA_L4", 8),
    **{f"a2-highgpu-{n}g": ("NVIDIA_TESLA_A100", n) for n in (1, 2, 4, 8)},
    "a2-megagpu-16g": ("NVIDIA_TESLA_A100", 16),
    **{f"a2-ultragpu-{n}g": ("NVIDIA_A100_80GB", n) for n in (1, 2, 4, 8)},
    **{f"a3-highgpu-{n}g": ("NVIDIA_H100_80GB", n) for n in (1, 2, 4, 8)},
    "a3-megagpu-8g": ("NVIDIA_H100_MEGA_80GB", 8),
    "a3-ultragpu-8g": ("NVIDIA_H200_141GB", 8),
    "a4-highgpu-8g": ("NVIDIA_B200", 8),
}
_TPUS = re.compile(r"ct5lp-hightpu-(?:1t|4t|8t)|ct5p-hightpu-(?:1t|2t|4t)|ct6e-standard-(?:1t|4t|8t)")


def refused(spec: Any, serving: bool) -> tuple[str, str] | None:
    """(field, why) when no such machine can be had. `spec`: a MachineSpec."""
    machine, count, kind = spec.machine_type, spec.accelerator_count, spec.accelerator_type
    name = "" if not int(kind) else kind.name
    if not machine:
        return "machine_type", "Machine type is required."
    if bool(name) != bool(count):
        return "accelerator_count", "accelerator_type and accelerator_count must be set together."
    if _TPUS.fullmatch(machine):
        return ("accelerator_type", f"Machine type {machine} has its TPUs built in.") if name else None
    if machine in _BUILT_IN:
        if (name, count) != _BUILT_IN[machine]:
            wanted, number = _BUILT_IN[machine]
            return (
                "accelerator_count",
                f"Machine type {machine} needs accelerator {wanted} with count {number}, not {name or 'none'} with {count}.",
            )
        return None
    if _N1.fullmatch(machine) or (serving and _SERVING_ONLY.fullmatch(machine)):
        if name and (not machine.startswith("n1-") or count not in _ATTACHED.get(name, ())):
            return "accelerator_count", f"{count} of {name} cannot be attached to machine type {machine}."
        return None
    if _PLAIN.fullmatch(machine):
        return ("accelerator_type", f"Machine type {machine} takes no accelerators.") if name else None
    return "machine_type", f'Machine type "{machine}" is not supported.'


def quota_of(spec: Any) -> tuple[str, int]:
    """(metric, how much of it a machine needs)."""
    if int(spec.accelerator_type):
        return f"custom_model_training_{spec.accelerator_type.name.lower()}_gpus", int(spec.accelerator_count)
    if _TPUS.fullmatch(spec.machine_type):
        family, _, size = spec.machine_type.partition("-")
        return f"custom_model_training_tpu_{family}", int(size.rpartition("-")[2].rstrip("t"))
    return "custom_model_training_cpus", int(spec.machine_type.rpartition("-")[2])
