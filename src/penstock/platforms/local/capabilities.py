"""What this machine can do as a platform, and what it cannot, each with its reason: declared, never found out by a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from penstock.core.cpus import usable
from penstock.core.errors import PlatformLacks
from penstock.core.units import show_bytes
from penstock.platforms.contract import JobSpec


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`lacks` maps a capability's name to the reason."""

    cpus: int
    memory_bytes: int
    gpus: int
    has: frozenset[str]
    lacks: Mapping[str, str]


def capabilities() -> Capabilities:
    gpus = sum(1 for path in Path("/dev").glob("nvidia[0-9]*"))
    lacks = {
        "nodes": "one machine: work over several goes to Kubernetes or a managed cloud",
        "spot": "a machine of one's own is not rented",
        "autoscale": "replicas are counted, not machines",
        "machines": "it is the one machine there is",
        "gpu_types": "its GPUs are used as they are; write `gpus: 1` for any kind",
        "isolation": "steps and replicas run as the user who runs Penstock",
    }
    if not gpus:
        lacks["gpus"] = "no NVIDIA device under /dev"
    has = {"jobs", "endpoints", "environments", "timeout", "memory_limit", "cancel", "logs"} | ({"gpus"} if gpus else set())
    return Capabilities(usable(), psutil.virtual_memory().total, gpus, frozenset(has), lacks)


_WORDS = {"nodes": "several machines", "spot": "a spot machine", "machines": "a machine type", "gpu_types": "a kind of accelerator"}


def refuse_impossible(job: JobSpec, machine: Capabilities) -> None:
    """Raises PlatformLacks when a job asks for more than the machine has, so that it does not wait for ever."""
    if job.gpus > machine.gpus:
        raise PlatformLacks(f"step {job.step!r} wants {job.gpus} GPUs; this machine has {machine.gpus}")
    for asked, what in (
        (job.nodes > 1, "nodes"),
        (job.spot, "spot"),
        (job.machine is not None, "machines"),
        (bool(job.gpu_type), "gpu_types"),
    ):
        if asked:
            raise PlatformLacks(f"step {job.step!r} wants {_WORDS[what]}; this machine has none to offer: {machine.lacks[what]}")
    if job.cpus and job.cpus > machine.cpus:
        raise PlatformLacks(f"step {job.step!r} wants {job.cpus:g} CPUs; this machine has {machine.cpus}")
    if job.memory_bytes and job.memory_bytes > machine.memory_bytes:
        raise PlatformLacks(
            f"step {job.step!r} may use up to {show_bytes(job.memory_bytes)}; this machine has {show_bytes(machine.memory_bytes)}",
            remedy="Lower `resources.memory` of the step, or choose a larger platform.",
        )
