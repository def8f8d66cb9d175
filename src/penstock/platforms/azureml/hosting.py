"""An endpoint as Azure has it: one look at it, what to do next, and the calls that do it.

Of all that its instances are made of a deployment has a digest among its tags: another one, and Azure rolls it over in place.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.core.errors import PlatformDenied
from penstock.platforms.azureml.arm import Answer, Arm, busy, not_there
from penstock.platforms.azureml.bodies import Bodies
from penstock.platforms.azureml.computes import Compute
from penstock.platforms.azureml.environments import HEALTH, SERVING, Environments
from penstock.platforms.azureml.naming import SHAPE, TAG, deployment_name, store_mark
from penstock.platforms.contract import EndpointSpec, VersionSpec

BUSY = ("Creating", "Updating", "Scaling", "Deleting")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Of a deployment: its provisioning state, how many instances it shall have, and the digest of what they are made of."""

    state: str
    capacity: int
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """`score`: the address that answers. Shares in percent."""

    state: str
    deployments: Mapping[str, Fleet]
    traffic: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)
    score: str = ""

    @property
    def mark(self) -> object:
        """What a row of the list tells of it."""
        return self.state, dict(self.traffic), dict(self.mirror)

    @property
    def moving(self) -> bool:
        """Whether a deployment is on its way, which the list does not tell."""
        return any(fleet.state in BUSY for fleet in self.deployments.values())


@dataclass(frozen=True, slots=True)
class Target:
    """What a deployment shall be; `weight` counts beside those of the others, `shape` as in Fleet."""

    version: VersionSpec
    count: int
    weight: float
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """`name`: of the deployment, for those that are about one."""

    do: Literal["create", "remove", "deploy", "scale", "drop", "split"]
    name: str = ""


def decide(
    seen: Seen | None, targets: Mapping[str, Target], crossed: Collection[str], mirror: int = 0, bounds: range | None = None
) -> list[Step]:
    """Steps that may be taken now, at once. `crossed`: deployments that a bridge leads to; where there are `bounds`, Azure counts
    the instances within them.
    """
    if seen is None:
        return [Step("create")] if targets else []
    if seen.state == "Deleting":
        return []
    if seen.state == "Failed" or not (targets or crossed):
        return [Step("remove")]
    steps = []
    for name, target in targets.items():
        fleet = seen.deployments.get(name)
        if fleet is None:
            steps += [Step("deploy", name)] if seen.state != "Creating" else []
        elif fleet.state == "Failed":
            steps.append(Step("drop", name))
        elif fleet.state == "Succeeded" and fleet.shape != target.shape:
            steps.append(Step("deploy", name))
        elif fleet.state == "Succeeded" and not _counted(fleet, target, bounds):
            steps.append(Step("scale", name))
    traffic, mirrored = split(targets, serving(seen), mirror)
    if seen.state not in BUSY and (_live(seen.traffic), _live(seen.mirror)) != (traffic, mirrored):
        steps.append(Step("split"))
    for name, fleet in seen.deployments.items():
        idle = name not in targets and name not in crossed and not seen.traffic.get(name) and not seen.mirror.get(name)
        if idle and fleet.state not in BUSY:
            steps.append(Step("drop", name))
    return steps


def serving(seen: Seen) -> set[str]:
    """Deployments that can be asked."""
    return {name for name, fleet in seen.deployments.items() if fleet.state in ("Succeeded", "Updating", "Scaling")}


def split(targets: Mapping[str, Target], ready: Collection[str], mirror: int = 0) -> tuple[dict[str, int], dict[str, int]]:
    """Whole percents by weight over those that are ready, summing to 100 or none (largest remainders); and what is mirrored to whom.

    The first version without a share gets `mirror` percent of the others' requests as well.
    """
    weights = {name: target.weight for name, target in targets.items() if name in ready}
    total = sum(weights.values())
    if not weights:
        return {}, {}
    if total <= 0:
        weights, total = dict.fromkeys(weights, 1.0), float(len(weights))
    exact = {name: 100 * weight / total for name, weight in weights.items()}
    shares = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda one: (shares[one] - exact[one], one))[: 100 - sum(shares.values())]:
        shares[name] += 1
    idle = next((name for name in sorted(shares) if not shares[name]), None)
    return _live(shares), {idle: mirror} if idle is not None and mirror else {}


def _live(shares: Mapping[str, int]) -> dict[str, int]:
    return {name: share for name, share in shares.items() if share}


def _counted(fleet: Fleet, target: Target, bounds: range | None) -> bool:
    return fleet.capacity == target.count if bounds is None else fleet.capacity in bounds


