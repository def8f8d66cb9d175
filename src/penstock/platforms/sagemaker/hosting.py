"""An endpoint as SageMaker has it: one look at it, what to do next, and the calls that do it.

Models and endpoint configurations are named by their content, so creating one twice is creating it once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.platforms.contract import EndpointSpec, VersionSpec
from penstock.platforms.remote.container import HEALTH
from penstock.platforms.remote.told import telling
from penstock.platforms.sagemaker.aws import Aws, already, not_there
from penstock.platforms.sagemaker.capturing import own_id
from penstock.platforms.sagemaker.naming import config_name, model_name, variant_name
from penstock.platforms.sagemaker.settings import InstanceScaling, network, patience_of, store_mark, tags

_SHAPES = ("InstanceType", "ServerlessConfig")
PREFIX = "penstock-"
BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
Step = Literal["nothing", "wait", "create", "update", "scale", "remove"]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Of a variant: the instances it has, those it is on its way to. None: it is serverless."""

    weight: float
    current: int | None
    desired: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """`reason`: why the last change did not come about; `modified`: when it was changed last, as the service tells."""

    status: str
    config: str
    variants: Mapping[str, Fleet]
    reason: str = ""
    modified: str = ""

    @property
    def mark(self) -> tuple[str, str]:
        """What a row of the list tells of it."""
        return self.status, self.modified


@dataclass(frozen=True, slots=True)
class Target:
    """What a variant shall be. `shape`: what it runs on, as the service says it."""

    model: str
    shape: Mapping[str, Any]
    count: int
    weight: float


def decide(seen: Seen | None, config: str, targets: Mapping[str, Target], bounds: InstanceScaling | None = None) -> Step:
    """The one next step. `config`: the name of the configuration that holds just `targets`; within `bounds` AWS counts instances."""
    if seen is None:
        return "create" if targets else "nothing"
    if seen.status in BUSY:
        return "wait"
    if not targets or seen.status == "Failed":
        return "remove"
    if seen.config != config:
        return "update"
    same = all(_is_as(seen.variants.get(name), target, bounds) for name, target in targets.items())
    return "nothing" if same else "scale"


def _is_as(fleet: Fleet | None, target: Target, bounds: InstanceScaling | None) -> bool:
    if fleet is None or abs(fleet.weight - target.weight) >= 1e-6:
        return False
    if fleet.desired is None:
        return True
    return fleet.desired == target.count if bounds is None else bounds.min <= fleet.desired <= bounds.max


