"""What gateway and replicas take of this machine: CPU, memory, disk, network, energy; read once a second in a thread of the gateway.

Replicas are found by the port that they listen on, so only those on this machine (and visible to this user) are told of. Network is told
of the machine as a whole: the system keeps no count per process. Not covered: accelerators.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import psutil

from penstock.serving.energy import Meter, Share
from penstock.serving.metrics import Labels
from penstock.serving.snapshot import ReplicaRoute

PERIOD_S, SEARCH_S = 1.0, 5.0
_LOCAL = ("127.0.0.1", "::1", "localhost")
Replicas = Callable[[], Iterable[tuple[ReplicaRoute, str, str]]]
Series = dict[str, tuple[str, str, dict[Labels, float]]]  # name: kind, help, values
Dumped = list[tuple[str, Labels, float]]
_KINDS: Mapping[str, tuple[str, str]] = {
    "process_cpu_seconds_total": ("counter", "CPU time of a process."),
    "process_resident_bytes": ("gauge", "Memory of a process."),
    "process_threads": ("gauge", "Threads of a process."),
    "process_read_bytes_total": ("counter", "Bytes that a process read from disks."),
    "process_written_bytes_total": ("counter", "Bytes that a process wrote to disks."),
    "process_joules_total": ("counter", "Energy of a process, estimated, since the gateway started."),
    "machine_received_bytes_total": ("counter", "Bytes received by this machine over every network but loopback."),
    "machine_sent_bytes_total": ("counter", "Bytes sent by this machine over every network but loopback."),
}


@dataclass(slots=True)
class Watched:
    """One process. `cpu_s` and what follows are as read last."""

    process: psutil.Process
    labels: Labels
    replica: str | None = None
    cpu_s: float = 0.0
    resident: float = 0.0
    threads: float = 0.0
    read: float = 0.0
    written: float = 0.0
    joules: float = 0.0


class Machine:
    """`series` is for /metrics, `energy` for records; `replicas` tells route, model and version of each."""

    def __init__(self, replicas: Replicas, worker: int | None = None, processes: int = 1) -> None:
        self._replicas, self._processes = replicas, processes
        own = (("process", "gateway"), ("id", str(worker or 0)), ("model", ""), ("version", ""))
        self._own = Watched(psutil.Process(os.getpid()), own)
        self._watched: dict[ReplicaRoute, Watched] = {}
        self._shares: dict[str, Share] = {}
        self._meter = Meter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="machine", daemon=True)
        self._busy = _machine_cpu_s()
        self._missing: set[ReplicaRoute] = set()
        self._searched = self._pause = 0.0
        self._network: tuple[float, float] = (0.0, 0.0)

    def start(self) -> None:
        _read(self._own)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def energy(self, replica: str, seconds: float) -> float:
        """Watt-hours of a request, by the time it spent at its replica. Of several workers each gives out its part of what was drawn."""
        share = self._shares.get(replica)
        if share is None:
            share = self._shares[replica] = Share()
        return share.take(seconds)

    def series(self, others: Iterable[Dumped] = ()) -> Series:
        """By the names of /metrics, without the prefix; `others`: what fellow workers dumped of themselves."""
        found: Series = {name: (kind, text, {}) for name, (kind, text) in _KINDS.items()}
        told = [self._told(watched) for watched in (self._own, *list(self._watched.values()))]
        for name, labels, value in (row for rows in (*told, *others) for row in rows):
            found[name][2][tuple((key, text) for key, text in labels)] = value
        found["machine_received_bytes_total"][2][()], found["machine_sent_bytes_total"][2][()] = self._network
        return found

    def dump(self) -> Dumped:
        """This process alone, as JSON values."""
        return self._told(self._own)

    def _told(self, watched: Watched) -> Dumped:
        values = (watched.cpu_s, watched.resident, watched.threads, watched.read, watched.written)
        rows: Dumped = [(name, watched.labels, value) for name, value in zip(_KINDS, values, strict=False)]
        return [*rows, ("process_joules_total", (*watched.labels, ("method", self._meter.method)), round(watched.joules, 3))]

    def look(self, interval_s: float) -> None:
        """One reading; `interval_s` since the last one."""
        self._find()
        busy: dict[int, float] = {}
        there = [self._own, *self._watched.values()]
        for watched in there:
            before = watched.cpu_s
            if _read(watched):
                busy[watched.process.pid] = watched.cpu_s - before if before else 0.0
        machine, self._busy = self._busy, _machine_cpu_s()
        joules = self._meter.joules(busy, self._busy - machine)
        for watched in there:
            drawn = joules.get(watched.process.pid, 0.0)
            watched.joules += drawn
            if watched.replica is not None:
                self._shares.setdefault(watched.replica, Share()).drew(drawn / self._processes, interval_s)
        counters = psutil.net_io_counters(pernic=True)
        outside = [count for name, count in counters.items() if name != "lo"]
        self._network = (float(sum(c.bytes_recv for c in outside)), float(sum(c.bytes_sent for c in outside)))

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(PERIOD_S):
            now = time.monotonic()
            with contextlib.suppress(psutil.Error, OSError):  # a machine that does not tell is no reason to stop
                self.look(now - last)
            last = now

    def _find(self) -> None:
        """Processes of replicas that are new, forgets those that are gone. Looking up ports costs milliseconds, so not at every turn."""
        wanted = {route: (model, version) for route, model, version in self._replicas()}
        for route in [r for r in self._watched if r not in wanted or not self._watched[r].process.is_running()]:
            del self._watched[route]
        for ident in set(self._shares) - {route.id for route in wanted}:
            del self._shares[ident]
        missing = {route for route in wanted if route not in self._watched and route.host in _LOCAL}
        if missing != self._missing:
            self._missing, self._pause = missing, 0.0
        now = time.monotonic()
        if not missing or now - self._searched < self._pause:
            return
        self._searched, self._pause = now, min(max(2 * self._pause, SEARCH_S), 300.0)  # those of other users are never found
        listening = {c.laddr[1]: c.pid for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr and c.pid}
        for route in missing:
            pid = listening.get(route.port)
            if pid is not None:
                model, version = wanted[route]
                labels = (("process", "replica"), ("id", route.id), ("model", model), ("version", version))
                self._watched[route] = Watched(psutil.Process(pid), labels, route.id)


def _read(watched: Watched) -> bool:
    """False when the process is gone."""
    try:
        with watched.process.oneshot():
            times = watched.process.cpu_times()
            watched.cpu_s = times.user + times.system
            watched.resident = float(watched.process.memory_info().rss)
            watched.threads = float(watched.process.num_threads())
            counted = watched.process.io_counters()
            watched.read, watched.written = float(counted.read_bytes), float(counted.write_bytes)
    except (psutil.Error, OSError, AttributeError):  # io_counters are not told everywhere
        return watched.process.is_running() and watched.cpu_s > 0
    return True


def _machine_cpu_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))
