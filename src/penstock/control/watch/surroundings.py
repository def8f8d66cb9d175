"""Signals that are not from requests: this machine, the replicas that are ready, and what each version's replicas take of the machine."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from penstock.control.watch.followed import Followed
from penstock.core.home import Home
from penstock.monitoring.gpu import Gpus
from penstock.monitoring.host import Reading, read, values
from penstock.platforms.local.metrics import ReplicaUse, replica_use
from penstock.store.signals import Signal

EVERY_S, KEPT_S = 5.0, 3700.0  # windows are an hour at most


@dataclass(frozen=True, slots=True)
class Sample:
    """`at`: seconds since the epoch. `replicas`: by deployment, those of them that run here."""

    at: float
    host: Reading
    replicas: Mapping[str, Sequence[ReplicaUse]]


@dataclass(slots=True)
class Surroundings:
    """`look` now and then; `signals` when time has gone on."""

    home: Home
    gpus: Gpus = field(default_factory=Gpus)
    _samples: deque[Sample] = field(default_factory=deque)
    _told: dict[str, float] = field(default_factory=dict)  # by deployment: end of the window that was told last

    def look(self, now: float, deployments: Sequence[str]) -> None:
        steady = time.monotonic()
        if self._samples and steady - self._samples[-1].host.steady < EVERY_S:
            return
        if self._samples and now < self._samples[-1].at:  # the clock was set back
            self._samples.clear()
        uses = {name: replica_use(self.home.replicas, name) for name in deployments}
        self._samples.append(Sample(now, read(self.home.folder, steady, self.gpus.read()), uses))
        while self._samples[0].at < now - KEPT_S:
            self._samples.popleft()

    def signals(self, followed: Followed, until: float) -> list[Signal]:
        """Of the window that ended last, if it was not told yet; nothing of one for which this process was not there."""
        length = followed.watched.monitor.window
        end = float(until // length * length)
        before, self._told[followed.name] = self._told.get(followed.name, end), end
        if end <= before:
            return []
        samples = [sample for sample in self._samples if end - length - EVERY_S < sample.at <= end]
        found = {("", name): value for name, value in values([sample.host for sample in samples]).items()}
        found |= self._replicas(followed)
        found |= _use([(sample.host, sample.replicas.get(followed.name, ())) for sample in samples])
        count = float(len(samples))
        return [Signal(followed.name, name, end, value, count, version) for (version, name), value in found.items()]

    def _replicas(self, followed: Followed) -> dict[tuple[str, str], float]:
        ready = Counter(str(each["version"]) for each in followed.row.status.get("replicas", ()) if each.get("phase") == "ready")
        versions = {(version, "replicas.ready"): float(ready[version]) for version in (*followed.watched.versions, *ready)}
        return {("", "replicas.ready"): float(ready.total()), **versions}


def _use(samples: Sequence[tuple[Reading, Sequence[ReplicaUse]]]) -> dict[tuple[str, str], float]:
    """Shares of the processors and of memory that each version's replicas took, from the first to the last sample."""
    found: dict[tuple[str, str], float] = {}
    if len(samples) < 2:
        return found
    total, cores = psutil.virtual_memory().total, psutil.cpu_count() or 1
    seconds = samples[-1][0].steady - samples[0][0].steady
    for version in dict.fromkeys(use.version for _, uses in samples for use in uses):
        memory = [sum(use.memory_bytes for use in uses if use.version == version) for _, uses in samples]
        found[version, "host.memory"] = sum(memory) / len(memory) / total
        spent, last = 0.0, dict[str, float]()
        for _, uses in samples:
            for use in uses:
                if use.version == version:
                    spent += max(0.0, use.cpu_s - last.get(use.id, use.cpu_s))
                    last[use.id] = use.cpu_s
        found[version, "host.cpu"] = min(1.0, spent / seconds / cores)
    return found
