"""Command jobs: Starting → Queued → Running → Completed or Failed; CancelRequested → Canceled; a spot job without its machine: Queued.

Source: JobStatus of the REST reference, and "Submit a training job in Studio" for what each means.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.azure import computes
from penstock.testing.emulators.azure.assets import check_tags
from penstock.testing.emulators.azure.errors import conflict, invalid, not_found, user_error
from penstock.testing.emulators.azure.workspace import ID, Workspace, shown
from penstock.testing.ports import free_port

KIND = "jobs"
ENDED = ("Completed", "Failed", "Canceled")
SERVERLESS = "Standard_DS3_v2"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}")
_MAY_CHANGE = ("description", "displayName", "tags", "isArchived", "properties", "services")
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?")


@dataclass(slots=True)
class Job:
    """`life`: how often it began anew; `since`: when it last began to wait for a machine. `error`: code and message of why it failed."""

    name: str
    properties: dict[str, Any]
    created: float
    since: float
    status: str = "Starting"
    history: list[str] = field(default_factory=lambda: ["Starting"])
    life: int = 0
    started: float | None = None
    ended: float | None = None
    error: tuple[str, str] | None = None
    moved: Callable[[Workspace, Job], None] | None = None  # moves on a job that is no command
    parts: list[str] = field(default_factory=list)  # its containers

    @property
    def id(self) -> str:
        return f"{ID}/jobs/{self.name}"

    @property
    def nodes(self) -> int:
        return int(self.properties.get("resources", {}).get("instanceCount") or 1)

    @property
    def spot(self) -> bool:
        return bool(self.properties.get("queueSettings", {}).get("jobTier") == "Spot")

    def move(self, status: str) -> None:
        self.status = status
        self.history.append(status)

    def end(self, status: str, now: float, error: tuple[str, str] | None = None) -> None:
        self.move(status)
        self.ended, self.error = now, error

    def containers(self) -> list[str]:
        return self.parts if self.moved is not None else [f"{self.name}.{rank}.{self.life}" for rank in range(self.nodes)]

    def shown(self) -> dict[str, Any]:
        told = {**self.properties, "status": self.status, "isArchived": self.properties.get("isArchived", False)}
        return shown(self.id, KIND, told, self.created)


def put(workspace: Workspace, name: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    workspace.schemas.check("workspaces_jobs", body)
    properties = dict(body["properties"])
    old: Job | None = workspace.of(KIND).get(name)
    if old is not None:
        _same(old, properties)
        old.properties |= {key: properties[key] for key in _MAY_CHANGE if key in properties}
        return 200, old.shown()
    _check(workspace, name, properties)
    now = workspace.clock()
    job = workspace.of(KIND)[name] = Job(name, properties, now, now)
    settle(workspace, job)
    return 201, job.shown()


def get(workspace: Workspace, name: str) -> dict[str, Any]:
    return _named(workspace, name).shown()


def rows(workspace: Workspace, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """`tag`: only jobs that have a tag of that name; newest first."""
    for job in workspace.of(KIND).values():
        settle(workspace, job)
    tag = query.get("tag")
    found = [job for job in workspace.of(KIND).values() if tag is None or tag in (job.properties.get("tags") or {})]
    return [job.shown() for job in sorted(found, key=lambda job: job.created, reverse=True)]


def cancel(workspace: Workspace, name: str) -> None:
    job = _named(workspace, name)
    if job.status in ENDED:
        raise user_error(f"Job {name} is in terminal state {job.status} and cannot be canceled.")
    if job.status != "CancelRequested":
        running = job.status == "Running"
        job.move("CancelRequested")
        if running:
            _stop(workspace, job)
        settle(workspace, job)


def delete(workspace: Workspace, name: str) -> None:
    job = _named(workspace, name)
    if job.status not in ENDED:
        raise conflict(f"Job {name} is in state {job.status} and cannot be deleted.")
    del workspace.of(KIND)[name]


def settle(workspace: Workspace, job: Job) -> None:
    """Moves the job on as far as its containers and the clock have."""
    now = workspace.clock()
    if job.status in ENDED:
        return
    if job.moved is not None:
        job.moved(workspace, job)
        return
    if job.status in ("Starting", "Queued"):
        _launch(workspace, job, now)
        return
    sights = [workspace.processes.look(name) for name in job.containers()]
    phases = {sight.phase for sight in sights if sight is not None}
    if job.status == "CancelRequested":
        if "running" not in phases:
            job.end("Canceled", now)
    elif "interrupted" in phases:
        _stop(workspace, job)
        if job.spot:
            job.life, job.since = job.life + 1, now
            job.move("Queued")
        else:
            job.end("Failed", now, ("ServiceError", "AzureMLCompute job failed. InfrastructureError: the node was lost."))
    elif "failed" in phases:
        _stop(workspace, job)
        reason = next(sight.reason for sight in sights if sight is not None and sight.phase == "failed")
        code = re.sub(r"\D", "", reason) or "1"
        told = f"Execution failed. User process '/bin/bash' exited with status code {code}. Please check log file 'user_logs/std_log.txt'."
        job.end("Failed", now, ("UserError", told))
    elif "running" not in phases:
        job.move("Finalizing")
        job.end("Completed", now)
    elif job.started is not None and (limit := _limit_s(job)) is not None and now - job.started > limit:
        job.move("CancelRequested")
        _stop(workspace, job)


def _launch(workspace: Workspace, job: Job, now: float) -> None:
    if job.status == "Starting":
        job.move("Queued")
    machine = _machine(workspace, job.properties)
    image = workspace.image_of(job.properties["environmentId"]).get("image")
    if image not in workspace.images:
        job.end("Failed", now, ("UserError", f"Failed to pull Docker image {image}: manifest unknown."))
    elif machine in workspace.quotas and used(workspace, job, machine) + job.nodes > workspace.quotas[machine]:
        told = f"ClusterCoreQuotaReached: the operation results in exceeding quota limits of Core for {machine}. "
        job.end("Failed", now, ("UserError", f"{told}Maximum allowed: {workspace.quotas[machine]} nodes."))
    elif machine not in workspace.dry and now - job.since >= workspace.start_s:
        job.move("Preparing")
        job.move("Running")
        job.started = job.started or now
        _run(workspace, job)


def _run(workspace: Workspace, job: Job) -> None:
    told = {"AZUREML_RUN_ID": job.name, **(job.properties.get("environmentVariables") or {})}
    port = str(free_port())
    for rank, container in enumerate(job.containers()):
        several = {}
        if (job.properties.get("distribution") or {}).get("distributionType") == "PyTorch":
            several = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": str(rank), "WORLD_SIZE": str(job.nodes)}
            several |= {"LOCAL_RANK": "0", "NODE_RANK": str(rank)}
        workspace.run(container, shlex.split(job.properties["command"]), {**told, **several})


def _stop(workspace: Workspace, job: Job) -> None:
    for name in job.containers():
        workspace.processes.stop(name)


def used(workspace: Workspace, mine: Job, machine: str) -> int:
    live = ("Running", "CancelRequested")
    alive = [job for job in workspace.of(KIND).values() if job is not mine and job.moved is None and job.status in live]
    return sum(job.nodes for job in alive if _machine(workspace, job.properties) == machine)


def _machine(workspace: Workspace, properties: Mapping[str, Any]) -> str:
    compute, named = properties.get("computeId"), (properties.get("resources") or {}).get("instanceType")
    return computes.machine(workspace, compute, named) if compute else str(named or SERVERLESS)


def _check(workspace: Workspace, name: str, properties: Mapping[str, Any]) -> None:
    if not _NAME.fullmatch(name):
        raise invalid(f"The job name {name!r} is not valid: 1 to 255 letters, digits, '-' and '_', beginning with a letter or digit.")
    if properties["jobType"] != "Command":
        raise invalid(f"Jobs of type {properties['jobType']} are not emulated.")
    workspace.image_of(properties["environmentId"])
    compute = properties.get("computeId")
    _machine(workspace, properties)
    if compute and (properties.get("queueSettings") or {}).get("jobTier"):
        raise user_error("Queue settings are only for serverless compute.")
    if int((properties.get("resources") or {}).get("instanceCount") or 1) < 1:
        raise user_error("resources.instanceCount must be at least 1.")
    timeout = (properties.get("limits") or {}).get("timeout")
    if timeout is not None and not _seconds(timeout):
        raise user_error(f"limits.timeout {timeout!r} is no ISO 8601 duration of whole seconds.")
    check_tags(properties)


def _same(old: Job, properties: Mapping[str, Any]) -> None:
    changed = [key for key in {*old.properties, *properties} - set(_MAY_CHANGE) if old.properties.get(key) != properties.get(key)]
    if changed:
        raise user_error(
            "A job with this name already exists. If you are trying to create a new job, use a different name. If you are trying to update "
            f"an existing job, the existing job's {changed[0]} cannot be changed. Only description, displayName, tags, and isArchived can "
            "be updated."
        )


def _limit_s(job: Job) -> float | None:
    timeout = (job.properties.get("limits") or {}).get("timeout")
    return None if timeout is None else _seconds(timeout)


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None:
        return 0.0
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def _named(workspace: Workspace, name: str) -> Job:
    job: Job | None = workspace.of(KIND).get(name)
    if job is None:
        raise not_found("job", name)
    settle(workspace, job)
    return job
