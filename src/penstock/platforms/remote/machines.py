"""Machine types by what a step needs: the cheapest that fits. Pure; each platform has its table, with the day its prices were read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from penstock.core.errors import PlatformLacks
from penstock.core.units import show_bytes
from penstock.platforms.contract import JobSpec

# Names that a file may use for accelerators, whatever a vendor calls them.
ACCELERATORS = (
    *("t4", "l4", "a10g", "v100", "a100-40gb", "a100-80gb", "l40s", "h100-80gb", "h200", "b200", "mi300x"),
    *("tpu-v5e", "tpu-v5p", "tpu-v6e", "trainium1", "trainium2", "inferentia2", "gaudi2"),
)
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Machine:
    """`usd_per_h` None: not known. `spot_usd_per_h` None: not offered as spot, or not known."""

    name: str
    cpus: float
    memory_bytes: int
    accelerator: str | None = None
    accelerators: int = 0
    usd_per_h: float | None = None
    spot_usd_per_h: float | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """`accelerator` None with `accelerators` above 0: any kind."""

    cpus: float = 0.0
    memory_bytes: int = 0
    accelerator: str | None = None
    accelerators: int = 0
    machine: str | None = None  # named outright


def need_of(job: JobSpec) -> Need:
    return Need(job.cpus or 0.0, job.memory_bytes or 0, job.gpu_type, job.gpus, job.machine)


def choose(table: Sequence[Machine], need: Need, platform: str, spot: bool = False) -> Machine:
    """The cheapest machine that fits, of equals the smallest. Raises PlatformLacks with what comes nearest."""
    if need.machine is not None:
        named = next((machine for machine in table if machine.name == need.machine), None)
        if named is None:
            known = ", ".join(machine.name for machine in table)
            raise PlatformLacks(f"{platform} has no machine {need.machine!r} that is known here (known: {known})")
        if not fits(named, need):
            raise PlatformLacks(f"{named.name} has {told(named)}; the step needs {wanted(need)}")
        return named
    fitting = [machine for machine in table if fits(machine, need)]
    if not need.accelerators:
        fitting = [machine for machine in fitting if not machine.accelerators] or fitting
    if not fitting:
        raise PlatformLacks(f"no machine of {platform} has {wanted(need)}; the largest has {told(_largest(table, need))}")
    return min(fitting, key=lambda m: (_price(m, spot), m.accelerators, m.memory_bytes, m.cpus, m.name))


def fits(machine: Machine, need: Need) -> bool:
    kind = need.accelerator is None or need.accelerator == machine.accelerator
    return machine.cpus >= need.cpus and machine.memory_bytes >= need.memory_bytes and machine.accelerators >= need.accelerators and kind


def told(machine: Machine) -> str:
    more = f" and {machine.accelerators} × {machine.accelerator}" if machine.accelerators else ""
    return f"{machine.cpus:g} CPUs, {show_bytes(machine.memory_bytes)}{more}"


def wanted(need: Need) -> str:
    parts = [f"{need.cpus:g} CPUs"] if need.cpus else []
    parts += [show_bytes(need.memory_bytes)] if need.memory_bytes else []
    parts += [f"{need.accelerators} × {need.accelerator or 'an accelerator'}"] if need.accelerators else []
    return " and ".join(parts) or "anything"


def _price(machine: Machine, spot: bool) -> float:
    price = machine.spot_usd_per_h if spot and machine.spot_usd_per_h is not None else machine.usd_per_h
    return float("inf") if price is None else price


def _largest(table: Iterable[Machine], need: Need) -> Machine:
    kinds = [m for m in table if need.accelerators and (need.accelerator in (None, m.accelerator)) and m.accelerators]
    return max(kinds or list(table), key=lambda m: (m.accelerators, m.memory_bytes, m.cpus))
