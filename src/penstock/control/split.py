"""What a deployment's row says of versions: which are wanted with which share, which by header or as shadow, and which are live.

Versions stand in a row as numbers; in header rules and the shadow also as aliases, which are resolved in each pass, so that they follow
the registry. Rows from before deployments had several versions (`version` and `bundle` in the spec, one `live` in the status) are read too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.control.loaded import wanted_adapters
from penstock.control.policy import deploy_of
from penstock.core.errors import NotFound
from penstock.serving.snapshot import HeaderRule, Shadow
from penstock.spec.deploy import Shadow as ShadowWish
from penstock.spec.deploy import Version
from penstock.store.registry import ModelVersion, Registry
from penstock.store.resources import Resource


@dataclass(frozen=True, slots=True)
class Part:
    """One version of a deployment. `weight`: its share of requests, 0–1; 0 for one that only headers or the shadow lead to.

    `warm`: replicas that it keeps whatever the load, without a request, to be switched to at once.
    """

    version: int
    bundle: str
    weight: float
    replicas: int = 1
    warm: int = 0

    def as_json(self) -> dict[str, Any]:
        return {**self.share, "replicas": self.replicas}

    @property
    def share(self) -> dict[str, Any]:
        """As a spec names it: how many replicas is decided elsewhere."""
        return {"version": self.version, "bundle": self.bundle, "weight": self.weight}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the gateway should route by. `notes`: what of the row cannot be had now, in words. `adapters`: bundle → name → digest."""

    parts: tuple[Part, ...]
    headers: tuple[HeaderRule, ...] = ()
    shadow: Shadow | None = None
    notes: tuple[str, ...] = ()
    adapters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def weighted(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.weight > 0)


def parts_of(rows: Any) -> tuple[Part, ...]:
    """From JSON: of a spec's `versions` or a status's `live`, which older rows hold as one object, or not at all."""
    listed: Sequence[Mapping[str, Any]] = [] if rows is None else [rows] if isinstance(rows, Mapping) else rows
    return tuple(Part(int(r["version"]), r["bundle"], float(r.get("weight", 1.0)), int(r.get("replicas", 1))) for r in listed)


def split_of(spec: Mapping[str, Any]) -> tuple[Part, ...]:
    """The shares of requests that a deployment's spec asks for."""
    return parts_of(spec["versions"] if "versions" in spec else {"version": spec["version"], "bundle": spec["bundle"]})


def live_of(status: Mapping[str, Any]) -> tuple[Part, ...]:
    """What the gateway has said it routes to."""
    return parts_of(status.get("live"))


def leading(parts: Sequence[Part]) -> Part | None:
    """The part with most of the traffic; of equals the first."""
    return max(parts, key=lambda part: part.weight, default=None)


def told(model: str, parts: Sequence[Part]) -> str:
    """`m:3 serves all requests`, or `m:3 90 %, m:4 10 %`."""
    shares = [part for part in parts if part.weight > 0]
    if len(shares) == 1:
        return f"{model}:{shares[0].version} serves all requests"
    return ", ".join(f"{model}:{part.version} {part.weight * 100:g} %" for part in shares) or "nothing serves"


def resolve(registry: Registry, deployment: str, model: str, wanted: Version | str) -> ModelVersion:
    """A version by number, by alias, or `previous`: the last one that led before the one that leads now. Raises NotFound."""
    if wanted == "previous":
        number = previous_version(registry, deployment)
        if number is None:
            raise NotFound(f"{deployment!r} never served another version; there is no previous one")
        return registry.get(model, number)
    return registry.get(model, wanted)


def previous_version(registry: Registry, deployment: str) -> int | None:
    history = [max(live, key=lambda share: share[2]) for _, live in registry.live_history(deployment) if live]
    for version, _, _ in reversed(history):
        if version != history[-1][0]:
            return int(version)
    return None


def wanted_of(resource: Resource, registry: Registry) -> Wanted:
    """The row's wish with every alias resolved. An alias that names nothing leaves its rule out, and a note says so.

    A rollout adds replicas of one version, versions to keep warm, and its own shadow, which goes before that of the file.
    """
    spec, traffic = resource.spec, deploy_of(resource.spec).traffic
    asked = spec.get("replicas_of") or {}
    parts = {part.version: replace(part, replicas=int(asked.get(str(part.version), spec["replicas"]))) for part in split_of(spec)}
    headers: list[HeaderRule] = []
    notes: list[str] = []
    shadow = None
    for rule in traffic.headers:
        found = _find(registry, resource, rule.version, f"{rule.header}: {rule.value}", notes)
        if found is not None:
            headers.append(HeaderRule(rule.header.lower(), rule.value, str(found.version)))
            parts.setdefault(found.version, Part(found.version, found.bundle, 0.0))
    copied = ShadowWish.model_validate(spec["shadow"]) if spec.get("shadow") else traffic.shadow
    if copied is not None:
        found = _find(registry, resource, copied.version, "the shadow", notes)
        if found is not None and parts.get(found.version, Part(0, "", 0.0)).weight > 0:
            notes.append(f"version {found.version} already answers requests, so there is no shadow of it")
        elif found is not None:
            shadow = Shadow(str(found.version), copied.sample)
            share = math.ceil(int(spec["replicas"]) * copied.sample)
            parts[found.version] = Part(found.version, found.bundle, 0.0, max(1, share))
    for row in spec.get("warm") or ():
        kept = Part(int(row["version"]), row["bundle"], 0.0, int(row["replicas"]), int(row["replicas"]))
        if parts.get(kept.version, kept).weight == 0:
            parts[kept.version] = kept
    adapters = {part.bundle: named for part in parts.values() if (named := wanted_adapters(spec, part.bundle))}
    return Wanted(tuple(parts.values()), tuple(headers), shadow, tuple(notes), adapters)


def _find(registry: Registry, resource: Resource, wanted: Version, what: str, notes: list[str]) -> ModelVersion | None:
    try:
        return resolve(registry, resource.name, resource.spec["model"], wanted)
    except NotFound as error:
        notes.append(f"{what} waits: {error}")
        return None


def servable(wanted: Wanted, ready: Mapping[int, int]) -> Wanted:
    """What of `wanted` can be routed to with `ready` replicas by version: nobody is sent where nobody answers.

    A version whose replicas are all gone hands its share to the others until they are back; one that is wanted with no replica keeps it
    (the gateway holds its requests while it starts), and so do all when none is ready. Rules that lead nowhere are left out.
    """
    can = {part.version for part in wanted.weighted if ready.get(part.version) or part.replicas == 0}
    can = can or {part.version for part in wanted.weighted}
    total = sum(part.weight for part in wanted.parts if part.version in can)
    parts = [replace(p, weight=p.weight / total if p.version in can else 0.0) for p in wanted.parts if p.weight > 0 or ready.get(p.version)]
    up = {str(part.version) for part in parts if ready.get(part.version)}
    shadow = wanted.shadow if wanted.shadow is not None and wanted.shadow.version in up else None
    rules = tuple(rule for rule in wanted.headers if rule.version in up)
    return replace(wanted, parts=tuple(parts), headers=rules, shadow=shadow)
