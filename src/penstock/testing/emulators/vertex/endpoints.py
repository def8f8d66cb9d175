"""Endpoints and the models deployed to them: operations that end when replicas are up or gone; a traffic split that sums to 100.

A deployed model shows only once its deployment succeeded. Source: EndpointService of the API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.instances import gone, stop
from penstock.testing.emulators.vertex import models, operations
from penstock.testing.emulators.vertex.errors import VertexError, invalid, not_found, over_quota, precondition
from penstock.testing.emulators.vertex.fleet import Deployed, tend
from penstock.testing.emulators.vertex.listing import matcher, page
from penstock.testing.emulators.vertex.machine_types import refused
from penstock.testing.emulators.vertex.messages import v1
from penstock.testing.emulators.vertex.project import Project, check_labels, stamp

KIND = models.ENDPOINTS
_NAME, _NUMBER = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"), re.compile(r"[1-9][0-9]{0,8}")
_MUTABLE = ("display_name", "description", "labels", "traffic_split")
_SCALED = "dedicated_resources."


@dataclass(slots=True)
class Endpoint:
    """`deployed`: by id, those on their way too. `busy`: ids with an operation under way."""

    row: Any
    deployed: dict[str, Deployed] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)


def create(project: Project, request: Any) -> Any:
    project.check_parent(request.parent)
    id_, row = request.endpoint_id, request.endpoint
    check_labels(row.labels)
    if id_ and not (_NAME.fullmatch(id_) or _NUMBER.fullmatch(id_)):
        raise invalid([("endpoint_id", f"The endpoint id {id_!r} is not valid.")])
    if row.traffic_split:
        raise invalid([("endpoint.traffic_split", "It must be empty: no model is deployed yet.")])
    name = f"{project.parent}/{KIND}/{id_ or project.new_id()}"
    if name in project.of(KIND):
        raise VertexError("ALREADY_EXISTS", f"Endpoint {name} already exists.")
    row.name = name
    row.create_time = row.update_time = stamp(project.clock())
    if row.dedicated_endpoint_enabled:
        row.dedicated_endpoint_dns = project.dns
    project.of(KIND)[name] = Endpoint(row)
    return operations.at_once(project, name, v1.CreateEndpointOperationMetadata(), row)


def shown(project: Project, endpoint: Endpoint) -> Any:
    for one in endpoint.deployed.values():
        if one.settled:
            tend(project, one, replace=True)
    endpoint.row.deployed_models = [one.row for one in endpoint.deployed.values() if one.settled]
    return endpoint.row


def get(project: Project, request: Any) -> Any:
    operations.settle_all(project)
    return shown(project, _named(project, request.name))


def list_(project: Project, request: Any) -> Any:
    project.check_parent(request.parent)
    operations.settle_all(project)
    fits = matcher(request.filter, _value)
    rows = [shown(project, one) for one in project.of(KIND).values() if fits(one.row)]
    found, token = page(rows, request)
    return v1.ListEndpointsResponse(endpoints=found, next_page_token=token)


def _value(row: Any, field_: str) -> str | None:
    if field_.startswith("labels."):
        return dict(row.labels).get(field_.removeprefix("labels."))
    if field_ in ("display_name", "endpoint"):
        return str(row.display_name if field_ == "display_name" else row.name.rpartition("/")[2])
    raise VertexError("INVALID_ARGUMENT", f"Invalid filter: {field_} is not supported.")


def update(project: Project, request: Any) -> Any:
    endpoint, paths = _named(project, request.endpoint.name), list(request.update_mask.paths)
    wrong = [("update_mask", f"{path} cannot be updated.") for path in paths if path not in _MUTABLE]
    if wrong or not paths:
        raise invalid(wrong or [("update_mask", "Required field is not set.")])
    if "traffic_split" in paths:
        _split(endpoint, dict(request.endpoint.traffic_split), {})
    for path in paths:
        setattr(endpoint.row, path, getattr(request.endpoint, path))
    check_labels(endpoint.row.labels)
    endpoint.row.update_time = stamp(project.clock())
    return shown(project, endpoint)


def _split(endpoint: Endpoint, split: Mapping[str, int], new: Mapping[str, str]) -> dict[str, int]:
    """The split as it will stand; `new`: what "0" stands for. Raises VertexError."""
    known = {id_ for id_, one in endpoint.deployed.items() if one.settled} | set(new)
    unknown = sorted(set(split) - known)
    if unknown:
        raise invalid([("traffic_split", f"There are no deployed models {unknown} at this endpoint.")])
    if any(not 0 <= share <= 100 for share in split.values()) or (split and sum(split.values()) != 100):
        raise invalid([("traffic_split", f"The traffic percentages must sum to 100, not {sum(split.values())}.")])
    return {new.get(id_, id_): share for id_, share in split.items()}


def delete(project: Project, request: Any) -> Any:
    operations.settle_all(project)
    endpoint = _named(project, request.name)
    if endpoint.deployed:
        raise precondition(f"Endpoint {request.name} still has deployed models {sorted(endpoint.deployed)}; undeploy them first.")
    del project.of(KIND)[request.name]
    return operations.at_once(project, request.name, v1.DeleteOperationMetadata(), operations.nothing())


def deploy(project: Project, request: Any) -> Any:
    operations.settle_all(project)
    endpoint, row = _named(project, request.endpoint), request.deployed_model
    model = models.named(project, row.model)
    if not row.id:
        row.id = project.new_id()[-10:].lstrip("0")
    _check(project, endpoint, row, model)
    split = _split(endpoint, dict(request.traffic_split), {"0": row.id}) if request.traffic_split else None
    row.create_time, row.model_version_id = stamp(project.clock()), model.version_id
    row.model = model.name
    row.dedicated_resources.max_replica_count = row.dedicated_resources.max_replica_count or row.dedicated_resources.min_replica_count
    deployed = endpoint.deployed[row.id] = Deployed(row, model, project.clock())
    endpoint.busy.add(row.id)

    def advance() -> Any:
        return _deploying(project, endpoint, deployed, split)

    return operations.begin(project, request.endpoint, v1.DeployModelOperationMetadata(), advance)


def _check(project: Project, endpoint: Endpoint, row: Any, model: Any) -> None:
    resources, path = row.dedicated_resources, "deployed_model.dedicated_resources"
    if row.id in endpoint.deployed:
        raise VertexError("ALREADY_EXISTS", f"Deployed model {row.id} already exists at {endpoint.row.name}.")
    wrong = [] if re.fullmatch(r"[0-9]{1,10}", row.id) else [("deployed_model.id", "It should be 1-10 digits.")]
    if model.container_spec.invoke_route_prefix and not endpoint.row.dedicated_endpoint_enabled:
        wrong.append(("deployed_model.model", "A model with invoke_route_prefix can only be deployed to a dedicated endpoint."))
    why = refused(resources.machine_spec, serving=True)
    if why is not None:
        wrong.append((f"{path}.machine_spec.{why[0]}", why[1]))
    if resources.max_replica_count and resources.max_replica_count < resources.min_replica_count:
        wrong.append((f"{path}.max_replica_count", "It must not be less than min_replica_count."))
    if wrong:
        raise invalid(wrong)
    project.check_account(row.service_account)
    _check_room(project, max(resources.max_replica_count, resources.min_replica_count))


def _check_room(project: Project, replicas: int) -> None:
    metric = "custom_model_serving_replicas"
    if replicas > project.quotas.get(metric, replicas):
        raise over_quota(metric)


def _deploying(project: Project, endpoint: Endpoint, deployed: Deployed, split: dict[str, int] | None) -> Any:
    id_ = deployed.row.id
    if deployed.row.dedicated_resources.machine_spec.machine_type in project.dry:
        words = f"Machine type temporarily unavailable in {project.region}."
        raise _given_up(project, endpoint, deployed, VertexError("RESOURCE_EXHAUSTED", words))
    if project.clock() - deployed.since < project.start_s:
        return None
    tend(project, deployed, replace=False)
    if deployed.lost:
        words = "Model server exited unexpectedly. Model server logs can be found at https://console.cloud.google.com/logs/viewer"
        raise _given_up(project, endpoint, deployed, VertexError("INVALID_ARGUMENT", f"{words} ({deployed.lost})."))
    if not deployed.full:
        return None
    deployed.settled = True
    endpoint.busy.discard(id_)
    if split is not None:
        endpoint.row.traffic_split = split
    return v1.DeployModelResponse(deployed_model=deployed.row)


def _given_up(project: Project, endpoint: Endpoint, deployed: Deployed, error: VertexError) -> VertexError:
    stop(project.processes, deployed.replicas)
    endpoint.deployed.pop(deployed.row.id, None)
    endpoint.busy.discard(deployed.row.id)
    return error


def undeploy(project: Project, request: Any) -> Any:
    operations.settle_all(project)
    endpoint, id_ = _named(project, request.endpoint), request.deployed_model_id
    deployed = _idle(endpoint, id_)
    split = dict(request.traffic_split) or dict(endpoint.row.traffic_split)
    last = [one for one in endpoint.deployed.values() if one.settled] == [deployed]
    if split.get(id_, 0) and not last:
        raise precondition(f"Deployed model {id_} still gets {split[id_]} % of the traffic; give that to others first.")
    if request.traffic_split:
        _split(endpoint, split, {})
    endpoint.row.traffic_split = {} if last else {other: share for other, share in split.items() if other != id_}
    endpoint.busy.add(id_)
    deployed.settled = False
    stop(project.processes, deployed.replicas)

    def advance() -> Any:
        if not gone(project.processes, deployed.replicas):
            return None
        endpoint.deployed.pop(id_, None)
        endpoint.busy.discard(id_)
        return v1.UndeployModelResponse()

    return operations.begin(project, request.endpoint, v1.UndeployModelOperationMetadata(), advance)


def mutate(project: Project, request: Any) -> Any:
    operations.settle_all(project)
    endpoint, row = _named(project, request.endpoint), request.deployed_model
    deployed = _idle(endpoint, row.id)
    for path in request.update_mask.paths:
        if path not in (f"{_SCALED}min_replica_count", f"{_SCALED}max_replica_count", f"{_SCALED}required_replica_count"):
            raise invalid([("update_mask", f"{path} cannot be mutated.")])
    has = deployed.row.dedicated_resources
    names = [path.removeprefix(_SCALED) for path in request.update_mask.paths]
    wanted = {name: getattr(row.dedicated_resources, name) for name in names}
    least, most = wanted.get("min_replica_count", has.min_replica_count), wanted.get("max_replica_count", has.max_replica_count)
    if not 1 <= least <= most:
        raise invalid([("deployed_model", f"min_replica_count ({least}) must be 1 at least and at most max_replica_count ({most}).")])
    _check_room(project, most)
    for name, value in wanted.items():
        setattr(has, name, value)
    endpoint.busy.add(row.id)

    def advance() -> Any:
        tend(project, deployed, replace=True)
        if not deployed.full:
            return None
        endpoint.busy.discard(row.id)
        return v1.MutateDeployedModelResponse(deployed_model=deployed.row)

    return operations.begin(project, request.endpoint, v1.MutateDeployedModelOperationMetadata(), advance)


def _idle(endpoint: Endpoint, id_: str) -> Deployed:
    if id_ in endpoint.busy:
        raise precondition(f"Deployed model {id_} has an operation under way.")
    if id_ not in endpoint.deployed:
        raise not_found("DeployedModel", f"{endpoint.row.name}/deployedModels/{id_}")
    return endpoint.deployed[id_]


def _named(project: Project, name: str) -> Endpoint:
    endpoint: Endpoint | None = project.of(KIND).get(name)
    if endpoint is None:
        raise not_found("Endpoint", name)
    return endpoint
