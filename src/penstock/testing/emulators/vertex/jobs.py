"""Custom jobs: QUEUED, PENDING, RUNNING → SUCCEEDED, FAILED, or CANCELLING → CANCELLED; spot jobs begin anew when their machines go.

States move when somebody asks, as far as they should have by then. Sources: JobService of the API; "Understand the custom training
service" and "Use Spot VMs" of Vertex AI's documentation. How a job ends that ran longer than its timeout is not documented: here
CANCELLED, with DEADLINE_EXCEEDED as its error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.vertex import operations
from penstock.testing.emulators.vertex.errors import VertexError, invalid, not_found, over_quota, precondition
from penstock.testing.emulators.vertex.listing import settled_page
from penstock.testing.emulators.vertex.machine_types import quota_of, refused
from penstock.testing.emulators.vertex.messages import v1
from penstock.testing.emulators.vertex.project import Project, check_labels, stamp
from penstock.testing.ports import free_port

KIND = "customJobs"
State = v1.JobState
ENDED = (State.JOB_STATE_SUCCEEDED, State.JOB_STATE_FAILED, State.JOB_STATE_CANCELLED, State.JOB_STATE_EXPIRED)
LONGEST_S = 7 * 24 * 3600.0
RESTARTS = 6  # of a spot job whose machines were taken away
STOCKOUT = "Resources are insufficient in region: {}. Please try a different region or use different accelerators."


@dataclass(slots=True)
class Job:
    """`row` is what the API shows. `life`: how often it was started; each start has containers of its own."""

    row: Any
    since: float  # of the state before its containers run
    life: int = 0
    running: bool = False
    ports: list[int] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.row.name.rpartition("/")[2])

    @property
    def spot(self) -> bool:
        return bool(self.row.job_spec.scheduling.strategy == v1.Scheduling.Strategy.SPOT)

    def workers(self) -> Iterator[tuple[str, int, Any]]:
        """(pool, index, its spec), the chief first."""
        for at, pool in enumerate(self.row.job_spec.worker_pool_specs):
            for index in range(pool.replica_count):
                yield f"workerpool{at}", index, pool

    def containers(self) -> list[str]:
        return [f"{self.id}.{self.life}.{pool}-{index}" for pool, index, _ in self.workers()]


def create(project: Project, request: Any) -> Any:
    project.check_parent(request.parent)
    row = request.custom_job
    check_labels(row.labels)
    if len(row.display_name) > 128:
        raise invalid([("custom_job.display_name", "The display name must have less than 128 characters.")])
    _check(project, row.job_spec)
    for metric, amount in _needs(row).items():
        if amount > project.quotas.get(metric, amount):
            raise over_quota(metric)
    now = project.clock()
    row.name = f"{project.parent}/{KIND}/{project.new_id()}"
    row.state = State.JOB_STATE_PENDING
    row.create_time = row.update_time = stamp(now)
    job = project.of(KIND)[row.name] = Job(row, now)
    settle(project, job)
    return job.row


def _check(project: Project, spec: Any) -> None:
    wrong = []
    for at, pool in enumerate(spec.worker_pool_specs):
        path = f"custom_job.job_spec.worker_pool_specs[{at}]"
        if at == 0 and pool.replica_count != 1:
            wrong.append((f"{path}.replica_count", "The replica count of the first worker pool must be 1."))
        if at and not pool.replica_count:
            continue
        if not pool.container_spec.image_uri and not pool.python_package_spec.executor_image_uri:
            wrong.append((path, "Exactly one of container_spec and python_package_spec must be set."))
        why = refused(pool.machine_spec, serving=False)
        if why is not None:
            wrong.append((f"{path}.machine_spec.{why[0]}", why[1]))
        if len(pool.container_spec.env) > 100:
            wrong.append((f"{path}.container_spec.env", "At most 100 environment variables are allowed."))
        if any(not variable.name for variable in pool.container_spec.env):
            wrong.append((f"{path}.container_spec.env", "Required field is not set."))
        if pool.disk_spec.boot_disk_size_gb and not 100 <= pool.disk_spec.boot_disk_size_gb <= 64000:
            wrong.append((f"{path}.disk_spec.boot_disk_size_gb", "The size must be between 100 and 64000."))
    if len(spec.worker_pool_specs) > 4:
        wrong.append(("custom_job.job_spec.worker_pool_specs", "At most 4 worker pools are allowed."))
    timeout = spec.scheduling.timeout.total_seconds() if spec.scheduling.timeout else 0.0
    if timeout < 0:
        wrong.append(("custom_job.job_spec.scheduling.timeout", "The timeout must be positive."))
    if wrong:
        raise invalid(wrong)
    project.check_account(spec.service_account)


def _needs(row: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for pool in row.job_spec.worker_pool_specs:
        if pool.replica_count:
            metric, amount = quota_of(pool.machine_spec)
            found[metric] = found.get(metric, 0) + amount * pool.replica_count
    return found


def settle(project: Project, job: Job) -> None:
    """Moves the job on as far as its containers and the clock have."""
    if job.row.state in ENDED:
        return
    now = project.clock()
    if not job.running:
        _launch(project, job, now)
        return
    sights = {name: project.processes.look(name) for name in job.containers()}
    phases = {sight.phase for sight in sights.values() if sight is not None}
    limit = job.row.job_spec.scheduling.timeout.total_seconds() if job.row.job_spec.scheduling.timeout else LONGEST_S
    if job.row.state == State.JOB_STATE_CANCELLING:
        if "running" not in phases:
            _end(job, State.JOB_STATE_CANCELLED, now)
    elif "interrupted" in phases:
        _interrupted(project, job, now)
    elif "failed" in phases:
        _stop(project, job)
        name, sight = next((name, one) for name, one in sights.items() if one is not None and one.phase == "failed")
        _end(job, State.JOB_STATE_FAILED, now, _exited(job, name.rpartition(".")[2], sight.reason))
    elif "running" not in phases:
        _end(job, State.JOB_STATE_SUCCEEDED, now)
    elif now - job.row.start_time.timestamp() > limit:
        _stop(project, job)
        job.row.error = VertexError("DEADLINE_EXCEEDED", f"CustomJob exceeded its timeout of {limit:g}s.").status()
        _move(job, State.JOB_STATE_CANCELLING, now)


def _exited(job: Job, replica: str, reason: str) -> VertexError:
    code = reason.replace("exit code ", "") if reason.startswith("exit code") else "137"
    url = f"https://console.cloud.google.com/logs/viewer?resource=ml_job%2Fjob_id%2F{job.id}"
    return VertexError(
        "INVALID_ARGUMENT",
        f"The replica {replica} exited with a non-zero status of {code}. To find out more about why your job exited please check the logs: "
        f"{url}",
    )


def _launch(project: Project, job: Job, now: float) -> None:
    pools = [pool for pool in job.row.job_spec.worker_pool_specs if pool.replica_count]
    if job.row.state == State.JOB_STATE_CANCELLING:
        _end(job, State.JOB_STATE_CANCELLED, now)
    elif (
        missing := next((p.container_spec.image_uri for p in pools if p.container_spec.image_uri not in project.images), None)
    ) is not None:
        _end(job, State.JOB_STATE_FAILED, now, VertexError("INVALID_ARGUMENT", f"Failed to pull image {missing}: image not found."))
    elif not _has_room(project, job):
        _move(job, State.JOB_STATE_QUEUED, now)
    elif any(pool.machine_spec.machine_type in project.dry for pool in pools):
        _end(job, State.JOB_STATE_FAILED, now, VertexError("RESOURCE_EXHAUSTED", STOCKOUT.format(project.region)))
    elif now - job.since < project.start_s:
        _move(job, State.JOB_STATE_PENDING, now)
    else:
        _start(project, job, now)


def _has_room(project: Project, job: Job) -> bool:
    for metric, amount in _needs(job.row).items():
        others = (one for one in project.of(KIND).values() if one.running and one is not job)
        used = sum(_needs(one.row).get(metric, 0) for one in others)
        if used + amount > project.quotas.get(metric, used + amount):
            return False
    return True


def _start(project: Project, job: Job, now: float) -> None:
    job.ports = [free_port() for _ in job.workers()]
    cluster: dict[str, list[str]] = {}
    for (pool, _, _), port in zip(job.workers(), job.ports, strict=True):
        cluster.setdefault(pool, []).append(f"127.0.0.1:{port}")
    for (pool, index, spec), container in zip(job.workers(), job.containers(), strict=True):
        told = {
            "CLOUD_ML_JOB_ID": job.id,
            "CLUSTER_SPEC": json.dumps({"cluster": cluster, "environment": "cloud", "task": {"type": pool, "index": index}}),
        }
        given = {variable.name: variable.value for variable in spec.container_spec.env}
        command = [*(list(spec.container_spec.command) or ["penstock"]), *spec.container_spec.args]
        project.run(container, command, {**given, **told})
    if not job.row.start_time:
        job.row.start_time = stamp(now)
    job.running = True
    _move(job, State.JOB_STATE_RUNNING, now)


def _interrupted(project: Project, job: Job, now: float) -> None:
    """A spot job begins anew on other machines, a few times; any other ends."""
    _stop(project, job)
    if not job.spot:
        _end(job, State.JOB_STATE_FAILED, now, VertexError("INTERNAL", "Internal error occurred for the current attempt."))
    elif job.life >= RESTARTS:
        _end(job, State.JOB_STATE_FAILED, now, VertexError("RESOURCE_EXHAUSTED", STOCKOUT.format(project.region)))
    else:
        job.running, job.since = False, now
        job.life += 1
        _move(job, State.JOB_STATE_PENDING, now)


def _move(job: Job, state: Any, now: float) -> None:
    if job.row.state != state:
        job.row.state, job.row.update_time = state, stamp(now)


def _end(job: Job, state: Any, now: float, error: VertexError | None = None) -> None:
    job.running = False
    job.row.end_time = stamp(now)
    if error is not None:
        job.row.error = error.status()
    _move(job, state, now)


def _stop(project: Project, job: Job) -> None:
    for name in job.containers():
        project.processes.stop(name)


def get(project: Project, request: Any) -> Any:
    job = _named(project, request.name)
    settle(project, job)
    return job.row


def list_(project: Project, request: Any) -> Any:
    shown, token = settled_page(project, KIND, settle, request, State)
    return v1.ListCustomJobsResponse(custom_jobs=shown, next_page_token=token)


def cancel(project: Project, request: Any) -> Any:
    """Success is not guaranteed: a job that ended stays as it is."""
    job = _named(project, request.name)
    settle(project, job)
    if job.row.state not in ENDED:
        _move(job, State.JOB_STATE_CANCELLING, project.clock())
        _stop(project, job)
        settle(project, job)
    return operations.nothing()


def delete(project: Project, request: Any) -> Any:
    job = _named(project, request.name)
    settle(project, job)
    if job.row.state not in ENDED:
        raise precondition(f"Cannot delete CustomJob {request.name}, which is in state {State(job.row.state).name}; cancel it first.")
    del project.of(KIND)[request.name]
    return operations.at_once(project, request.name, v1.DeleteOperationMetadata(), operations.nothing())


def _named(project: Project, name: str) -> Job:
    job: Job | None = project.of(KIND).get(name)
    if job is None:
        raise not_found("CustomJob", name)
    return job
