"""What the gateway serves from: one JSON file, replaced whole, versioned. The gateway outlives whoever writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from penstock.core.files import write_atomic


@dataclass(frozen=True, slots=True)
class ReplicaRoute:
    id: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class VersionRoute:
    version: str
    digest: str  # of the bundle
    weight: float  # share of requests, 0–1
    replicas: tuple[ReplicaRoute, ...]


@dataclass(frozen=True, slots=True)
class ModelRoute:
    name: str
    task: str
    versions: tuple[VersionRoute, ...]


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A gateway key: only its SHA-256 is known here."""

    id: str
    name: str
    sha256: str  # hex of the whole key string


@dataclass(frozen=True, slots=True)
class Limits:
    max_body_bytes: int = 4 << 20
    request_timeout_s: float = 120.0
    header_timeout_s: float = 10.0
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    version: int
    models: tuple[ModelRoute, ...] = ()
    keys: tuple[KeyEntry, ...] = ()
    limits: Limits = field(default_factory=Limits)


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    write_atomic(path, json.dumps(asdict(snapshot), indent=1).encode())


def read_snapshot(path: Path) -> Snapshot:
    """Raises ValueError or KeyError when the file is not a snapshot; a reader then keeps the one it has."""
    value: Mapping[str, Any] = json.loads(path.read_bytes())
    models = tuple(
        ModelRoute(
            m["name"],
            m["task"],
            tuple(
                VersionRoute(v["version"], v["digest"], v["weight"], tuple(ReplicaRoute(**r) for r in v["replicas"])) for v in m["versions"]
            ),
        )
        for m in value["models"]
    )
    return Snapshot(value["version"], models, tuple(KeyEntry(**k) for k in value["keys"]), Limits(**value["limits"]))