@dataclass(slots=True)
class Hosting:
    """`store`, `machine`, `replica`: as in Bodies."""

    arm: Arm
    store: str
    machine: str
    replica: Mapping[str, Any] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    _environments: Environments = field(init=False)
    _compute: Compute = field(init=False)
    _bodies: Bodies = field(init=False)
    _endpoints: dict[str, str] = field(default_factory=dict)  # by scoring address
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict)  # by scoring address; until when
    _halves: dict[str, Answer] = field(default_factory=dict)  # of looks whose second call was refused: the next asks for that alone

    def __post_init__(self) -> None:
        settings = self.arm.settings
        self._environments, self._compute = Environments(self.arm), Compute(self.arm)
        environment = self._environments.id_of(SERVING)
        self._bodies = Bodies(settings, self.arm.workspace, self.store, self.machine, environment, self.replica)

    @property
    def bounds(self) -> range | None:
        """Of instances that Azure counts; on Kubernetes it does not say how many it wants."""
        scale = self.arm.settings.autoscale
        if scale is None:
            return None
        return range(scale.min, scale.max + 1) if self.arm.settings.kubernetes is None else range(sys.maxsize)

    def look(self, endpoint: str) -> Seen | None:
        found = self._halves.get(endpoint) or self.arm.call("GET", f"onlineEndpoints/{endpoint}", known=not_there)
        if found is None:
            return None
        properties, self._halves[endpoint] = found.body["properties"], found
        rows = {
            row["name"]: Fleet(
                row["properties"]["provisioningState"],
                int((row.get("sku") or {}).get("capacity") or 1),
                (row.get("tags") or {}).get(SHAPE, ""),
            )
            for row in self.arm.pages(f"onlineEndpoints/{endpoint}/deployments", not_there)  # it may just have gone
        }
        self._endpoints[properties.get("scoringUri", "")] = endpoint
        del self._halves[endpoint]
        return _seen(properties, rows)

    def rows(self) -> dict[str, object]:
        """Marks of all endpoints of this project, by name: one call for a page of them."""
        mine = f"{TAG}={store_mark(self.store)}"
        found = self.arm.pages("onlineEndpoints", tags=mine, count="100")
        return {row["name"]: _seen(row["properties"], {}).mark for row in found}

    def targets(self, desired: EndpointSpec) -> dict[str, Target]:
        """By deployment."""
        found = {}
        for version in desired.versions:
            if version.replicas > 0:
                weight = float(version.replicas) if version.weight is None else version.weight
                name = deployment_name(version.version, version.bundle)
                found[name] = Target(version, self._count(version.replicas), weight, self._bodies.shape(desired, version))
        return found

    def create(self, endpoint: str) -> str:
        self._compute.require()
        return self._put_endpoint(endpoint, {}, {})

    def split(self, endpoint: str, traffic: Mapping[str, int], mirror: Mapping[str, int]) -> None:
        self._put_endpoint(endpoint, traffic, mirror)

    def deploy(self, endpoint: str, name: str, desired: EndpointSpec, target: Target) -> str:
        """Begins to make or to roll over a deployment; where Azure tells what became of it."""
        self._compute.require()
        self._environments.of(SERVING)
        body = self._bodies.deployment(desired, target.version, target.count)
        answer = self.arm.call("PUT", f"onlineEndpoints/{endpoint}/deployments/{name}", body, busy)
        return "" if answer is None else answer.operation

    def scale(self, endpoint: str, name: str, count: int) -> None:
        body = {"sku": {"name": "Default", "capacity": count}}
        self.arm.call("PATCH", f"onlineEndpoints/{endpoint}/deployments/{name}", body, lambda refusal: not_there(refusal) or busy(refusal))

    def drop(self, endpoint: str, name: str) -> None:
        self.arm.call("DELETE", f"onlineEndpoints/{endpoint}/deployments/{name}", known=lambda refusal: not_there(refusal) or busy(refusal))

    def remove(self, endpoint: str) -> bool:
        """Its deployments go with it. False when something of it is being made or changed: Azure deletes it only once that is over."""
        gone = self.arm.call("DELETE", f"onlineEndpoints/{endpoint}", known=lambda refusal: not_there(refusal) or busy(refusal))
        return gone is not None or self.arm.call("GET", f"onlineEndpoints/{endpoint}", known=not_there) is None

    def ask(self, score: str, name: str) -> str | None:
        """The name of whichever instance of a deployment answers; None where none does now."""
        try:
            answer = self.arm.score(score, name, HEALTH, lambda refusal: refusal.status in (404, 424, 502, 503), self._token(score))
        except PlatformDenied:
            self._tokens.pop(score, None)  # it may be of an endpoint that was here before
            raise
        return None if answer is None else str(answer.body["id"])

    def _token(self, score: str) -> str:
        """The endpoint's own on Kubernetes; empty where Entra's serves."""
        if self.arm.settings.kubernetes is None:
            return ""
        if score not in self._tokens or self._tokens[score][1] <= self.clock():
            self._tokens[score] = self.arm.token_of(self._endpoints[score])
        return self._tokens[score][0]

    def reason(self, operation: str) -> str:
        """Why a change failed; empty while it runs, and where Azure says nothing."""
        told = self.arm.operation(operation) if operation else None
        if told is None or told.get("status") not in ("Failed", "Canceled"):
            return ""
        error = told.get("error") or {}
        return f"{error.get('message', 'Azure gave no reason')} ({error.get('code', told['status'])})"

    def _put_endpoint(self, endpoint: str, traffic: Mapping[str, int], mirror: Mapping[str, int]) -> str:
        answer = self.arm.call("PUT", f"onlineEndpoints/{endpoint}", self._bodies.endpoint(traffic, mirror), busy)
        return "" if answer is None else answer.operation

    def _count(self, replicas: int) -> int:
        bounds = self.arm.settings.autoscale
        return replicas if bounds is None else min(max(replicas, bounds.min), bounds.max)


def _seen(properties: Mapping[str, Any], rows: Mapping[str, Fleet]) -> Seen:
    shares = (properties.get("traffic") or {}, properties.get("mirrorTraffic") or {})
    return Seen(properties["provisioningState"], rows, *shares, score=properties.get("scoringUri", ""))


def order(steps: Sequence[Step]) -> list[Step]:
    """New deployments before shares, shares before what goes: so nobody is without an answer."""
    rank = {name: number for number, name in enumerate(("create", "deploy", "scale", "split", "drop", "remove"))}
    return sorted(steps, key=lambda step: rank[step.do])
