"""What the gateway serves from: one JSON file, replaced whole, versioned. The gateway outlives whoever writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from penstock.core.files import write_atomic


@dataclass(frozen=True, slots=True)
class ReplicaRoute:
    id: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class VersionRoute:
    """`adapters`: names that clients may ask for as `<model>:<adapter>`."""

    version: str
    digest: str  # of the bundle
    weight: float  # share of requests, 0–1
    replicas: tuple[ReplicaRoute, ...]
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Guard:
    """One check and what is done about a finding (see spec/deploy.py)."""

    check: str
    action: Literal["block", "mask", "flag"] = "flag"
    on: Literal["input", "output", "both"] = "both"
    threshold: float | None = None
    types: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Protection:
    """Seconds and counts of spec/deploy.py `Protect`, resolved."""

    timeout_s: float = 120.0
    first_byte_s: float | None = None
    retries: int = 2
    retry_budget: float = 0.2
    hedge_s: float | None = None
    fallback: tuple[str, ...] = ()
    concurrency: int | None = None
    queue: int = 1024
    hold_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HeaderRule:
    header: str  # lower case
    value: str
    version: str


@dataclass(frozen=True, slots=True)
class Shadow:
    version: str
    sample: float


@dataclass(frozen=True, slots=True)
class Price:
    """USD a million tokens read and written, and USD a request."""

    prompt: float = 0.0
    completion: float = 0.0
    request: float = 0.0


@dataclass(frozen=True, slots=True)
class Capture:
    sample: float = 1.0
    mask: bool = True


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """`experiment` names the experiment or bandit that set the weights; it is written into records."""

    name: str
    task: str
    versions: tuple[VersionRoute, ...]
    protection: Protection = field(default_factory=Protection)
    guards: tuple[Guard, ...] = ()
    headers: tuple[HeaderRule, ...] = ()
    shadow: Shadow | None = None
    price: Price = field(default_factory=Price)
    capture: Capture | None = None
    experiment: str | None = None
    metadata: tuple[str, ...] = ()  # fields of a request's `metadata` that go into its record


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """None: no limit. `budget_usd` holds for each day or month (UTC), or for ever (total)."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrency: int | None = None
    budget_usd: float | None = None
    budget_period: Literal["day", "month", "total"] = "month"


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A gateway key: only its SHA-256 is known here. `models` empty: all. Higher `priority` is shed later (0 low, 1 normal, 2 high)."""

    id: str
    name: str
    sha256: str  # hex of the whole key string
    priority: int = 1
    models: tuple[str, ...] = ()
    limits: KeyLimits = field(default_factory=KeyLimits)
    training: bool = True  # what it asks may be trained on


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the listener: what holds before a request's model is known."""

    max_body_bytes: int = 4 << 20
    request_timeout_s: float = 120.0
    header_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    version: int
    models: tuple[ModelRoute, ...] = ()
    keys: tuple[KeyEntry, ...] = ()
    limits: Limits = field(default_factory=Limits)


@cache
def _codec() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Snapshot)


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    write_atomic(path, _codec().dump_json(snapshot, indent=1))


def read_snapshot(path: Path) -> Snapshot:
    """Raises ValueError when the file is not a snapshot; a reader then keeps the one it has."""
    found: Snapshot = _codec().validate_json(path.read_bytes())
    return found
