"""Endpoints on SageMaker: one real-time endpoint a deployment, a variant a version, and bridges by which our gateway reaches each.

A serverless or asynchronous endpoint can have one variant only, so there each version has an endpoint of its own. A variant goes only when
no bridge leads to it any more, so nothing that is being answered is lost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PenstockError, PlatformAway
from penstock.core.units import show_seconds
from penstock.platforms.contract import EndpointSpec, EndpointState
from penstock.platforms.places import place_of
from penstock.platforms.remote import noted
from penstock.platforms.remote.bridges import Bridges, Crossing
from penstock.platforms.remote.hosted import LOOK_S, Hosted, had
from penstock.platforms.remote.machines import Need, choose
from penstock.platforms.remote.noted import Held, Noted
from penstock.platforms.remote.sights import Pace, Sights
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.capturing import capture_place, config_of
from penstock.platforms.sagemaker.folder import Folder
from penstock.platforms.sagemaker.hosting import BUSY, Hosting, Seen, Target, decide
from penstock.platforms.sagemaker.machines import HOSTING
from penstock.platforms.sagemaker.metrics import CloudWatch
from penstock.platforms.sagemaker.naming import endpoint_name, variant_name
from penstock.platforms.sagemaker.scaling import Scaling
from penstock.platforms.sagemaker.settings import Settings, patience_of, store_mark

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

ENGINE, LINED = "penstock.platforms.sagemaker.invoking:opened", "penstock.platforms.sagemaker.queueing:opened"
SMALLEST = Need(cpus=2, memory_bytes=4 << 30)
REMOVE_S = 30.0


@dataclass(slots=True)
class SageMakerEndpoints:
    """`output`: the URL below which SageMaker writes; empty: the artifact store's."""

    home: Home
    artifacts: Artifacts
    settings: Settings
    aws: Aws
    output: str = ""
    clock: Callable[[], float] = time.time
    pace: Pace = field(default_factory=Pace)
    _hosting: Hosting = field(init=False)
    _scaling: Scaling = field(init=False)
    _sights: Sights[Seen] = field(init=False)
    _here: Hosted = field(init=False)

    def __post_init__(self) -> None:
        store, lined = self.artifacts.url, self.settings.asynchronous
        self._hosting = Hosting(self.aws, store, shape_of(self.settings), partial(beside_of, self.settings, self.output or store, store))
        self._scaling = Scaling(self.aws, store_mark(store))
        self._sights = Sights(self._hosting.rows, self._hosting.look, lambda seen: seen.mark, pace=self.pace)
        longest = lined.longest_s if lined is not None else 0.0
        more, engine = patience_of(self.settings, longest), ENGINE if lined is None else LINED
        place = place_of({"kind": "sagemaker", "region": self.settings.region, "role": self.settings.role})
        bridges = Bridges(self.home, place, engine, self.settings.drain_s, longest, more)
        self._here = Hosted(self.home, self.artifacts, place, bridges, variant_name, self._hosting.ask)

    def apply(self, desired: EndpointSpec) -> None:
        """Raises PlatformDenied, PlatformFull, PlatformAway, BadInput; what SageMaker finds out later shows as a failed replica."""
        parts = self._parts(desired)
        notes = self._here.notes(desired.name)
        try:
            seen = {at: self._sights.see(at, notes.get(at)) for at in parts}
        except PenstockError:  # bridges are replaced all the same
            last = {at: self._sights.last(at) for at in parts}
            if None not in last.values():
                self._bridge(desired.name, parts, last)
            raise
        self._bridge(desired.name, parts, seen)
        crossed = self._here.crossed(desired.name)
        for endpoint, part in parts.items():
            self._bring(endpoint, part, seen[endpoint], crossed)

    def _bridge(self, name: str, parts: Mapping[str, EndpointSpec], seen: Mapping[str, Seen | None]) -> None:
        found = [crossing for endpoint, part in parts.items() for crossing in self._crossings(part, endpoint, seen[endpoint])]
        self._here.bridges.apply(name, found)

    def observe(self, name: str) -> EndpointState:
        return self._here.state_by_notes(name)

    def delete(self, name: str, within_s: float | None = None) -> None:
        """Returns when SageMaker has begun to take the endpoint away, which it then does by itself. Idempotent.

        Raises PlatformAway when it is still being made or changed after REMOVE_S, or `within_s`: ask again.
        """
        self._here.bridges.delete(name)
        deadline = time.monotonic() + (REMOVE_S if within_s is None else within_s)
        for endpoint in self._parts(EndpointSpec(name, ())):
            self._scaling.keep(endpoint, ())
            while not self._hosting.remove(endpoint):
                if time.monotonic() > deadline:
                    raise PlatformAway(f"endpoint {endpoint} is still being changed; SageMaker deletes it only after that")
                time.sleep(LOOK_S)
            self._hosting.sweep(endpoint, None, {})
            self._sights.touched(endpoint)
            self._purge(endpoint)
            noted.forget(self._here.place(name), endpoint)
        if self.settings.metrics:
            CloudWatch(self.aws, self.artifacts.url).remove(name)

    def _parts(self, desired: EndpointSpec) -> dict[str, EndpointSpec]:
        """By endpoint, what is wanted of it: of those that nobody wants any more, nothing."""
        known: dict[str, EndpointSpec] = {at: replace(desired, versions=()) for at in self._here.notes(desired.name)}
        if self.settings.serverless is None and self.settings.asynchronous is None:
            return {**known, endpoint_name(desired.name, self.artifacts.url): desired}
        own = {f"{desired.name}-{variant_name(v.version, v.bundle)}": replace(desired, versions=(v,)) for v in desired.versions}
        return {**known, **{endpoint_name(name, self.artifacts.url): part for name, part in own.items()}}

    def _bring(self, endpoint: str, part: EndpointSpec, seen: Seen | None, crossed: set[str]) -> None:
        """One step of one endpoint, and what is to be remembered of it."""
        folder = self._here.place(part.name)
        before = noted.read(folder, endpoint)
        targets = self._hosting.targets(endpoint, part)
        for variant in crossed & set(seen.variants if seen else ()) - set(targets):
            assert seen is not None
            targets[variant] = self._hosting.kept(seen, variant)
        wanted = tuple((v.version, v.bundle, v.replicas) for v in part.versions)
        held = self._held(endpoint, part, seen, before)
        after = self._step(part, endpoint, replace(before or Noted(), wanted=wanted, held=held), seen, targets)
        if not wanted and seen is None and after.swept:
            self._purge(endpoint)
            noted.forget(folder, endpoint)
        elif after != before:
            noted.write(folder, endpoint, after)

    def _held(self, endpoint: str, part: EndpointSpec, seen: Seen | None, before: Noted | None) -> tuple[Held, ...]:
        """Adapters of each version that wants some, or had some. Asks nobody otherwise."""
        found: list[Held] = []
        for version in part.versions:
            self._here.want_adapters(part.name, version)
            if self.settings.asynchronous is not None:  # none of its instances can be asked
                continue
            fleet = seen.variants.get(variant_name(version.version, version.bundle)) if seen is not None else None
            if fleet is not None and (version.adapters or had(before.held if before is not None else (), version)):
                found.append(self._here.held(part.name, version, endpoint, 1 if fleet.current is None else max(1, fleet.current)))
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
            with self._sights.changing(endpoint):
                (self._hosting.create if step == "create" else self._hosting.update)(endpoint, config)
        elif step == "scale":
            with self._sights.changing(endpoint):
                self._hosting.scale(endpoint, targets)
        elif step == "remove":
            self._scaling.keep(endpoint, ())
            with self._sights.changing(endpoint):
                self._hosting.remove(endpoint)
            known = replace(known, swept=False)
        elif step == "nothing" and not known.swept:
            self._scaling.follow(endpoint, targets)
            self._hosting.sweep(endpoint, config if seen is not None else None, targets)
            known = replace(known, swept=True, tries=0, reason="")
        return known

    def _crossings(self, part: EndpointSpec, endpoint: str, seen: Seen | None) -> list[Crossing]:
        """To what serves now: no more bridges than instances."""
        found = []
        for version in part.versions:
            variant = variant_name(version.version, version.bundle)
            fleet = seen.variants.get(variant) if seen is not None and seen.status != "Deleting" else None
            count = 0 if fleet is None else version.replicas if fleet.current is None else min(version.replicas, fleet.current)
            if self.settings.asynchronous is not None and seen is not None and fleet is not None:
                count = (
                    0 if seen.status in ("Creating", "Deleting", "Failed") else version.replicas
                )  # its line stands when nobody is up, too
            if count:
                address: dict[str, Any] = {"endpoint": endpoint, "variant": variant, "region": self.settings.region}
                address |= {"digest": version.bundle, "url": self.settings.endpoint_url, "mark": store_mark(self.artifacts.url)}
                address |= self._line(endpoint)
                asleep = {"asleep": fleet is not None and fleet.current == 0} if self.settings.asynchronous is not None else {}
                found.append(Crossing(version, count, address, asleep))
        return found

    def _line(self, endpoint: str) -> dict[str, Any]:
        """What a bridge to an asynchronous endpoint has to know besides."""
        lined = self.settings.asynchronous
        if lined is None:
            return {}
        facts = {"timeout": math.ceil(lined.timeout), "wait": math.ceil(lined.wait)}
        return {"place": line_place(self.output or self.artifacts.url, self.artifacts.url, endpoint), **facts}

    def _purge(self, endpoint: str) -> None:
        """Requests and answers that nobody waits for any more."""
        if self.settings.asynchronous is not None:
            Folder(self.aws, line_place(self.output or self.artifacts.url, self.artifacts.url, endpoint)).clear()


