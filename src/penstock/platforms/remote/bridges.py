"""Bridges: replica processes on this machine whose engine hands requests on to a version that a vendor serves.

So the gateway, roll-outs and all that is measured work with a managed endpoint as with replicas of one's own. A bridge holds no
model: its folder has the address (`bridge.json`), no bundle.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.files import write_atomic
from penstock.platforms.contract import EndpointSpec, ReplicaState, VersionSpec
from penstock.platforms.local.endpoints import LocalEndpoints

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

NAME = "bridge.json"


@dataclass(frozen=True, slots=True)
class Crossing:
    """`count` bridges to one version. `address`: what the vendor's engine needs to reach it, as JSON values."""

    version: VersionSpec
    count: int
    address: Mapping[str, Any]


class Bridges:
    """`engine`: "module:name" of what opens a bridge's folder (see bridge.py). `longest_s`: that an answer may take, where that is long:
    a bridge that nobody wants any more is left so long to finish. `more`: fields of its replica's spec.
    """

    def __init__(
        self, home: Home, artifacts: Artifacts, engine: str, drain_s: float, longest_s: float = 0.0, more: Mapping[str, Any] | None = None
    ) -> None:
        self._folder = home.folder / "bridges"
        self._home, self._artifacts = home, artifacts
        self._settings = {"drain_s": max(drain_s, longest_s), "replica": {"engine_class": engine, **(more or {})}}
        self._at_once = {**self._settings, "drain_s": drain_s}

    def apply(self, name: str, wanted: Sequence[Crossing], settings: Mapping[str, Any]) -> None:
        """Brings the number of bridges to each version to what is wanted, as LocalEndpoints does with replicas."""
        for crossing in wanted:
            folder = self._place(name, crossing.version)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / NAME, json.dumps(dict(crossing.address)).encode(), sync=False)
        versions = tuple(VersionSpec(one.version.version, one.version.bundle, one.count) for one in wanted)
        self._processes(name).apply(EndpointSpec(name, versions, settings))

    def observe(self, name: str) -> Sequence[ReplicaState]:
        return self._processes(name).observe(name).replicas

    def delete(self, name: str) -> None:
        self._processes(name, self._at_once).delete(name)
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def _processes(self, name: str, settings: Mapping[str, Any] | None = None) -> LocalEndpoints:
        return LocalEndpoints(self._home, self._artifacts, settings or self._settings, lambda version: self._place(name, version))

    def _place(self, name: str, version: VersionSpec) -> Path:
        return self._folder / name / version.version
