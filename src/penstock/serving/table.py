"""What the gateway serves from right now: built from a snapshot, keeping the connections of replicas that stay."""

from __future__ import annotations

import logging
from pathlib import Path

from penstock.serving.identity import Keyring
from penstock.serving.relay import Model, Version
from penstock.serving.snapshot import ReplicaRoute, Snapshot, read_snapshot
from penstock.serving.upstream import Replica

log = logging.getLogger("penstock.gateway")
Stamp = tuple[int, int, int]


class Table:
    """Models, keys and limits of the last good snapshot. `errors` counts files that were not one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.snapshot = Snapshot(version=0)
        self.models: dict[str, Model] = {}
        self.keys = Keyring(())
        self.errors = 0
        self.replicas: dict[ReplicaRoute, Replica] = {}
        self._stamp: Stamp | None = None

    def refresh(self) -> bool:
        """Looks whether the file changed; True when another snapshot took effect."""
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
            self.apply(snapshot)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.errors += 1
            log.error("%s is not a snapshot (%s: %s); version %d stays", self.path, type(error).__name__, error, self.snapshot.version)
            return False
        return True

    def apply(self, snapshot: Snapshot) -> None:
        """Takes effect for the next request; replicas that are gone finish what they have."""
        keys = Keyring(snapshot.keys)
        replicas: dict[ReplicaRoute, Replica] = {}
        models: dict[str, Model] = {}
        for route in snapshot.models:
            versions: dict[str, Version] = {}
            for v in route.versions:
                found = [replicas.setdefault(r, self.replicas.get(r) or Replica(r)) for r in v.replicas]
                header = b"x-penstock-version: %b\r\n" % v.version.encode()
                versions[v.version] = Version(v.version, v.digest, v.weight, found, header)
            models[route.name] = Model(route.name, route.task, versions, {v.name: v.weight for v in versions.values()})
        retired = [replica for route, replica in self.replicas.items() if route not in replicas]
        self.snapshot, self.models, self.keys, self.replicas = snapshot, models, keys, replicas
        for replica in retired:
            replica.retire()
