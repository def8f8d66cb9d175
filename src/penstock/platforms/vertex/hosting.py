"""An endpoint as Vertex AI has it: one look at it, and the calls that change it. What takes long answers with an operation to ask for.

Every name is ours, so a call whose answer was lost can be made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.platforms.contract import EndpointSpec, VersionSpec
from penstock.platforms.remote.machines import Machine
from penstock.platforms.remote.told import telling
from penstock.platforms.vertex.google import Google, already, not_there
from penstock.platforms.vertex.machines import machine_spec
from penstock.platforms.vertex.naming import deployed_id, model_name, slot_name
from penstock.platforms.vertex.settings import Settings, labels, store_mark

HEALTH, PORT = "/healthz", 8080
_CPU = "aiplatform.googleapis.com/prediction/online/cpu/utilization"
_GPU = "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle"


@dataclass(frozen=True, slots=True)
class Fleet:
    """Of a deployed model: how many replicas are up, and between which numbers Vertex AI keeps them."""

    id: str
    model: str
    least: int
    most: int
    up: int


@dataclass(frozen=True, slots=True)
class Seen:
    """`fleets` by slot; `split` by slot, in percent. `address`: host of the dedicated endpoint."""

    address: str
    fleets: Mapping[str, Fleet]
    split: Mapping[str, int]


def shares(weights: Mapping[str, float]) -> dict[str, int]:
    """Whole percentages that sum to 100, by largest remainder; equal ones where no weight is above zero."""
    if not weights:
        return {}
    total = sum(weights.values())
    exact = {name: 100.0 * (w / total if total > 0 else 1 / len(weights)) for name, w in weights.items()}
    found = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda n: (found[n] - exact[n], n))[: 100 - sum(found.values())]:
        found[name] += 1
    return found


@dataclass(slots=True)
class Hosting:
    """`store`: the URL of the artifact store that containers read their bundle from; `machine`: what replicas run on."""

    google: Google
    store: str
    machine: Machine
    _missing: set[str] = field(default_factory=set)
    _made: set[str] = field(default_factory=set)  # models that are there: one that waits to be deployed is not asked for again

    def look(self, endpoint: str) -> Seen | None:
        row = self.google.call("EndpointService.GetEndpoint", {"name": self._resource(endpoint)}, not_there)
        return None if row is None else seen_of(row)

    def rows(self) -> dict[str, Seen]:
        """All endpoints of ours by name: one call for a hundred of them."""
        mine = f'labels.penstock_store="{store_mark(self.store)}"'
        request = {"parent": self.google.settings.parent, "filter": mine, "page_size": 100}
        return {row.name.rpartition("/")[2]: seen_of(row) for row in self.google.rows("EndpointService.ListEndpoints", request)}

    def create(self, endpoint: str, name: str) -> None:
        """A dedicated one: only there a single deployed model can be spoken to."""
        row = {"display_name": name[:128], "dedicated_endpoint_enabled": True, "labels": self._labels(endpoint)}
        request = {"parent": self.google.settings.parent, "endpoint_id": endpoint, "endpoint": row}
        self.google.call("EndpointService.CreateEndpoint", request, already)

    def upload(self, endpoint: str, desired: EndpointSpec, version: VersionSpec) -> str:
        """The resource name of the version's model, there after this or a moment later. Idempotent."""
        model = self._model(desired, version)
        id_ = model_name(endpoint, model)
        name = f"{self.google.settings.parent}/models/{id_}"
        if name not in self._made | self._missing and self.google.call("ModelService.GetModel", {"name": name}, not_there) is None:
            self._missing.add(name)
        if name in self._missing:
            request = {"parent": self.google.settings.parent, "model_id": id_, "model": {**model, "labels": self._labels(endpoint)}}
            self.google.call("ModelService.UploadModel", request, already)
        self._missing.discard(name)
        self._made.add(name)
        return name

    def _model(self, desired: EndpointSpec, version: VersionSpec) -> dict[str, Any]:
        settings = self.google.settings
        told = {**settings.environment, **telling(desired, version, self.store)}
        if settings.replica:
            told["PENSTOCK_REPLICA"] = json.dumps(settings.replica)
        return {"display_name": f"{desired.name} {version.version}"[:128], "container_spec": container_spec(settings, told)}

    def deploy(self, endpoint: str, version: VersionSpec, model: str, seen: Seen) -> str:
        """The operation, empty when one of an earlier call is under way. The first model gets all traffic, another none yet."""
        slot, settings = slot_name(version.version, version.bundle), self.google.settings
        least, most = self.counts(version)
        resources: dict[str, Any] = {"machine_spec": machine_spec(self.machine), "min_replica_count": least, "max_replica_count": most}
        auto = settings.autoscale
        metrics = [(_CPU, auto.cpu), (_GPU, auto.gpu)] if auto is not None else []
        resources["autoscaling_metric_specs"] = [{"metric_name": name, "target": target} for name, target in metrics if target]
        row: dict[str, Any] = {"id": deployed_id(slot), "display_name": slot, "model": model, "dedicated_resources": resources}
        if settings.service_account:
            row["service_account"] = settings.service_account
        first = {"traffic_split": {"0": 100}} if not seen.split else {}
        request = {"endpoint": self._resource(endpoint), "deployed_model": row, **first}
        return _operation(self.google.call("EndpointService.DeployModel", request, already))

    def counts(self, version: VersionSpec) -> tuple[int, int]:
        auto = self.google.settings.autoscale
        return (version.replicas, version.replicas) if auto is None else (auto.min, auto.max)

    def scale(self, endpoint: str, fleet: Fleet, counts: tuple[int, int]) -> str:
        resources = {"machine_spec": machine_spec(self.machine), "min_replica_count": counts[0], "max_replica_count": counts[1]}
        mask = {"paths": [f"dedicated_resources.{name}" for name in ("min_replica_count", "max_replica_count")]}
        row = {"id": fleet.id, "dedicated_resources": resources}
        request = {"endpoint": self._resource(endpoint), "deployed_model": row, "update_mask": mask}
        return _operation(self.google.call("EndpointService.MutateDeployedModel", request, busy))

    def undeploy(self, endpoint: str, fleet: Fleet) -> None:
        """Once it has no traffic, or is the last one. One that is being changed is left for the next pass."""
        request = {"endpoint": self._resource(endpoint), "deployed_model_id": fleet.id}
        self.google.call("EndpointService.UndeployModel", request, lambda error: busy(error) or not_there(error))

    def split(self, endpoint: str, wanted: Mapping[str, int], seen: Seen) -> None:
        row = {"name": self._resource(endpoint), "traffic_split": {seen.fleets[slot].id: share for slot, share in wanted.items()}}
        self.google.call("EndpointService.UpdateEndpoint", {"endpoint": row, "update_mask": {"paths": ["traffic_split"]}})

    def outcome(self, operation: str) -> tuple[bool, str]:
        """(whether it is over, why it failed)."""
        found = self.google.call("EndpointService.GetOperation", {"name": operation}, not_there)
        if found is None:
            return True, ""
        return bool(found.done), str(found.error.message) if found.HasField("error") else ""

    def remove(self, endpoint: str) -> bool:
        """False while a model is on its way to it, or from it."""
        return self._deleted("EndpointService.DeleteEndpoint", self._resource(endpoint))

    def sweep(self, endpoint: str, used: set[str]) -> bool:
        """Takes away models of the endpoint that are not `used` (resource names). False while one is still being undeployed."""
        mine = f'labels.penstock_endpoint="{endpoint}"'
        blocked: list[str] = []
        self._made &= used
        for row in list(self.google.rows("ModelService.ListModels", {"parent": self.google.settings.parent, "filter": mine})):
            if row.name not in used and not self._deleted("ModelService.DeleteModel", row.name):
                blocked.append(row.name)
        return not blocked

    def _deleted(self, operation: str, name: str) -> bool:
        """False where it is in use. One that is not there is deleted."""
        blocked: list[Exception] = []

        def known(error: Exception) -> bool:
            blocked.extend([error] if busy(error) else [])
            return bool(blocked) or not_there(error)

        self.google.call(operation, {"name": name}, known)
        return not blocked

    def _resource(self, endpoint: str) -> str:
        return f"{self.google.settings.parent}/endpoints/{endpoint}"

    def _labels(self, endpoint: str) -> dict[str, str]:
        return labels(self.google.settings.labels, {"penstock_endpoint": endpoint, "penstock_store": store_mark(self.store)})


