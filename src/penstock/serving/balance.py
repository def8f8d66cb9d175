"""Which version and which replica a request goes to. Pure but for the loads and circuits that it reads off the replicas.

Version: a pinned one; else the one that a header rule names; else by weight, sticky by key (routing.py). Replica: one whose circuit lets
requests through and that has room; among those the least loaded, or the one that has read the beginning of the prompt already (prefix.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from penstock.serving.prefix import PrefixMemory, marks, prefer
from penstock.serving.routing import pick_version
from penstock.serving.snapshot import Guard, ModelRoute
from penstock.serving.upstream import Replica

if TYPE_CHECKING:
    from penstock.serving.guardrails import Guards


@dataclass(slots=True, eq=False)
class Version:
    name: str
    digest: str
    weight: float
    replicas: list[Replica]
    adapters: frozenset[str] = frozenset()
    memory: PrefixMemory = field(default_factory=PrefixMemory)
    header: bytes = b""  # x-penstock-version, as a header line

    def __post_init__(self) -> None:
        self.header = b"x-penstock-version: %b\r\n" % self.name.encode()


@dataclass(slots=True, eq=False)
class Model:
    """One model of a snapshot. `room`: requests that this process may have at one replica at once (None: no bound)."""

    route: ModelRoute
    versions: dict[str, Version]
    weights: Mapping[str, float]
    by_adapter: Mapping[str, Mapping[str, float]]
    rules: tuple[tuple[bytes, bytes, str], ...]  # header, value, version
    room: int | None
    guards: Guards | None = None
    only: tuple[Version, ...] = ()  # the one version with weight, where there is just one

    def __post_init__(self) -> None:
        weighted = [version for version in self.versions.values() if version.weight > 0]
        self.only = tuple(weighted) if len(weighted) == 1 else ()

    @classmethod
    def of(cls, route: ModelRoute, versions: dict[str, Version], processes: int = 1) -> Model:
        """`processes`: gateway workers, which share what a replica may be given at once."""
        weights = {name: version.weight for name, version in versions.items()}
        adapters = sorted({adapter for version in versions.values() for adapter in version.adapters})
        by_adapter = {a: {name: w for name, w in weights.items() if a in versions[name].adapters} for a in adapters}
        rules = [(r.header.lower().encode(), r.value.encode(), r.version) for r in route.headers if r.version in versions]
        at_once = route.protection.concurrency
        room = None if at_once is None else math.ceil(at_once / processes)
        return cls(route, versions, weights, by_adapter, tuple(rules), room, _guards(route.guards) if route.guards else None)

    @property
    def name(self) -> str:
        return self.route.name

    def ruled(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The version that the first fitting header rule names."""
        for header, value, version in self.rules:
            if headers.get(header) == value:
                return version
        return None

    def replicas(self) -> Iterator[Replica]:
        for version in self.versions.values():
            yield from version.replicas


@lru_cache(64)
def _guards(guards: tuple[Guard, ...]) -> Guards:
    """Kept over snapshots: opening a check may read a model from disk."""
    from penstock.serving.guardrails import Guards

    return Guards(guards)


@dataclass(slots=True, eq=False)
class Want:
    """What of a request decides where it goes. `prompt`: the body of a generative request, for the prefix cache."""

    sticky: bytes
    pinned: str | None = None
    adapter: str | None = None
    prompt: bytes | None = None
    tried: tuple[Replica, ...] = ()
    marks: tuple[int, ...] | None = None


Choice = tuple[Version, Replica | None]  # None: the request should wait until a replica of this version has room


def choose(model: Model, want: Want, now: float) -> Choice | None:
    """Where the request goes. None: no replica can answer. An open circuit is tried when all are open, unless its replica is dead."""
    troubled = False
    for version in model.only if model.only and want.pinned is None and want.adapter is None else _versions(model, want):
        usable = []
        for replica in version.replicas:
            if replica in want.tried:
                continue
            if replica.circuit.opened and not replica.circuit.allows(now):
                troubled = True
            else:
                usable.append(replica)
        if usable:
            return version, _best(version, usable, want, model.room)
    if troubled:
        for version in _versions(model, want):
            usable = [replica for replica in version.replicas if replica not in want.tried and not replica.circuit.dead]
            if usable:
                return version, _best(version, usable, want, model.room)
    return None


def empty(model: Model, want: Want) -> bool:
    """True when no version that the request may go to has a replica at all."""
    return not any(version.replicas for version in _versions(model, want))


def reopens_in(model: Model, now: float) -> float:
    """Seconds until the first replica with an open circuit may be asked again; 0.0 when none is open."""
    pauses = [replica.circuit.open_until - now for replica in model.replicas() if replica.circuit.opened]
    return max(min(pauses, default=0.0), 0.0)


def _versions(model: Model, want: Want) -> Iterator[Version]:
    """Versions that the request may go to, best first."""
    if want.pinned is not None:
        pinned = model.versions.get(want.pinned)
        if pinned is not None and (want.adapter is None or want.adapter in pinned.adapters):
            yield pinned
        return
    weights = model.weights if want.adapter is None else model.by_adapter.get(want.adapter, {})
    passed: list[str] = []
    while (name := pick_version(weights, want.sticky, passed)) is not None:
        yield model.versions[name]
        passed.append(name)


def _best(version: Version, usable: list[Replica], want: Want, room: int | None) -> Replica | None:
    if room is not None:
        usable = [replica for replica in usable if replica.load < room]
    if len(usable) < 2:
        if want.prompt is not None and usable and len(version.replicas) > 1:
            _remember(version, usable[0], want)
        return usable[0] if usable else None
    loads = [replica.load for replica in usable]
    if want.prompt is None:
        return usable[loads.index(min(loads))]
    if want.marks is None:
        want.marks = marks(want.prompt)
    known = version.memory.recall(want.marks) if want.marks else None
    chosen = prefer(usable, loads, known, _ident)
    if want.marks:
        version.memory.note(known == chosen.route.id)
    _remember(version, chosen, want)
    return chosen


def _remember(version: Version, replica: Replica, want: Want) -> None:
    if want.marks is None:
        want.marks = marks(want.prompt or b"")
    if want.marks:
        version.memory.remember(want.marks, replica.route.id)


def _ident(replica: Replica) -> str:
    return replica.route.id