def shape_of(settings: Settings) -> dict[str, Any]:
    """What variants run on. Raises PlatformLacks for a machine type that is not known."""
    if settings.serverless is not None:
        given = settings.serverless
        return {"ServerlessConfig": {"MemorySizeInMB": given.memory_gb * 1024, "MaxConcurrency": given.concurrency}}
    return {"InstanceType": choose(HOSTING, replace(SMALLEST, machine=settings.machine), "SageMaker").name}


def line_place(output: str, store: str, endpoint: str = "") -> str:
    """The URL below which requests and answers of asynchronous endpoints lie."""
    return f"{output}/asynchronous/{store_mark(store)}/{endpoint}".rstrip("/")


def beside_of(settings: Settings, output: str, store: str, endpoint: str) -> dict[str, Any]:
    """Members of an endpoint's configuration beside its variants."""
    found: dict[str, Any] = {}
    if settings.capture is not None:
        found["DataCaptureConfig"] = config_of(capture_place(output, store), settings.capture.percent)
    if settings.asynchronous is not None:
        place = line_place(output, store, endpoint)
        found["AsyncInferenceConfig"] = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": settings.asynchronous.concurrency},
            "OutputConfig": {"S3OutputPath": f"{place}/out", "S3FailurePath": f"{place}/failed"},
        }
    return found


