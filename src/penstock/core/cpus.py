"""How many CPUs this process may use. Not covered: quotas of control groups of version 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUPS, TOPOLOGY = Path("/sys/fs/cgroup"), Path("/sys/devices/system/cpu")


def usable() -> int:
    """Logical CPUs that the process may run on, and no more than its control group has time for."""
    return max(1, min([len(_allowed()), *_quotas()]))


def cores() -> int:
    """Of those, physical cores: arithmetic gains nothing from two threads that share one."""
    return min(usable(), len({_core(cpu) for cpu in _allowed()}))


def _allowed() -> set[int]:
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return affinity(0) if affinity else set(range(os.cpu_count() or 1))


def _core(cpu: int) -> tuple[str, ...]:
    """Package and core; the CPU itself where the system does not tell."""
    told = TOPOLOGY / f"cpu{cpu}" / "topology"
    try:
        return (told / "physical_package_id").read_text(), (told / "core_id").read_text()
    except OSError:
        return (str(cpu),)


def _quotas() -> Iterator[int]:
    """Whole CPUs (rounded up) that each control group from here to the root may use, where it is limited (cgroup v2)."""
    with suppress(OSError, ValueError):
        own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        place = CGROUPS / own.removeprefix("0::").strip().lstrip("/")
        for folder in (place, *place.parents):
            yield from _quota(folder / "cpu.max")
            if folder == CGROUPS:
                return


def _quota(told: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):
        quota, period = told.read_text().split()
        if quota != "max":
            yield max(1, -(-int(quota) // int(period)))
