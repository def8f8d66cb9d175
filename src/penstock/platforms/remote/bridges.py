"""Bridges: replicas on this machine whose engine hands requests on to a version that a vendor serves.

So the gateway, roll-outs and all that is measured work with a managed endpoint as with replicas of one's own. A bridge holds no model,
so many of them share a process (serving/several.py): those to one version lie in different ones, and where one process ends again and
again its bridges are spread over ever smaller ones, until the one that ends them is alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.files import told_plainly, write_atomic
from penstock.core.ids import new_id
from penstock.platforms.contract import ReplicaState, VersionSpec
from penstock.platforms.local.endpoints import SLOWEST_S, Crashes
from penstock.platforms.remote.bridge_hosts import Host, hosts_in, number_of
from penstock.platforms.remote.files import JsonFiles

if TYPE_CHECKING:
    from penstock.core.home import Home

HOSTS, TOGETHER = "bridge-hosts", 64  # bridges in one process
ENDED = "the process of the bridge ended; its log is {log}"
WAIT_S, KEPT_S = 0.02, 0.05


@dataclass(frozen=True, slots=True)
class Crossing:
    """`count` bridges to one version. `address`: what the vendor's engine needs to reach it, as JSON values; `first`: what else it is told
    when it starts, which may be otherwise later.
    """

    version: VersionSpec
    count: int
    address: Mapping[str, Any]
    first: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.version.version} {self.version.bundle}"

    def leads(self, spec: Mapping[str, Any]) -> bool:
        """Whether a bridge of that spec leads to the same place."""
        known: dict[str, Any] = spec["settings"]["address"]
        return self.address.items() <= known.items()


@dataclass(frozen=True, slots=True)
class Bridge:
    """One of an endpoint: its spec, what its process tells of it, and whether it is still wanted."""

    id: str
    host: Host
    spec: Mapping[str, Any]
    told: Mapping[str, Any]
    wanted: bool

    @property
    def key(self) -> str:
        return f"{self.spec['version']} {self.spec['digest']}"

    @property
    def ready(self) -> bool:
        return self.told.get("phase") == "ready"

    @property
    def failed(self) -> bool:
        return self.told.get("phase") == "failed"

    def state(self) -> ReplicaState:
        known = (self.id, self.spec["version"], self.spec["digest"])
        started = self.told.get("started")
        if self.failed:
            return ReplicaState(*known, "failed", None, self.told.get("error"), started)
        if not self.wanted:
            return ReplicaState(*known, "draining", None, None, started)
        if not self.ready:
            return ReplicaState(*known, "starting", None, None, started)
        cold = sum(self.told.get(name, 0.0) for name in ("load_seconds", "warm_up_seconds"))
        address = f"{self.told['host']}:{self.told['port']}"
        return ReplicaState(*known, "ready", address, None, started, self.host.memory_bytes // len(self.host.told), cold)


@dataclass(frozen=True, slots=True)
class Sight:
    """All bridges, those that drain too, by endpoint."""

    at: float
    hosts: Sequence[Host]
    by_endpoint: Mapping[str, Sequence[Bridge]]

    @staticmethod
    def of(at: float, hosts: Sequence[Host]) -> Sight:
        found: dict[str, list[Bridge]] = {}
        for host in hosts:
            for id_, spec in host.wanted.items():
                found.setdefault(spec["model"], []).append(Bridge(id_, host, spec, host.told.get(id_, {}), True))
            for id_, told in host.told.items():
                if id_ not in host.wanted and told.get("phase") in ("ready", "draining"):
                    found.setdefault(told["spec"]["model"], []).append(Bridge(id_, host, told["spec"], told, False))
        return Sight(at, hosts, found)


@dataclass(slots=True)
class Note:
    """Of an endpoint: how often bridges to a version (by key) ended in a row, and those that wait to be replaced."""

    crashes: dict[str, Crashes] = field(default_factory=dict)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def ended(self, spec: Mapping[str, Any], error: str, lived_s: float, refused: bool, now: float) -> None:
        key = f"{spec['version']} {spec['digest']}"
        self.crashes[key] = self.crashes.get(key, Crashes()).after(lived_s, refused, now)
        row = {"id": spec["id"], "version": spec["version"], "digest": spec["digest"], "error": error, "at": now}
        self.failed = [*self.failed, row]

    def due(self, key: str, now: float) -> bool:
        next_at = self.crashes.get(key, Crashes()).next_at
        return now >= next_at or next_at > now + SLOWEST_S


class Bridges:
    """To one place, by its name. `engine`: "module:name" of what opens a bridge, told the address among its settings (see bridge.py).

    `longest_s`: that an answer may take, where that is long: a bridge that nobody wants any more is left so long to finish. `more`: fields
    of its replica's spec.
    """

    def __init__(
        self, home: Home, place: str, engine: str, drain_s: float, longest_s: float = 0.0, more: Mapping[str, Any] | None = None
    ) -> None:
        self._folder, self._notes = home.folder / HOSTS, home.folder / HOSTS / "notes" / place
        self._at, self._engine, self._drain_s = place, engine, drain_s
        self._more = {"drain_s": max(0.0, drain_s - 1.0, longest_s), **(more or {})}
        self._files = JsonFiles()
        self._sight: Sight = Sight(float("-inf"), (), {})

    def apply(self, name: str, wanted: Sequence[Crossing]) -> None:
        """Starts bridges that are missing, replaces those that ended (at once the first time, then ever more slowly), drains the rest."""
        if self._as_wanted(name, wanted):
            return
        with self._alone():
            now = time.time()
            self._bury(now)
            hosts = hosts_in(self._folder, self._files, self._at)
            mine = Sight.of(now, hosts).by_endpoint.get(name, ())
            before = self._note(name)
            note, lists = Note(dict(before.crashes), list(before.failed)), {host.folder: dict(host.wanted) for host in hosts}
            kept: set[str] = set()
            for crossing in wanted:
                kept |= self._keep(name, crossing, mine, lists, note, now)
            for bridge in mine:
                if bridge.id not in kept:
                    lists[bridge.host.folder].pop(bridge.id, None)
            keys = {crossing.key for crossing in wanted}
            note.crashes = {key: crashes for key, crashes in note.crashes.items() if key in keys}
            counts = {crossing.key: crossing.count for crossing in wanted}
            note.failed = [row for row in note.failed if counts.get(f"{row['version']} {row['digest']}")]
            self._write(name, before, note)
            for folder, replicas in lists.items():
                host = next((host for host in hosts if host.folder == folder), Host(folder, False, {}, {}, 0, 0))
                if replicas != host.wanted or (replicas and not host.alive):
                    host.want(replicas)
            self._sight = Sight(float("-inf"), (), {})

    def observe(self, name: str) -> Sequence[ReplicaState]:
        note = self._note(name)
        found = []
        for bridge in self._seen(name):
            if bridge.host.alive:
                found.append(bridge.state())
            elif bridge.wanted:
                error = ENDED.format(log=bridge.host.folder / "log")
                found.append(ReplicaState(bridge.id, bridge.spec["version"], bridge.spec["digest"], "failed", None, error))
        waiting = [ReplicaState(r["id"], r["version"], r["digest"], "failed", None, r["error"], r["at"]) for r in note.failed]
        return [*found, *waiting]

    def delete(self, name: str) -> None:
        """Drains every bridge of the endpoint; returns when they are gone, after `drain_s` and a little at most. Idempotent."""
        self.apply(name, ())
        deadline = time.monotonic() + self._drain_s + 1.0
        while any(bridge.host.alive for bridge in self._seen(name)):
            if time.monotonic() > deadline:
                break  # its process cuts what still runs by itself
            time.sleep(WAIT_S)
        (self._notes / f"{name}.json").unlink(missing_ok=True)

    def _seen(self, name: str) -> Sequence[Bridge]:
        """Bridges of an endpoint as they were at most KEPT_S ago: passes over hundreds of endpoints share a look."""
        now = time.monotonic()
        if now - self._sight.at > KEPT_S:
            self._sight = Sight.of(now, hosts_in(self._folder, self._files, self._at))
        return self._sight.by_endpoint.get(name, ())

    def _as_wanted(self, name: str, wanted: Sequence[Crossing]) -> bool:
        """Whether nothing is to be done, by a look that takes no lock."""
        mine = [bridge for bridge in self._seen(name) if bridge.wanted]
        if any(not bridge.host.alive or bridge.failed for bridge in mine) or self._note(name).failed:
            return False
        fits = [sum(self._serves(bridge, crossing) for bridge in mine) for crossing in wanted]
        return fits == [crossing.count for crossing in wanted] and sum(fits) == len(mine)

    def _keep(
        self, name: str, crossing: Crossing, bridges: Sequence[Bridge], lists: dict[Path, dict[str, Any]], note: Note, now: float
    ) -> set[str]:
        """Brings the bridges to one version to their number, in `lists` and `note`; ids of those to leave alone."""
        mine = [bridge for bridge in bridges if bridge.wanted and self._serves(bridge, crossing)]
        for bridge in mine:
            if bridge.failed:  # it said why, so there is no quick second try
                note.ended(bridge.spec, str(bridge.told.get("error")), now - bridge.told.get("started", now), True, now)
        kept = {b.id for b in sorted((b for b in mine if not b.failed), key=lambda b: (not b.ready, b.id))[: crossing.count]}
        if note.due(crossing.key, now):
            for _ in range(crossing.count - len(kept)):
                failed = next((row for row in note.failed if f"{row['version']} {row['digest']}" == crossing.key), None)
                if failed is not None:
                    note.failed.remove(failed)
                room = max(1, TOGETHER >> max(0, note.crashes.get(crossing.key, Crashes()).count - 1))
                spec = self._spec(name, crossing, room)
                self._place(crossing, lists, room)[spec["id"]] = spec
                kept.add(spec["id"])
        return kept

    def _place(self, crossing: Crossing, lists: dict[Path, dict[str, Any]], room: int) -> dict[str, Any]:
        """The list of the first process that has no bridge to the version and room for this one, as all in it see it; or a new one."""
        for folder in sorted(lists, key=number_of):
            rows = lists[folder]
            least = min([room, *(row["settings"]["room"] for row in rows.values())])
            if len(rows) < least and not any(crossing.leads(row) for row in rows.values()):
                return rows
        number = next(n for n in range(1, len(lists) + 2) if self._folder / f"{self._at}-{n}" not in lists)
        return lists.setdefault(self._folder / f"{self._at}-{number}", {})

    def _bury(self, now: float) -> None:
        """What was wanted of processes that are gone is noted as ended, by endpoint, and forgotten there."""
        for host in hosts_in(self._folder, self._files, self._at):
            if host.alive or not (host.wanted or host.told):
                continue
            error = ENDED.format(log=host.folder / "log")
            notes: dict[str, tuple[Note, Note]] = {}
            for id_, spec in host.wanted.items():
                before = self._note(spec["model"])
                _, note = notes.setdefault(spec["model"], (before, Note(dict(before.crashes), list(before.failed))))
                note.ended(spec, error, now - host.told.get(id_, {}).get("started", now), False, now)
            for name, (before, note) in notes.items():
                self._write(name, before, note)
            host.clear()

    def _serves(self, bridge: Bridge, crossing: Crossing) -> bool:
        return bridge.key == crossing.key and crossing.leads(bridge.spec)

    def _spec(self, name: str, crossing: Crossing, room: int) -> dict[str, Any]:
        version = crossing.version
        spec: dict[str, Any] = {"id": new_id("replica"), "bundle": "", "digest": version.bundle, "model": name, "version": version.version}
        spec |= {"settings": {"address": {**crossing.address, **crossing.first}, "room": room}, "engine_class": self._engine}
        return spec | {**self._more, "ready_file": ""}

    def _note(self, name: str) -> Note:
        value = self._files.read(self._notes / f"{name}.json")
        return Note({key: Crashes(*row) for key, row in value.get("crashes", {}).items()}, value.get("failed", []))

    def _write(self, name: str, before: Note, note: Note) -> None:
        if note != before:
            value = {"crashes": {key: [c.count, c.next_at] for key, c in note.crashes.items()}, "failed": note.failed}
            write_atomic(self._notes / f"{name}.json", json.dumps(value).encode(), sync=False)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One caller at a time, over all processes, changes bridges."""
        lock = self._folder / ".lock"
        with told_plainly(lock):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def stop_bridges(home: Home, drain_s: float = 30.0) -> int:
    """Ends all bridges under this home, after what they are answering; how many there were."""
    folder, files = home.folder / HOSTS, JsonFiles()
    count = sum(len(host.wanted) for host in hosts_in(folder, files))
    deadline = time.monotonic() + drain_s
    while living := [host for host in hosts_in(folder, files) if host.alive]:
        for host in living:
            if host.wanted:
                host.want({})
            elif not host.told or time.monotonic() > deadline:
                host.signal(signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(WAIT_S)
    for host in hosts_in(folder, files):
        host.clear()
    return count
