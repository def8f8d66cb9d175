"""Endpoints on SageMaker: one real-time endpoint a deployment, a variant a version, and bridges by which our gateway reaches each.

A serverless endpoint can have one variant only, so there each version has an endpoint of its own. A variant goes only when no bridge leads
to it any more, so nothing that is being answered is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PlatformAway
from penstock.platforms.contract import EndpointSpec, EndpointState, ReplicaState
from penstock.platforms.remote import noted
from penstock.platforms.remote.adapters import AdapterWishes
from penstock.platforms.remote.bridges import Bridges, Crossing
from penstock.platforms.remote.instances import Instances
from penstock.platforms.remote.machines import Need, choose
from penstock.platforms.remote.noted import Held, Noted
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.hosting import BUSY, Hosting, Seen, Target, decide
from penstock.platforms.sagemaker.machines import HOSTING
from penstock.platforms.sagemaker.metrics import CloudWatch
from penstock.platforms.sagemaker.naming import endpoint_name, variant_name
from penstock.platforms.sagemaker.scaling import Scaling
from penstock.platforms.sagemaker.settings import Settings

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

ENGINE = "penstock.platforms.sagemaker.invoking:opened"
SMALLEST = Need(cpus=2, memory_bytes=4 << 30)
REMOVE_S, LOOK_S = 30.0, 0.5


@dataclass(slots=True)
class SageMakerEndpoints:
    home: Home
    artifacts: Artifacts
    settings: Settings
    aws: Aws
    clock: Callable[[], float] = time.time
    _hosting: Hosting = field(init=False)
    _bridges: Bridges = field(init=False)
    _scaling: Scaling = field(init=False)
    _wishes: AdapterWishes = field(init=False)
    _instances: Instances = field(init=False)

    def __post_init__(self) -> None:
        self._hosting = Hosting(self.aws, self.artifacts.url, shape_of(self.settings))
        self._scaling = Scaling(self.aws)
        self._wishes = AdapterWishes(self.artifacts)
        self._instances = Instances(self._hosting.ask, self._wishes)
        self._bridges = Bridges(self.home, self.artifacts, ENGINE, self.settings.drain_s)

    def apply(self, desired: EndpointSpec) -> None:
        """Raises PlatformDenied, PlatformFull, PlatformAway, BadInput; what SageMaker finds out later shows as a failed replica."""
        parts = self._parts(desired)
        seen = {endpoint: self._look(endpoint, desired.name) for endpoint in parts}
        crossings = [crossing for endpoint, part in parts.items() for crossing in self._crossings(part, endpoint, seen[endpoint])]
        self._bridges.apply(desired.name, crossings, {})
        crossed = {variant_name(row.version, row.bundle) for row in self._bridges.observe(desired.name) if row.phase != "failed"}
        for endpoint, part in parts.items():
            self._bring(endpoint, part, seen[endpoint], crossed)

    def observe(self, name: str) -> EndpointState:
        """Bridges, and in the place of each that cannot be yet a replica that starts, or that failed with SageMaker's reason."""
        rows = list(self._bridges.observe(name))
        for known in noted.read_all(self._folder(name)).values():
            for version, bundle, count in known.wanted:
                there = sum((row.version, row.bundle) == (version, bundle) and row.phase != "draining" for row in rows)
                rows += [_absent(version, bundle, number, known.reason) for number in range(there, count)]
            for version, bundle, adapters, errors in known.held:
                mine = [(row.version, row.bundle) == (version, bundle) for row in rows]
                rows = [replace(row, adapters=adapters, adapter_errors=errors) if m else row for row, m in zip(rows, mine, strict=True)]
        return EndpointState(name, tuple(rows))

    def delete(self, name: str) -> None:
        """Returns when SageMaker has begun to take the endpoint away, which it then does by itself. Idempotent.

        Raises PlatformAway when it is still being made or changed after REMOVE_S: ask again.
        """
        self._bridges.delete(name)
        deadline = time.monotonic() + REMOVE_S
        for endpoint in self._parts(EndpointSpec(name, ())):
            self._scaling.keep(endpoint, ())
            while not self._hosting.remove(endpoint):
                if time.monotonic() > deadline:
                    raise PlatformAway(f"endpoint {endpoint} is still being changed; SageMaker deletes it only after that")
                time.sleep(LOOK_S)
            self._hosting.sweep(endpoint, None)
            noted.forget(self._folder(name), endpoint)
        if self.settings.metrics:
            CloudWatch(self.aws, self.artifacts.url).remove(name)

    def _look(self, endpoint: str, name: str) -> Seen | None:
        """One that was there is looked for twice before it counts as gone: an answer may come from a copy that lags behind."""
        seen = self._hosting.look(endpoint)
        known = noted.read(self._folder(name), endpoint)
        if seen is None and known is not None and known.config:
            time.sleep(LOOK_S)
            seen = self._hosting.look(endpoint)
        return seen

    def _parts(self, desired: EndpointSpec) -> dict[str, EndpointSpec]:
        """By endpoint, what is wanted of it: of those that nobody wants any more, nothing."""
        known: dict[str, EndpointSpec] = {at: replace(desired, versions=()) for at in noted.read_all(self._folder(desired.name))}
        if self.settings.serverless is None:
            return {**known, endpoint_name(desired.name, self.artifacts.url): desired}
        own = {f"{desired.name}-{variant_name(v.version, v.bundle)}": replace(desired, versions=(v,)) for v in desired.versions}
        return {**known, **{endpoint_name(name, self.artifacts.url): part for name, part in own.items()}}

    def _bring(self, endpoint: str, part: EndpointSpec, seen: Seen | None, crossed: set[str]) -> None:
        """One step of one endpoint, and what is to be remembered of it."""
        folder = self._folder(part.name)
        before = noted.read(folder, endpoint)
        targets = self._hosting.targets(endpoint, part)
        for variant in crossed & set(seen.variants if seen else ()) - set(targets):
            assert seen is not None
            targets[variant] = self._hosting.kept(seen, variant)
        wanted = tuple((v.version, v.bundle, v.replicas) for v in part.versions)
        held = self._held(endpoint, part, seen, before)
        after = self._step(part, endpoint, replace(before or Noted(), wanted=wanted, held=held), seen, targets)
        if not wanted and seen is None and after.swept:
            noted.forget(folder, endpoint)
        elif after != before:
            noted.write(folder, endpoint, after)

    def _held(self, endpoint: str, part: EndpointSpec, seen: Seen | None, before: Noted | None) -> tuple[Held, ...]:
        """Adapters of each version that wants some, or had some. Asks nobody otherwise."""
        had = {(version, bundle) for version, bundle, adapters, _ in before.held if adapters} if before is not None else set()
        found: list[Held] = []
        for version in part.versions:
            self._wishes.want(part.name, version.version, version.bundle, version.adapters)
            variant = variant_name(version.version, version.bundle)
            fleet = seen.variants.get(variant) if seen is not None else None
            if fleet is not None and (version.adapters or (version.version, version.bundle) in had):
                holding = self._instances.holding(part.name, endpoint, variant, 1 if fleet.current is None else max(1, fleet.current))
                found.append((version.version, version.bundle, dict(holding.adapters), dict(holding.errors)))
        return tuple(found)

    def _step(self, desired: EndpointSpec, endpoint: str, known: Noted, seen: Seen | None, targets: Mapping[str, Target]) -> Noted:
        config, now = self._hosting.config(endpoint, targets), self.clock()
        step = decide(seen, config, targets, self.settings.autoscale)
        if seen is not None and seen.reason and seen.status not in BUSY and seen.config != config and known.config == config:
            known = replace(known, reason=seen.reason)
        if seen is not None and seen.status == "Failed":
            known = replace(known, config=seen.config, reason=seen.reason or "SageMaker gave no reason")
        if step in ("create", "update") and known.due(config, now):
            self._hosting.prepare(endpoint, desired, config, targets)
            tries = known.tries + 1 if known.config == config else 1
            known = replace(known, config=config, tries=tries, at=now, swept=False)
            self._scaling.keep(endpoint, targets)
            (self._hosting.create if step == "create" else self._hosting.update)(endpoint, config)
        elif step == "scale":
            self._hosting.scale(endpoint, targets)
        elif step == "remove":
            self._scaling.keep(endpoint, ())
            self._hosting.remove(endpoint)
        elif step == "nothing" and not known.swept:
            self._scaling.follow(endpoint, targets)
            self._hosting.sweep(endpoint, config if seen is not None else None)
            known = replace(known, swept=True, tries=0, reason="")
        return known

    def _crossings(self, part: EndpointSpec, endpoint: str, seen: Seen | None) -> list[Crossing]:
        """To what serves now: no more bridges than instances."""
        found = []
        for version in part.versions:
            variant = variant_name(version.version, version.bundle)
            fleet = seen.variants.get(variant) if seen is not None and seen.status != "Deleting" else None
            count = 0 if fleet is None else version.replicas if fleet.current is None else min(version.replicas, fleet.current)
            if count:
                address: dict[str, Any] = {"endpoint": endpoint, "variant": variant, "region": self.settings.region}
                address |= {"digest": version.bundle, "url": self.settings.endpoint_url}
                found.append(Crossing(version, count, address))
        return found

    def _folder(self, name: str) -> Path:
        return self.home.folder / "sagemaker" / name


def shape_of(settings: Settings) -> dict[str, Any]:
    """What variants run on. Raises PlatformLacks for a machine type that is not known."""
    if settings.serverless is not None:
        given = settings.serverless
        return {"ServerlessConfig": {"MemorySizeInMB": given.memory_gb * 1024, "MaxConcurrency": given.concurrency}}
    return {"InstanceType": choose(HOSTING, replace(SMALLEST, machine=settings.machine), "SageMaker").name}


def _absent(version: str, bundle: str, number: int, reason: str) -> ReplicaState:
    id_ = f"{variant_name(version, bundle)}-{number}"
    return ReplicaState(id_, version, bundle, "failed" if reason else "starting", None, reason or None)
