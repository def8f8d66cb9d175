"""What replicas on this machine use: processor and memory, as the system counts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from penstock.platforms.local.replicas import read_replicas


@dataclass(frozen=True, slots=True)
class ReplicaUse:
    """`cpu_s`: processor seconds since it started (a counter: rates come from two readings); `memory_bytes`: resident."""

    id: str
    version: str
    cpu_s: float
    memory_bytes: int
    threads: int


def replica_use(replicas: Path, endpoint: str) -> Sequence[ReplicaUse]:
    """Of the living replicas of an endpoint under `home.replicas`."""
    found = []
    for replica in read_replicas(replicas / endpoint):
        if not replica.alive:
            continue
        try:
            process = psutil.Process(replica.pid)
            with process.oneshot():
                times = process.cpu_times()
                memory, threads = process.memory_info().rss, process.num_threads()
        except psutil.NoSuchProcess:
            continue
        found.append(ReplicaUse(replica.id, replica.spec["version"], times.user + times.system, memory, threads))
    return found