@dataclass(slots=True)
class Hosting:
    """`store`: the URL of the artifact store that containers read their bundle from; `shape` as in Target.

    `beside`: members of the configuration of an endpoint beside its variants.
    """

    aws: Aws
    store: str
    shape: Mapping[str, Any]
    beside: Callable[[str], Mapping[str, Any]] = lambda _: {}
    _configs: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    _made: set[str] = field(default_factory=set)  # models and configurations: they are asked for once

    def look(self, endpoint: str) -> Seen | None:
        found = self.aws.call("sagemaker:DescribeEndpoint", not_there, EndpointName=endpoint)
        if found is None:
            return None
        rows = found.get("ProductionVariants", ())
        variants = {
            row["VariantName"]: Fleet(row.get("DesiredWeight", 1.0), row.get("CurrentInstanceCount"), row.get("DesiredInstanceCount"))
            for row in rows
        }
        told = (found.get("FailureReason", ""), str(found["LastModifiedTime"]))
        return Seen(found["EndpointStatus"], found["EndpointConfigName"], variants, *told)

    def rows(self) -> dict[str, tuple[str, str]]:
        """Marks of all endpoints of ours, by name: one call for a hundred of them."""
        found = self.aws.pages("sagemaker:ListEndpoints", "Endpoints", NameContains=PREFIX, MaxResults=100)
        return {row["EndpointName"]: (row["EndpointStatus"], str(row["LastModifiedTime"])) for row in found}

    def targets(self, endpoint: str, desired: EndpointSpec) -> dict[str, Target]:
        """By variant. The service wants one weight above zero."""
        wanted = [version for version in desired.versions if version.replicas > 0]
        weights = [float(v.replicas) if v.weight is None else v.weight for v in wanted]
        if wanted and sum(weights) <= 0:
            weights = [1.0] * len(wanted)
        return {
            variant_name(v.version, v.bundle): Target(
                self._model(endpoint, desired, v)["ModelName"], self.shape, self._count(v.replicas), weight
            )
            for v, weight in zip(wanted, weights, strict=True)
        }

    def _count(self, replicas: int) -> int:
        bounds = self.aws.settings.autoscale
        return replicas if bounds is None else min(max(replicas, bounds.min), bounds.max)

    def kept(self, seen: Seen, variant: str) -> Target:
        """A variant that stays for a while though nobody wants it any more."""
        row, fleet = self._rows(seen.config)[variant], seen.variants[variant]
        return Target(row["ModelName"], {name: row[name] for name in _SHAPES if name in row}, max(1, fleet.desired or 1), fleet.weight)

    def config(self, endpoint: str, targets: Mapping[str, Target]) -> str:
        variants = ((name, target.model, dict(target.shape)) for name, target in sorted(targets.items()))
        return config_name(endpoint, *variants, *filter(None, [dict(self.beside(endpoint))]))

    def create(self, endpoint: str, config: str) -> None:
        more = {"EndpointName": endpoint, "EndpointConfigName": config, "Tags": self._tags(endpoint)}
        self.aws.call("sagemaker:CreateEndpoint", already, **more)

    def update(self, endpoint: str, config: str) -> None:
        self.aws.call("sagemaker:UpdateEndpoint", _busy, EndpointName=endpoint, EndpointConfigName=config)

    def scale(self, endpoint: str, targets: Mapping[str, Target]) -> None:
        rows: list[dict[str, Any]] = [{"VariantName": name, "DesiredWeight": target.weight} for name, target in targets.items()]
        if self.aws.settings.autoscale is None and self.aws.settings.serverless is None:
            rows = [{**row, "DesiredInstanceCount": targets[row["VariantName"]].count} for row in rows]
        more = {"EndpointName": endpoint, "DesiredWeightsAndCapacities": rows}
        self.aws.call("sagemaker:UpdateEndpointWeightsAndCapacities", _busy, **more)

    def remove(self, endpoint: str) -> bool:
        """False when it is being made or changed: the service deletes it only once that is over."""
        gone = self.aws.call("sagemaker:DeleteEndpoint", lambda c, m: not_there(c, m) or _busy(c, m), EndpointName=endpoint)
        return gone is not None or self.aws.call("sagemaker:DescribeEndpoint", not_there, EndpointName=endpoint) is None

    def prepare(self, endpoint: str, desired: EndpointSpec, config: str, targets: Mapping[str, Target]) -> None:
        """The models and the configuration that are asked for next."""
        for version in desired.versions:
            if version.replicas > 0:
                model = self._model(endpoint, desired, version)
                self._make("sagemaker:CreateModel", model["ModelName"], **model, Tags=self._tags(endpoint))
        rows = [
            {
                "VariantName": name,
                "ModelName": target.model,
                "InitialVariantWeight": target.weight,
                **target.shape,
                **({"InitialInstanceCount": max(1, target.count)} if "InstanceType" in target.shape else {}),
            }
            for name, target in sorted(targets.items())
        ]
        more = {"EndpointConfigName": config, "ProductionVariants": rows, **self.beside(endpoint), "Tags": self._tags(endpoint)}
        self._make("sagemaker:CreateEndpointConfig", config, **more)

    def _make(self, operation: str, name: str, **parameters: Any) -> None:
        if name not in self._made:
            self.aws.call(operation, already, **parameters)
            self._made.add(name)

    def sweep(self, endpoint: str, config: str | None, targets: Mapping[str, Target]) -> None:
        """Takes away configurations and models of the endpoint but `config` and the models of `targets`, which it holds."""
        used = {target.model for target in targets.values()}
        self._made = {name for name in self._made if not name.startswith(f"{endpoint}-")}
        for row in list(self.aws.pages("sagemaker:ListEndpointConfigs", "EndpointConfigs", NameContains=f"{endpoint}-c-", MaxResults=100)):
            if row["EndpointConfigName"] != config:
                self.aws.call("sagemaker:DeleteEndpointConfig", not_there, EndpointConfigName=row["EndpointConfigName"])
        for row in list(self.aws.pages("sagemaker:ListModels", "Models", NameContains=f"{endpoint}-m-", MaxResults=100)):
            if row["ModelName"] not in used:
                self.aws.call("sagemaker:DeleteModel", not_there, ModelName=row["ModelName"])

    def ask(self, endpoint: str, variant: str) -> str | None:
        """The name of whichever instance answers; None where none does now."""
        mine = own_id(store_mark(self.store))
        asked = {"EndpointName": endpoint, "TargetVariant": variant, "CustomAttributes": f"path={HEALTH}", "InferenceId": mine}
        answer = self.aws.call("sagemaker-runtime:InvokeEndpoint", _not_now, ContentType="application/json", Body=b"{}", **asked)
        return None if answer is None else str(json.loads(answer["Body"].read())["id"])

    def _model(self, endpoint: str, desired: EndpointSpec, version: VersionSpec) -> dict[str, Any]:
        settings = self.aws.settings
        environment = {**settings.environment, **telling(desired, version, self.store)}
        if more := {**patience_of(settings), **settings.replica}:
            environment["PENSTOCK_REPLICA"] = json.dumps(more)
        container = {"Image": settings.image, "Environment": environment}
        more = {"PrimaryContainer": container, "ExecutionRoleArn": settings.role, **network(settings)}
        return {"ModelName": model_name(endpoint, more), **more}

    def _rows(self, config: str) -> dict[str, Mapping[str, Any]]:
        if config not in self._configs:
            found = self.aws.call("sagemaker:DescribeEndpointConfig", not_there, EndpointConfigName=config) or {}
            self._configs[config] = {row["VariantName"]: row for row in found.get("ProductionVariants", ())}
        return self._configs[config]

    def _tags(self, endpoint: str) -> list[dict[str, str]]:
        return tags(self.aws.settings.tags, {"penstock-endpoint": endpoint, "penstock-store": store_mark(self.store)})


def _not_now(code: str, message: str) -> bool:  # noqa: ARG001 (as every `known` has it)
    return code in ("ValidationError", "ModelError", "ServiceUnavailable")


def _busy(code: str, message: str) -> bool:
    return code == "ValidationException" and ("in-progress" in message or "in status" in message)
