"""Estimated energy: of a process by its share of the processors' time, of a request by its share of its replica's time.

Processors: Intel/AMD RAPL counters (/sys/class/powercap, package domains) where they can be read, shared out by CPU time among what was
busy; else WATTS_PER_CORE for each second of a busy core (PENSTOCK_WATTS_PER_CORE), about what a loaded server processor draws per hardware
thread. Not covered: accelerators, memory beside the package, fans, power supplies, the network; multiply by the site's PUE yourself.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

WATTS_PER_CORE = 7.0
REMEMBERED_S = 60.0  # a request's share follows what its replica drew during about the last minute
POWERCAP = Path("/sys/class/powercap")


def watts_per_core(environ: Mapping[str, str] | None = None) -> float:
    """As set by PENSTOCK_WATTS_PER_CORE; anything that is not a positive number is the default."""
    try:
        value = float((os.environ if environ is None else environ).get("PENSTOCK_WATTS_PER_CORE", ""))
    except ValueError:
        return WATTS_PER_CORE
    return value if 0 < value < 1e4 else WATTS_PER_CORE


class Rapl:
    """Joules drawn by all processor packages since this was made; counters that wrap are followed."""

    def __init__(self, folder: Path = POWERCAP) -> None:
        """Raises OSError when there is nothing to read."""
        self._domains = [d for d in sorted(folder.glob("*:*")) if d.name.count(":") == 1 and (d / "energy_uj").exists()]
        if not self._domains:
            raise FileNotFoundError(2, "no RAPL domain", str(folder))
        self._wraps = [_number(d / "max_energy_range_uj") + 1 for d in self._domains]
        self._last = [_number(d / "energy_uj") for d in self._domains]
        self._joules = 0.0

    def joules(self) -> float:
        for place, domain in enumerate(self._domains):
            now = _number(domain / "energy_uj")
            self._joules += ((now - self._last[place]) % self._wraps[place]) / 1e6
            self._last[place] = now
        return self._joules


class Meter:
    """Joules of processes from their CPU seconds. `method` is `rapl` or `model`."""

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._watts = watts_per_core()
        self._rapl: Rapl | None = None
        self.method = "model"
        try:
            self._rapl = Rapl(folder)
            self._last = self._rapl.joules()
            self.method = "rapl"
        except (OSError, ValueError):
            pass  # none, or for root only

    def joules(self, busy_s: Mapping[int, float], machine_s: float) -> dict[int, float]:
        """`busy_s`: CPU seconds of each process since the last call, `machine_s`: of everything on the machine."""
        if self._rapl is None:
            return {pid: seconds * self._watts for pid, seconds in busy_s.items()}
        try:
            now = self._rapl.joules()
        except (OSError, ValueError):
            self._rapl, self.method = None, "model"
            return self.joules(busy_s, machine_s)
        drawn, self._last = now - self._last, now
        whole = max(machine_s, sum(busy_s.values()), 1e-9)
        return {pid: drawn * seconds / whole for pid, seconds in busy_s.items()}


class Share:
    """One replica's joules per second of request, over about the last minute, so that what requests get adds up to what was drawn."""

    def __init__(self) -> None:
        self._joules = self._busy_s = 0.0
        self._slope = watts_per_core()  # until something is known: a request keeps one core busy

    def drew(self, joules: float, interval_s: float) -> None:
        keep = math.exp(-interval_s / REMEMBERED_S)
        self._joules = self._joules * keep + joules
        if self._busy_s > 1e-3:
            self._slope = self._joules / self._busy_s
        self._busy_s *= keep

    def take(self, seconds: float) -> float:
        """Watt-hours of a request that was at the replica for so long."""
        self._busy_s += seconds
        return self._slope * seconds / 3600


def _number(path: Path) -> int:
    return int(path.read_text())
