"""What the gateway serves from right now: built from a snapshot, keeping the connections of replicas and the lanes of models that stay."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.core.errors import PenstockError
from penstock.serving.balance import Model, Version
from penstock.serving.identity import Keyring
from penstock.serving.lane import Lane
from penstock.serving.prefix import PrefixMemory
from penstock.serving.snapshot import KeyEntry, ModelRoute, ReplicaRoute, Snapshot, read_snapshot
from penstock.serving.upstream import Replica

log = logging.getLogger("penstock.gateway")
Stamp = tuple[int, int, int]


class Table:
    """Models, keys and limits of the last good snapshot. `errors` counts files that were not one.

    `names`: what clients may ask for, `<model>` and `<model>:<adapter>`, with the lane and the adapter. `processes`: gateway workers.
    """

    def __init__(self, path: Path, processes: int = 1, copied: Callable[[Any], None] = lambda _: None) -> None:
        self.path, self.processes, self._copied = path, processes, copied
        self.snapshot = Snapshot(version=0)
        self.lanes: dict[str, Lane] = {}
        self.names: dict[str, tuple[Lane, str | None]] = {}
        self.keys = Keyring(())
        self.errors = 0
        self.replicas: dict[ReplicaRoute, Replica] = {}
        self._stamp: Stamp | None = None

    def refresh(self, configure: Callable[[tuple[KeyEntry, ...]], None] = lambda _: None) -> bool:
        """Looks whether the file changed; True when another snapshot took effect. `configure` is given its keys first."""
        try:
            facts = self.path.stat()
        except OSError:
            return False
        stamp = (facts.st_mtime_ns, facts.st_ino, facts.st_size)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            snapshot = read_snapshot(self.path)
            models = self._read(snapshot)
            configure(snapshot.keys)
            self._apply(snapshot, *models)
        except (PenstockError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.errors += 1
            log.error("%s is not a snapshot (%s: %s); version %d stays", self.path, type(error).__name__, error, self.snapshot.version)
            return False
        return True

    def apply(self, snapshot: Snapshot) -> None:
        """Takes effect for the next request, and for those that wait; replicas that are gone finish what they have."""
        self._apply(snapshot, *self._read(snapshot))

    def _read(self, snapshot: Snapshot) -> tuple[dict[str, Model], dict[ReplicaRoute, Replica]]:
        """All that may fail; nothing changes here."""
        replicas: dict[ReplicaRoute, Replica] = {}
        return {route.name: self._model(route, replicas) for route in snapshot.models}, replicas

    def _apply(self, snapshot: Snapshot, models: dict[str, Model], replicas: dict[ReplicaRoute, Replica]) -> None:
        retired = [replica for route, replica in self.replicas.items() if route not in replicas]
        gone = [lane for name, lane in self.lanes.items() if name not in models]
        self.snapshot, self.keys, self.replicas = snapshot, Keyring(snapshot.keys), replicas
        self.lanes = {name: self.lanes.get(name) or Lane(model, self.find, self._copied) for name, model in models.items()}
        self.names = {name: (lane, None) for name, lane in self.lanes.items()}
        for name, model in models.items():
            self.names.update({f"{name}:{adapter}": (self.lanes[name], adapter) for adapter in model.by_adapter})
        for name, model in models.items():
            self.lanes[name].use(model)
        for lane in gone:
            lane.close()
        for replica in retired:
            replica.retire()

    def find(self, name: str) -> Lane | None:
        return self.lanes.get(name)

    def _model(self, route: ModelRoute, replicas: dict[ReplicaRoute, Replica]) -> Model:
        before = self.lanes[route.name].model.versions if route.name in self.lanes else {}
        versions: dict[str, Version] = {}
        for v in route.versions:
            found = [replicas.setdefault(r, self.replicas.get(r) or Replica(r)) for r in v.replicas]
            memory = before[v.version].memory if v.version in before else PrefixMemory()
            versions[v.version] = Version(v.version, v.digest, v.weight, found, frozenset(v.adapters), memory)
        return Model.of(route, versions, self.processes)