def serving_calls(settings: Settings) -> list[str]:
    """What a deployment asks for, for people. Raises PlatformLacks for a machine type that is not known."""
    shape = shape_of(settings)
    what = (
        f"{shape['InstanceType']} instances" if "InstanceType" in shape else f"serverless, {shape['ServerlessConfig']['MemorySizeInMB']} MB"
    )
    found = [f"sagemaker:CreateEndpoint: {what}, in {settings.region}"]
    if settings.asynchronous is not None:
        given = settings.asynchronous
        found[0] = found[0].replace("CreateEndpoint: ", "CreateEndpoint for each version, asynchronous: ")
        limits = f"at most {show_seconds(given.wait)} in line and {show_seconds(given.timeout)} at work"
        found.append(
            f"sagemaker:InvokeEndpointAsync for each request, {given.concurrency} at once an instance, {limits}; bodies and answers in S3"
        )
    if settings.autoscale is not None:
        low, high = settings.autoscale.min, settings.autoscale.max
        found.append(f"application-autoscaling: {low} to {high} instances of each version{', woken by an alarm' if low == 0 else ''}")
    if settings.capture is not None:
        stay = "stay" if settings.capture.keep else "are removed once read"
        found.append(f"data capture of {settings.capture.percent} % of what goes to the endpoint; its objects in S3 {stay}")
    return found
