"""Endpoints on this machine: replica processes that outlive the control process and are found again by it.

Each `apply` starts what is missing, replaces what died (at once the first time, then ever more slowly) and drains what is no
longer wanted. Not covered: replicas on other machines, a replica that hangs without ending (the gateway routes around it).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import BadInput, PenstockError
from penstock.core.files import told_plainly, write_atomic
from penstock.core.ids import new_id
from penstock.platforms.adapter_lists import list_adapters
from penstock.platforms.contract import EndpointSpec, EndpointState, VersionSpec
from penstock.platforms.local.replicas import Replica, read_replicas, record_failure, start_replica

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

DRAIN_S = 30.0
STEADY_S = 60.0  # a replica that lived this long was sound: its end starts the count anew
SLOWEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Crashes:
    """Ends in a row of one version, and when the next start is due (seconds since the epoch)."""

    count: int = 0
    next_at: float = 0.0

    def after(self, lived_s: float, refused: bool, now: float) -> Crashes:
        """First end: start again at once. Then 1, 2, 4 … 60 s. `refused`: it said why it cannot serve, so there is no quick second try."""
        count = 1 if lived_s >= STEADY_S else self.count + 1
        count = max(count, 2) if refused else count
        pause = 0.0 if count == 1 else min(SLOWEST_S, 2.0 ** min(count - 2, 10))
        return Crashes(count, now + pause)


class LocalEndpoints:
    def __init__(
        self,
        home: Home,
        artifacts: Artifacts,
        settings: Mapping[str, Any] | None = None,
        place: Callable[[VersionSpec], Path] | None = None,
    ) -> None:
        """`settings`: `drain_s`, seconds that a replica may take to finish its requests (default 30); `replica`, more of its spec.

        `place`: where the folder of a version's bundle lies (default: fetched from the store).
        """
        self._folder, self._artifacts = home.replicas, artifacts
        self._place = place or (lambda version: artifacts.materialize(version.bundle))
        self._more: Mapping[str, Any] = (settings or {}).get("replica", {})
        self._drain_s = float((settings or {}).get("drain_s", DRAIN_S))

    def apply(self, desired: EndpointSpec) -> None:
        """Raises BadInput for a name that is no folder name. A bundle that cannot be read shows as a failed replica."""
        with self._alone(desired.name):
            now = time.time()
            replicas, crashes = read_replicas(self._folder / desired.name), self._crashes(desired.name)
            kept: set[str] = set()
            for version in desired.versions:
                kept |= self._keep(desired, version, replicas, crashes, now)
            for replica in replicas:
                if replica.id not in kept:
                    replica.drain(self._drain_s)
            wanted = {version.bundle for version in desired.versions}
            left = {bundle: [c.count, c.next_at] for bundle, c in crashes.items() if bundle in wanted}
            write_atomic(self._folder / desired.name / "crashes.json", json.dumps(left).encode(), sync=False)

    def observe(self, name: str) -> EndpointState:
        """Replicas that ended on request are left out; one that ended by itself is failed until it is replaced."""
        replicas = read_replicas(self._folder / name)
        return EndpointState(name, tuple(r.state() for r in replicas if r.alive or r.draining_since is None))

    def delete(self, name: str, within_s: float | None = None) -> None:
        """Drains and ends every replica; returns when they are gone, after `drain_s` at most. Idempotent."""
        with self._alone(name):
            deadline = time.monotonic() + (self._drain_s if within_s is None else within_s)
            while replicas := read_replicas(self._folder / name):
                for replica in replicas:
                    replica.drain(self._drain_s)
                    if time.monotonic() > deadline:
                        replica.kill()
                time.sleep(0.01)
            with contextlib.suppress(FileNotFoundError):
                (self._folder / name / "crashes.json").unlink(missing_ok=True)
                (self._folder / name).rmdir()

    def _keep(
        self, desired: EndpointSpec, version: VersionSpec, replicas: list[Replica], crashes: dict[str, Crashes], now: float
    ) -> set[str]:
        """Brings one version to its number of replicas; returns the ids of those to leave alone."""
        mine = [r for r in replicas if r.draining_since is None and r.serves(version.version, version.bundle, desired.settings)]
        living = sorted((r for r in mine if r.alive), key=lambda r: ("port" not in r.ready, r.id))[: version.replicas]
        kept = {r.id for r in living}
        for replica in mine:
            if not replica.alive and not (replica.folder / "counted").exists():
                known, refused = crashes.get(version.bundle, Crashes()), bool(replica.failure or replica.ready.get("error"))
                crashes[version.bundle] = known.after(now - replica.started_at, refused, now)
                (replica.folder / "counted").touch()
        dead = [r for r in mine if not r.alive]
        for replica in living:
            list_adapters(replica.folder, version.adapters, self._artifacts)
        due = now >= crashes.get(version.bundle, Crashes()).next_at or crashes[version.bundle].next_at > now + SLOWEST_S
        for _ in range(version.replicas - len(living)):
            if due:
                kept.add(self._start(desired, version))
            elif dead:
                kept.add(dead.pop().id)
        return kept

    def _start(self, desired: EndpointSpec, version: VersionSpec) -> str:
        name = new_id("replica")
        folder = self._folder / desired.name / name
        spec: dict[str, Any] = {"id": name, "bundle": "", "digest": version.bundle, "model": desired.name, "version": version.version}
        spec |= {"port": 0, "settings": dict(desired.settings), "drain_s": max(0.0, self._drain_s - 1.0), "ready_file": ""}
        spec |= {"adapter_list": str(folder), **self._more}
        list_adapters(folder, version.adapters, self._artifacts)
        try:
            bundle = self._place(version)
        except PenstockError as error:
            record_failure(folder, spec, str(error))
        else:
            start_replica(folder, {**spec, "bundle": str(bundle)})
        return name

    def _crashes(self, name: str) -> dict[str, Crashes]:
        try:
            value = json.loads((self._folder / name / "crashes.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return {bundle: Crashes(*row) for bundle, row in value.items()}

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """One caller at a time, over all processes, changes an endpoint."""
        if not name or name.startswith(".") or Path(name).name != name:
            raise BadInput(f"{name!r} cannot be the name of an endpoint")
        lock = self._folder / f".{name}.lock"
        with told_plainly(lock):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            (self._folder / name).mkdir(exist_ok=True)
            yield
        finally:
            os.close(handle)
