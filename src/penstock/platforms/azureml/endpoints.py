"""Endpoints on Azure ML, managed or on an attached Kubernetes cluster: one online endpoint a deployment of ours, a deployment of Azure's a
version, and bridges to each.

A deployment of Azure's goes only when no bridge leads to it any more, so nothing that is being answered is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PenstockError, PlatformAway, PlatformLacks
from penstock.platforms.azureml.arm import Arm
from penstock.platforms.azureml.hosting import Hosting, Seen, Step, Target, decide, order, serving, split
from penstock.platforms.azureml.machines import HOSTING, instance_types, priced
from penstock.platforms.azureml.metrics import AzureMonitor
from penstock.platforms.azureml.naming import deployment_name, endpoint_name
from penstock.platforms.azureml.scaling import Scaling
from penstock.platforms.contract import EndpointSpec, EndpointState, VersionSpec
from penstock.platforms.places import place_of
from penstock.platforms.remote import noted
from penstock.platforms.remote.bridges import Bridges, Crossing
from penstock.platforms.remote.hosted import LOOK_S, Hosted, had
from penstock.platforms.remote.machines import Need, choose, told
from penstock.platforms.remote.noted import Held, Noted
from penstock.platforms.remote.sights import Pace, Sights
from penstock.spec.platforms.azureml import AzureMLPlatform

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

ENGINE = "penstock.platforms.azureml.invoking:opened"
SMALLEST = Need(cpus=2, memory_bytes=4 << 30)
REMOVE_S = 60.0


@dataclass(slots=True)
class AzureEndpoints:
    """`drain_s`: that a bridge may take to finish its answers; `replica`: more of what a container is told."""

    home: Home
    artifacts: Artifacts
    arm: Arm
    drain_s: float = 30.0
    replica: Mapping[str, Any] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    pace: Pace = field(default_factory=Pace)
    _hosting: Hosting = field(init=False)
    _scaling: Scaling = field(init=False)
    _sights: Sights[Seen] = field(init=False)
    _here: Hosted = field(init=False)

    def __post_init__(self) -> None:
        machine = machine_of(self.arm.settings)
        self._hosting = Hosting(self.arm, self.artifacts.url, machine, self.replica)
        self._scaling = Scaling(self.arm, self.artifacts.url)
        looks = (self._hosting.rows, self._hosting.look, lambda seen: seen.mark, lambda seen: seen.moving)
        self._sights = Sights(*looks, pace=self.pace)
        place = place_of(self.arm.settings.model_dump())
        bridges = Bridges(self.home, place, ENGINE, self.drain_s)
        self._here = Hosted(self.home, self.artifacts, place, bridges, deployment_name, self._hosting.ask)

    def apply(self, desired: EndpointSpec) -> None:
        """Raises PlatformDenied, PlatformFull, PlatformAway, BadInput; what Azure finds later shows as a failed replica."""
        endpoint, targets = self._endpoint(desired.name), self._hosting.targets(desired)
        notes = self._here.notes(desired.name)
        try:
            seen = self._sights.see(endpoint, next(iter(notes.values()), None))
        except PenstockError:  # bridges are replaced all the same
            if (last := self._sights.last(endpoint)) is not None:
                self._here.bridges.apply(desired.name, self._crossings(endpoint, targets, last))
            raise
        self._here.bridges.apply(desired.name, self._crossings(endpoint, targets, seen))
        crossed = self._here.crossed(desired.name)
        for name in targets.keys() | notes.keys():
            self._remember(desired.name, name, targets.get(name), seen)
        for step in order(decide(seen, targets, crossed, self.arm.settings.mirror, self._hosting.bounds)):
            with self._sights.changing(endpoint):
                self._take(step, endpoint, desired, targets, seen)

    def observe(self, name: str) -> EndpointState:
        return self._here.state_by_notes(name)

    def delete(self, name: str, within_s: float | None = None) -> None:
        """Returns when Azure has begun to take the endpoint away, which it then does by itself. Idempotent.

        Raises PlatformAway when it is still being made or changed after REMOVE_S, or `within_s`: ask again.
        """
        self._here.bridges.delete(name)
        endpoint, deadline = self._endpoint(name), time.monotonic() + (REMOVE_S if within_s is None else within_s)
        self._scaling.follow(endpoint, ())
        while not self._hosting.remove(endpoint):
            if time.monotonic() > deadline:
                raise PlatformAway(f"endpoint {endpoint} is still being changed; Azure deletes it only after that")
            time.sleep(LOOK_S)
        for deployment in self._here.notes(name):
            noted.forget(self._here.place(name), deployment)
        if self.arm.settings.metrics:
            AzureMonitor(self.arm, self.artifacts.url).remove(name)

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
        folder, now = self._here.place(desired.name), self.clock()
        known = noted.read(folder, name) or Noted()
        if known.due(name, now):
            operation = self._hosting.deploy(endpoint, name, desired, target)
            noted.write(folder, name, replace(known, config=name, tries=known.tries + 1, at=now, operation=operation))

    def _remember(self, model: str, name: str, target: Target | None, seen: Seen | None) -> None:
        folder = self._here.place(model)
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
        self._here.want_adapters(model, version)
        if seen is None or name not in serving(seen) or not (version.adapters or had(known.held, version)):
            return ()
        return (self._here.held(model, version, seen.score, seen.deployments[name].capacity),)

    def _endpoint(self, name: str) -> str:
        cluster = self.arm.settings.kubernetes
        return endpoint_name(name, self.artifacts.url, cluster.name if cluster is not None else "")

    def _crossings(self, endpoint: str, targets: Mapping[str, Target], seen: Seen | None) -> list[Crossing]:
        """To what serves now: no more bridges than instances."""
        if seen is None or seen.state == "Deleting":
            return []
        found, ready = [], serving(seen)
        more = {} if self.arm.settings.kubernetes is None else {"token": self.arm.token_url(endpoint)}
        for name, target in targets.items():
            if name in ready:
                count = min(target.version.replicas, seen.deployments[name].capacity)
                address = {"score": seen.score, "deployment": name, "digest": target.version.bundle, **more}
                found.append(Crossing(target.version, count, address))
        return found


def machine_of(settings: AzureMLPlatform) -> str:
    """Type of the instances. Raises PlatformLacks for one that is not known."""
    if (cluster := settings.kubernetes) is not None:
        need = replace(SMALLEST, machine=settings.machine)
        chosen = choose(instance_types(cluster, settings.usd_per_hour), need, f"Kubernetes cluster {cluster.name!r}")
        share = cluster.replica
        if share is not None and (share.cpus >= chosen.cpus or share.memory >= chosen.memory_bytes):
            raise PlatformLacks(
                f"`replica` asks for all of instance type {chosen.name!r}, which has {told(chosen)}, or for more",
                remedy="Azure takes only less than that: ask for less, or leave `replica` out, which gives a replica all of it.",
            )
        return chosen.name
    return choose(priced(HOSTING, settings.usd_per_hour), replace(SMALLEST, machine=settings.machine), "Azure ML").name
