"""Which device trains, and in which number format: what is asked for, held against what the machine has."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch

from penstock.core.errors import BadInput


@dataclass(frozen=True, slots=True)
class Compute:
    """`dtype` is that of weights and activations; the optimizer always works on float32 masters."""

    device: torch.device
    dtype: torch.dtype
    name: str  # "bf16" or "fp32"


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the first CPU; empty where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())


def pick_device(local: int | None = None) -> torch.device:
    """`local`: of several processes on this machine, which one; each has an accelerator of its own."""
    if torch.cuda.is_available():
        return torch.device("cuda") if local is None else torch.device("cuda", local)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def lacks_bf16(device: torch.device) -> str | None:
    """Why `device` does not multiply bfloat16 fast; None if it does."""
    if device.type == "cuda":
        return None if torch.cuda.is_bf16_supported(including_emulation=False) else "this GPU has no bfloat16 units"
    if device.type == "mps":
        return "bfloat16 on Apple GPUs is not measured yet"
    if cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"}:
        return None
    return "this CPU has neither avx512_bf16 nor amx_bf16 nor Arm bf16"


def pick_compute(wanted: str, local: int | None = None) -> Compute:
    """`wanted` is train.precision; `local` as for the device. Raises BadInput when bf16 is asked for and the machine lacks it."""
    device = pick_device(local)
    reason = lacks_bf16(device)
    if wanted == "bf16" and reason:
        raise BadInput(f"train.precision is bf16, but {reason}", remedy="Set `precision: auto` (or fp32), or run on a machine that has it.")
    half = wanted == "bf16" or (wanted == "auto" and reason is None)
    return Compute(device, torch.bfloat16 if half else torch.float32, "bf16" if half else "fp32")