def container_spec(settings: Settings, told: Mapping[str, str]) -> dict[str, Any]:
    """The ModelContainerSpec of a replica that is `told` by its environment what to serve."""
    return {
        "image_uri": settings.image,
        "command": ["penstock"],
        "args": ["serve"],
        "env": [{"name": name, "value": value} for name, value in sorted(told.items())],
        "ports": [{"container_port": PORT}],
        "health_route": HEALTH,
        "invoke_route_prefix": "/*",
    }


def seen_of(row: Any) -> Seen:
    """Of an Endpoint."""
    slots = {one.id: one.display_name for one in row.deployed_models}
    split = {slots[id_]: share for id_, share in row.traffic_split.items() if id_ in slots}
    return Seen(row.dedicated_endpoint_dns, {one.display_name: fleet_of(one) for one in row.deployed_models}, split)


def fleet_of(row: Any) -> Fleet:
    """Of a DeployedModel. One without a status is taken to be whole: it shows only once its deployment succeeded."""
    has = row.dedicated_resources
    up = row.status.available_replica_count if "status" in row else has.min_replica_count
    return Fleet(row.id, row.model, has.min_replica_count, has.max_replica_count, up)


def _operation(answer: Any) -> str:
    return "" if answer is None else str(answer.operation.name)


def busy(error: Exception) -> bool:
    from google.api_core.exceptions import Aborted, FailedPrecondition

    return isinstance(error, FailedPrecondition | Aborted)
