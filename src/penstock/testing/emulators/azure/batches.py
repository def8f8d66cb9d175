"""Batch endpoints and their deployments of pipeline components: Creating → Succeeded; invoked, a pipeline job whose steps are commands.

Source: REST reference; "Create jobs and input data for batch endpoints"; "How to deploy pipelines with batch endpoints". A deployment of a
model is refused, as is an endpoint's default deployment. Names of jobs are the service's own.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.azure import components, jobs
from penstock.testing.emulators.azure.endpoints import NAME
from penstock.testing.emulators.azure.errors import ArmError, conflict, invalid, not_found, user_error
from penstock.testing.emulators.azure.workspace import ID, REGION, Operation, Workspace, shown

KIND = "batchEndpoints"
_SETTINGS = ("default_compute", "continue_on_step_failure", "force_rerun", "default_datastore")


@dataclass(slots=True)
class Made:
    """An endpoint or a deployment."""

    body: dict[str, Any]
    created: float
    operation: Operation
    state: str = "Creating"
    deployments: dict[str, Made] = field(default_factory=dict)


def put(workspace: Workspace, name: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any], Operation]:
    workspace.schemas.check("workspaces_batchEndpoints", body)
    if not NAME.fullmatch(name):
        raise invalid(f"Endpoint name {name!r} is not valid: 3 to 32 letters, digits and '-', from a letter to a letter or digit.")
    if str(body["location"]).lower() != REGION or body["properties"]["authMode"] != "AADToken":
        raise invalid("A batch endpoint lies in the workspace's region and its authMode is AADToken.")
    if (body["properties"].get("defaults") or {}).get("deploymentName"):
        raise invalid("Not emulated: default deployments.")
    if len(workspace.of(KIND)) >= workspace.most_endpoints:
        raise invalid(f"The limit of {workspace.most_endpoints} endpoints in this subscription and region was reached.")
    return _put(workspace, workspace.of(KIND), name, body, lambda made: _shown(workspace, name, made))


def put_deployment(workspace: Workspace, endpoint: str, name: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any], Operation]:
    workspace.schemas.check("workspaces_batchEndpoints_deployments", body)
    parent = named(workspace, endpoint)
    if parent.state != "Succeeded":
        raise conflict(f"The endpoint {endpoint} is in state {parent.state}.")
    if not NAME.fullmatch(name):
        raise invalid(f"Deployment name {name!r} is not valid.")
    told = body["properties"].get("deploymentConfiguration") or {}
    if told.get("deploymentConfigurationType") != "PipelineComponent":
        raise invalid("Not emulated: deployments other than of pipeline components.")
    if components.spec_of(workspace, told["componentId"]["assetId"])["type"] != "pipeline":
        raise user_error("The component of a deployment must be a pipeline.")
    settings = told.get("settings") or {}
    if unknown := [key for key in settings if key not in _SETTINGS]:
        raise user_error(f"Unknown setting {unknown[0]!r}.")
    if settings.get("default_compute") not in ("serverless", *workspace.clusters):
        raise user_error(f"Unknown compute target '{settings.get('default_compute')}'.")
    return _put(workspace, parent.deployments, name, body, lambda made: _shown_deployment(endpoint, name, made))


def _put(workspace: Workspace, place: dict[str, Made], name: str, body: Mapping[str, Any], show: Any) -> tuple[int, Any, Operation]:
    old = place.get(name)
    if old is not None and old.state != "Succeeded":
        raise conflict(f"{name} is being {old.state.lower()}; wait until that is over.")
    made = Made(dict(body), workspace.clock(), workspace.operation(), deployments=old.deployments if old is not None else {})
    place[name] = made
    return 200 if old is not None else 201, show(made), made.operation


def get(workspace: Workspace, name: str) -> dict[str, Any]:
    return _shown(workspace, name, named(workspace, name))


def get_deployment(workspace: Workspace, endpoint: str, name: str) -> dict[str, Any]:
    made = named(workspace, endpoint).deployments.get(name)
    if made is None:
        raise not_found("batch deployment", f"{endpoint}/{name}")
    return _shown_deployment(endpoint, name, made)


def rows(workspace: Workspace, query: Mapping[str, str]) -> list[dict[str, Any]]:
    tags = [tag for tag in query.get("tags", "").split(",") if tag]
    found = [(name, made) for name, made in workspace.of(KIND).items() if all(tag in (made.body.get("tags") or {}) for tag in tags)]
    return [_shown(workspace, name, made) for name, made in found]


def delete(workspace: Workspace, name: str) -> Operation | None:
    """With its deployments, at once; what runs by it runs on. None: it is not there."""
    made: Made | None = workspace.of(KIND).get(name)
    if made is None:
        return None
    settle(workspace, made)
    if "Creating" in (made.state, *(one.state for one in made.deployments.values())):
        raise conflict(f"The endpoint {name} is being changed; wait until that is over.")
    del workspace.of(KIND)[name]
    operation = workspace.operation()
    operation.end()
    return operation


def named(workspace: Workspace, name: str) -> Made:
    made: Made | None = workspace.of(KIND).get(name)
    if made is None:
        raise not_found("batch endpoint", name)
    settle(workspace, made)
    return made


def settle(workspace: Workspace, made: Made) -> None:
    for one in (made, *made.deployments.values()):
        if one.state == "Creating" and workspace.clock() - one.created >= workspace.start_s:
            one.state = "Succeeded"
            one.operation.end()


def invoke(workspace: Workspace, name: str, deployment: str, body: bytes) -> dict[str, Any]:
    """A new pipeline job. Raises ArmError."""
    endpoint: Made | None = workspace.of(KIND).get(name)
    if endpoint is None:
        raise ArmError(404, "NotFound", f"Batch endpoint {name} not found.")
    settle(workspace, endpoint)
    made = endpoint.deployments.get(deployment)
    if made is None or made.state != "Succeeded":
        raise user_error(f"The deployment {deployment!r} of batch endpoint {name} is not there, or not ready.")
    told = made.body["properties"]["deploymentConfiguration"]
    spec = components.spec_of(workspace, told["componentId"]["assetId"])
    try:
        given = json.loads(body)["properties"]["InputData"]
        values = {key: str(row["Value"]) for key, row in given.items() if row["JobInputType"] == "Literal"}
    except (ValueError, KeyError, TypeError):
        raise user_error('The body must be {"properties": {"InputData": {NAME: {"JobInputType": "Literal", "Value": …}}}}.') from None
    if set(values) != set(spec.get("inputs") or {}):
        raise user_error(f"The job needs the inputs {sorted(spec.get('inputs') or {})}.")
    now, id_ = workspace.clock(), f"batchjob-{secrets.token_hex(8)}"
    inputs = {key: {"jobInputType": "literal", "value": value} for key, value in values.items()}
    tags, settings = dict(told.get("tags") or {}), dict(told.get("settings") or {})
    properties = {"jobType": "Pipeline", "inputs": inputs, "tags": tags, "settings": settings}
    job = workspace.of(jobs.KIND)[id_] = jobs.Job(id_, properties, now, now)
    job.moved = lambda workspace, job: _moved(workspace, job, spec, values)
    jobs.settle(workspace, job)
    return {"id": f"{ID}/batchEndpoints/{name}/jobs/{id_}", "name": id_, "properties": {"status": job.status, "tags": tags}}


def _moved(workspace: Workspace, job: jobs.Job, spec: Mapping[str, Any], values: Mapping[str, str]) -> None:
    """Steps without needs of each other run at once; one that fails stops the others, unless the settings say that they go on."""
    now = workspace.clock()
    if job.status in ("Starting", "Queued"):
        _launch(workspace, job, spec, values)
        return
    sights = [workspace.processes.look(name) for name in job.containers()]
    phases = [sight.phase for sight in sights if sight is not None]
    if job.status == "CancelRequested":
        if "running" not in phases:
            job.end("Canceled", now)
    elif "running" in phases and ("failed" not in phases or job.properties["settings"].get("continue_on_step_failure") == "True"):
        return
    elif "running" in phases:
        job.move("CancelRequested")
        for name in job.containers():
            workspace.processes.stop(name)
    elif all(phase == "succeeded" for phase in phases):
        job.end("Completed", now)
    else:
        at = next(at for at, phase in enumerate(phases) if phase != "succeeded")
        reason = sights[at].reason  # type: ignore[union-attr]
        code = re.sub(r"\D", "", reason) or "1"
        job.end("Failed", now, ("UserError", f"Pipeline has some failed steps: part_{at} exited with status code {code}. See child run."))


def _launch(workspace: Workspace, job: jobs.Job, spec: Mapping[str, Any], values: Mapping[str, str]) -> None:
    now = workspace.clock()
    if job.status == "Starting":
        job.move("Queued")
    steps = [(step, components.spec_of(workspace, step["componentId"])) for step in spec["jobs"].values()]
    default = job.properties["settings"]["default_compute"]
    for step, component in steps:
        cluster = workspace.clusters.get(default)
        machine = cluster or str((step.get("resources") or {}).get("instance_type") or jobs.SERVERLESS)
        image = workspace.image_of(component["environment"].removeprefix("azureml:")).get("image")
        if image not in workspace.images:
            job.end("Failed", now, ("UserError", f"Failed to pull Docker image {image}: manifest unknown."))
            return
        if machine in workspace.quotas and jobs.used(workspace, job, machine) + len(steps) > workspace.quotas[machine]:
            told = f"ClusterCoreQuotaReached: the operation results in exceeding quota limits of Core for {machine}. "
            job.end("Failed", now, ("UserError", f"{told}Maximum allowed: {workspace.quotas[machine]} nodes."))
            return
        if machine in workspace.dry or now - job.since < workspace.start_s:
            return
    job.move("Running")
    job.started = now
    for at, (step, component) in enumerate(steps):
        bound = {key: components.filled(row["value"], values) for key, row in step["inputs"].items()}
        container = f"{job.name}.{at}.0"
        job.parts.append(container)
        told_ = {"AZUREML_RUN_ID": f"{job.name}-{at}", **(step.get("environment_variables") or {})}
        workspace.run(container, shlex.split(components.filled(component["command"], bound)), told_)


def _shown(workspace: Workspace, name: str, made: Made) -> dict[str, Any]:
    told = {**made.body["properties"], "provisioningState": made.state, "scoringUri": f"{workspace.url}/batch/{name}/jobs"}
    more = {key: made.body[key] for key in ("identity", "kind", "tags") if key in made.body}
    return shown(f"{ID}/batchEndpoints/{name}", KIND, told, made.created, location=REGION, **more)


def _shown_deployment(endpoint: str, name: str, made: Made) -> dict[str, Any]:
    told = {**made.body["properties"], "provisioningState": made.state}
    more = {key: made.body[key] for key in ("identity", "tags") if key in made.body}
    return shown(f"{ID}/batchEndpoints/{endpoint}/deployments/{name}", f"{KIND}/deployments", told, made.created, location=REGION, **more)
