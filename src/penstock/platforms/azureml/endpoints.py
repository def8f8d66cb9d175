"""Endpoints on Azure ML: one managed online endpoint a deployment of ours, a deployment of Azure's a version, and bridges to each.

A deployment of Azure's goes only when no bridge leads to it any more, so nothing that is being answered is lost.
Not covered: batch endpoints, attached Kubernetes clusters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PlatformAway
from penstock.platforms.azureml.arm import Arm
from penstock.platforms.azureml.hosting import Hosting, Seen, Step, Target, decide, order, serving, split
from penstock.platforms.azureml.machines import HOSTING, priced
from penstock.platforms.azureml.metrics import AzureMonitor
from penstock.platforms.azureml.naming import deployment_name, endpoint_name
from penstock.platforms.azureml.scaling import Scaling
from penstock.platforms.contract import EndpointSpec, EndpointState, ReplicaState, VersionSpec
from penstock.platforms.remote import noted
from penstock.platforms.remote.adapters import AdapterWishes
from penstock.platforms.remote.bridges import Bridges, Crossing
from penstock.platforms.remote.instances import Instances
from penstock.platforms.remote.machines import Need, choose
from penstock.platforms.remote.noted import Held, Noted
from penstock.spec.platforms.azureml import AzureMLPlatform

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

ENGINE = "penstock.platforms.azureml.invoking:opened"
SMALLEST = Need(cpus=2, memory_bytes=4 << 30)
REMOVE_S, LOOK_S = 60.0, 0.5


@dataclass(slots=True)
class AzureEndpoints:
    """`drain_s`: that a bridge may take to finish its answers; `replica`: more of what a container is told."""

    home: Home
    artifacts: Artifacts
    arm: Arm
    drain_s: float = 30.0
    replica: Mapping[str, Any] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    _hosting: Hosting = field(init=False)
    _bridges: Bridges = field(init=False)
    _scaling: Scaling = field(init=False)
    _wishes: AdapterWishes = field(init=False)
    _instances: Instances = field(init=False)

    def __post_init__(self) -> None:
        machine = machine_of(self.arm.settings)
        self._hosting = Hosting(self.arm, self.artifacts.url, machine, self.replica)
        self._scaling = Scaling(self.arm, self.artifacts.url)
        self._wishes = AdapterWishes(self.artifacts)
        self._instances = Instances(self._hosting.ask, self._wishes)
        self._bridges = Bridges(self.home, self.artifacts, ENGINE, self.drain_s)

    def apply(self, desired: EndpointSpec) -> None:
        """Raises PlatformDenied, PlatformFull, PlatformAway, BadInput; what Azure finds later shows as a failed replica."""
        endpoint, targets = endpoint_name(desired.name, self.artifacts.url), self._hosting.targets(desired)
        seen = self._look(endpoint, desired.name)
        self._bridges.apply(desired.name, self._crossings(targets, seen), {})
        crossed = {deployment_name(row.version, row.bundle) for row in self._bridges.observe(desired.name) if row.phase != "failed"}
        for name in targets.keys() | self._noted(desired.name).keys():
            self._remember(desired.name, name, targets.get(name), seen)
        for step in order(decide(seen, targets, crossed, self.arm.settings.mirror, self.arm.settings.autoscale)):
            self._take(step, endpoint, desired, targets, seen)

    def observe(self, name: str) -> EndpointState:
        """Bridges, and in the place of each that cannot be yet a replica that starts, or that failed with Azure's reason."""
        rows = list(self._bridges.observe(name))
        for known in self._noted(name).values():
            for version, bundle, count in known.wanted:
                there = sum((row.version, row.bundle) == (version, bundle) and row.phase != "draining" for row in rows)
                rows += [_absent(version, bundle, number, known.reason) for number in range(there, count)]
            for version, bundle, adapters, errors in known.held:
                mine = [(row.version, row.bundle) == (version, bundle) for row in rows]
                rows = [replace(row, adapters=adapters, adapter_errors=errors) if m else row for row, m in zip(rows, mine, strict=True)]
        return EndpointState(name, tuple(rows))

    def delete(self, name: str) -> None:
        """Returns when Azure has begun to take the endpoint away, which it then does by itself. Idempotent.

        Raises PlatformAway when it is still being made or changed after REMOVE_S: ask again.
        """
        self._bridges.delete(name)
        endpoint, deadline = endpoint_name(name, self.artifacts.url), time.monotonic() + REMOVE_S
        self._scaling.follow(endpoint, ())
        while not self._hosting.remove(endpoint):
            if time.monotonic() > deadline:
                raise PlatformAway(f"endpoint {endpoint} is still being changed; Azure deletes it only after that")
            time.sleep(LOOK_S)
        for deployment in self._noted(name):
            noted.forget(self._folder(name), deployment)
        if self.arm.settings.metrics:
            AzureMonitor(self.arm, self.artifacts.url).remove(name)

    def _look(self, endpoint: str, name: str) -> Seen | None:
        """One that was there is looked for twice before it counts as gone: an answer may come from a copy that lags behind."""
        seen = self._hosting.look(endpoint)
        if seen is None and any(known.config for known in self._noted(name).values()):
            time.sleep(LOOK_S)
            seen = self._hosting.look(endpoint)
        return seen

    def _take(self, step: Step, endpoint: str, desired: EndpointSpec, targets: Mapping[str, Target], seen: Seen | None) -> None:
        if step.do == "create":
            self._hosting.create(endpoint)
        elif step.do == "remove":
            self._scaling.follow(endpoint, ())
            self._hosting.remove(endpoint)
        elif step.do == "deploy":
            self._deploy(endpoint, step.name, desired, targets[step.name])
        elif step.do == "scale":
            self._hosting.scale(endpoint, step.name, targets[step.name].count)
        elif step.do == "drop":
            self._hosting.drop(endpoint, step.name)
        else:
            assert seen is not None
            ready = serving(seen)
            self._scaling.follow(endpoint, ready & targets.keys())
            self._hosting.split(endpoint, *split(targets, ready, self.arm.settings.mirror))

    def _deploy(self, endpoint: str, name: str, desired: EndpointSpec, target: Target) -> None:
        """Unless it failed a short while ago."""
        folder, now = self._folder(desired.name), self.clock()
        known = noted.read(folder, name) or Noted()
        if known.due(name, now):
            operation = self._hosting.deploy(endpoint, name, desired, target)
            noted.write(folder, name, replace(known, config=name, tries=known.tries + 1, at=now, operation=operation))

    def _remember(self, model: str, name: str, target: Target | None, seen: Seen | None) -> None:
        folder = self._folder(model)
        if target is None:
            noted.forget(folder, name)
            return
        before, version = noted.read(folder, name), target.version
        fleet = seen.deployments.get(name) if seen is not None else None
        known = replace(before or Noted(), wanted=((version.version, version.bundle, version.replicas),))
        if fleet is not None and fleet.state == "Failed":
            known = replace(known, reason=self._hosting.reason(known.operation) or "Azure gave no reason")
        elif fleet is not None and fleet.state == "Succeeded":
            known = replace(known, reason="", tries=0, operation="")
        known = replace(known, held=self._held(model, name, version, seen, known))
        if known != before:
            noted.write(folder, name, known)

    def _held(self, model: str, name: str, version: VersionSpec, seen: Seen | None, known: Noted) -> tuple[Held, ...]:
        """Adapters of a version that wants some, or had some. Asks nobody otherwise."""
        self._wishes.want(model, version.version, version.bundle, version.adapters)
        if seen is None or name not in serving(seen) or not (version.adapters or any(adapters for _, _, adapters, _ in known.held)):
            return ()
        holding = self._instances.holding(model, seen.score, name, seen.deployments[name].capacity)
        return ((version.version, version.bundle, dict(holding.adapters), dict(holding.errors)),)

    def _crossings(self, targets: Mapping[str, Target], seen: Seen | None) -> list[Crossing]:
        """To what serves now: no more bridges than instances."""
        if seen is None or seen.state == "Deleting":
            return []
        found, ready = [], serving(seen)
        for name, target in targets.items():
            if name in ready:
                count = min(target.version.replicas, seen.deployments[name].capacity)
                address = {"score": seen.score, "deployment": name, "digest": target.version.bundle}
                found.append(Crossing(target.version, count, address))
        return found

    def _noted(self, model: str) -> dict[str, Noted]:
        return noted.read_all(self._folder(model))

    def _folder(self, name: str) -> Path:
        return self.home.folder / "azureml" / name


def machine_of(settings: AzureMLPlatform) -> str:
    """Type of the instances. Raises PlatformLacks for one that is not known."""
    return choose(priced(HOSTING, settings.usd_per_hour), replace(SMALLEST, machine=settings.machine), "Azure ML").name


def _absent(version: str, bundle: str, number: int, reason: str) -> ReplicaState:
    return ReplicaState(f"v{version}-{bundle[-8:]}-{number}", version, bundle, "failed" if reason else "starting", None, reason or None)
