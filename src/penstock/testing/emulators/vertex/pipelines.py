"""Pipeline jobs: tasks in order of need, each a container that is started when what it reads is there, and again after a failure.

States move when somebody asks. A task with caching on that ran before with the same inputs is SKIPPED, and its outputs are those of then.
Sources: PipelineService of the API; "Configure execution caching" and "Configure retries for a pipeline task" of Vertex AI.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from penstock.testing.emulators.vertex import operations
from penstock.testing.emulators.vertex.errors import VertexError, invalid, not_found, precondition
from penstock.testing.emulators.vertex.listing import settled_page
from penstock.testing.emulators.vertex.messages import v1
from penstock.testing.emulators.vertex.pipeline_spec import PLACEHOLDER, Spec, has_type, parsed, refused
from penstock.testing.emulators.vertex.project import Project, check_labels, stamp
from penstock.testing.ports import free_port

KIND, CACHE = "pipelineJobs", "pipelineCache"
State = v1.PipelineState
TaskState = v1.PipelineTaskDetail.State
ENDED = (State.PIPELINE_STATE_SUCCEEDED, State.PIPELINE_STATE_FAILED, State.PIPELINE_STATE_CANCELLED)
_OVER = (TaskState.SUCCEEDED, TaskState.SKIPPED, TaskState.FAILED, TaskState.CANCELLED, TaskState.NOT_TRIGGERED)
_WELL = (TaskState.SUCCEEDED, TaskState.SKIPPED)


@dataclass(slots=True)
class Task:
    """`tries`: how often it was started; `again_at`: not before then. `inputs` and `outputs` by name of the parameter."""

    row: Any
    tries: int = 0
    again_at: float = 0.0
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Pipeline:
    row: Any
    spec: Spec
    values: dict[str, Any]
    tasks: dict[str, Task] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return str(self.row.name.rpartition("/")[2])

    def container(self, name: str) -> str:
        return f"{self.id}.{name}.{self.tasks[name].tries}"


def create(project: Project, request: Any) -> Any:
    project.check_parent(request.parent)
    row, ident = request.pipeline_job, request.pipeline_job_id or f"pipeline-{project.new_id()}"
    check_labels(row.labels)
    if not re.fullmatch(r"[a-z][-a-z0-9]{0,127}", ident):
        raise invalid([("pipeline_job_id", f"The id {ident!r} is not valid.")])
    name = f"{project.parent}/{KIND}/{ident}"
    if name in project.of(KIND):
        raise VertexError("ALREADY_EXISTS", f"PipelineJob {name} already exists.")
    project.check_account(row.service_account)
    if not row.runtime_config.gcs_output_directory.startswith("gs://"):
        raise refused("gcs_output_directory must be a path of Cloud Storage.")
    raw = json_format.MessageToDict(v1.PipelineJob.pb(row))
    spec = parsed(raw.get("pipelineSpec", {}))
    values = _values(spec, raw.get("runtimeConfig", {}).get("parameterValues", {}))
    now = project.clock()
    row.name, row.state = name, State.PIPELINE_STATE_RUNNING
    row.create_time = row.start_time = row.update_time = stamp(now)
    job = project.of(KIND)[name] = Pipeline(row, spec, values)
    for number, task in enumerate(spec.root.dag.tasks):
        detail = v1.PipelineTaskDetail(task_id=number + 1, task_name=task, state=TaskState.PENDING, create_time=stamp(now))
        job.tasks[task] = Task(detail)
    settle(project, job)
    return job.row


def _values(spec: Spec, given: dict[str, Any]) -> dict[str, Any]:
    known = spec.root.input_definitions.parameters
    found = {name: one.default_value for name, one in known.items() if one.default_value is not None} | given
    for name in sorted({*known, *found}):
        if name not in known:
            raise refused(f"The pipeline has no parameter {name}.")
        if name in found and not has_type(found[name], known[name].parameter_type):
            raise refused(f"Parameter {name} is {known[name].parameter_type}; {found[name]!r} is not.")
        if name not in found and not known[name].is_optional:
            raise refused(f"Parameter {name} is not given.")
    return found


def settle(project: Project, job: Pipeline) -> None:
    """Moves it on as far as its containers and the clock have."""
    if job.row.state in ENDED:
        return
    for name in job.spec.root.dag.tasks:
        _settle_task(project, job, name)
    states = [task.row.state for task in job.tasks.values()]
    if all(state in _OVER for state in states):
        if job.row.state == State.PIPELINE_STATE_CANCELLING:
            job.row.state = State.PIPELINE_STATE_CANCELLED
        elif all(state in _WELL for state in states):
            job.row.state = State.PIPELINE_STATE_SUCCEEDED
        else:
            failed = [name for name, task in job.tasks.items() if task.row.state == TaskState.FAILED]
            job.row.state = State.PIPELINE_STATE_FAILED
            job.row.error = VertexError(
                "FAILED_PRECONDITION", f"The DAG failed because some tasks failed. The failed tasks are: {failed}."
            ).status()
        job.row.end_time = stamp(project.clock())
    job.row.job_detail.task_details = [task.row for task in job.tasks.values()]
    job.row.update_time = stamp(project.clock())


def _settle_task(project: Project, job: Pipeline, name: str) -> None:
    task = job.tasks[name]
    if task.row.state in _OVER:
        return
    if task.row.state == TaskState.RUNNING:
        _watch(project, job, name)
        return
    if job.row.state == State.PIPELINE_STATE_CANCELLING:
        task.row.state = TaskState.CANCELLED
        return
    needed = [job.tasks[need].row.state for need in job.spec.root.dag.tasks[name].dependent_tasks]
    if any(state in _OVER and state not in _WELL for state in needed):
        task.row.state = TaskState.NOT_TRIGGERED
    elif all(state in _WELL for state in needed) and project.clock() >= task.again_at:
        _start(project, job, name)


def _start(project: Project, job: Pipeline, name: str) -> None:
    task, container = job.tasks[name], job.spec.container(name)
    task.inputs = {key: _given(job, source) for key, source in job.spec.root.dag.tasks[name].inputs.parameters.items()}
    if task.tries == 0 and _cached(project, job, name):
        return
    if container.image not in project.images:
        _fail(project, job, name, f"Failed to pull image {container.image}: image not found.")
        return
    task.tries += 1
    task.row.state, task.row.start_time = TaskState.RUNNING, stamp(project.clock())
    cluster = {"workerpool0": [f"127.0.0.1:{free_port()}"]}
    told = {"CLUSTER_SPEC": json.dumps({"cluster": cluster, "environment": "cloud", "task": {"type": "workerpool0", "index": 0}})}
    command = [_resolved(project, job, name, text) for text in (*container.command, *container.args)]
    project.run(job.container(name), command, {**{one.name: one.value for one in container.env}, **told})


def _given(job: Pipeline, source: Any) -> Any:
    if source.task_output_parameter is not None:
        return job.tasks[source.task_output_parameter.producer_task].outputs[source.task_output_parameter.output_parameter_key]
    if source.component_input_parameter is not None:
        return job.values[source.component_input_parameter]
    value = source.runtime_value.constant
    return (
        value.replace("{{$.pipeline_job_uuid}}", job.id).replace("{{$.pipeline_job_name}}", job.row.name)
        if isinstance(value, str)
        else value
    )


def _cached(project: Project, job: Pipeline, name: str) -> bool:
    if not job.spec.root.dag.tasks[name].caching_options.enable_cache:
        return False
    outputs = project.of(CACHE).get(_question(job, name))
    if outputs is None:
        return False
    job.tasks[name].outputs, job.tasks[name].row.state = outputs, TaskState.SKIPPED
    return True


def _question(job: Pipeline, name: str) -> str:
    """What caching asks: the same component with the same inputs."""
    return json.dumps(
        [job.spec.component(name).model_dump(), job.spec.container(name).model_dump(), job.tasks[name].inputs], sort_keys=True
    )


def _resolved(project: Project, job: Pipeline, name: str, text: str) -> str:
    def value(match: re.Match[str]) -> str:
        key = match[2] or match[3]
        if match[1] == "outputs":
            return str(_file(project, job, name, key))
        given = job.tasks[name].inputs[key]
        if isinstance(given, str):
            return given
        return str(int(given)) if isinstance(given, float) and given.is_integer() and _is_whole(job, name, key) else json.dumps(given)

    return PLACEHOLDER.sub(value, text)


def _is_whole(job: Pipeline, name: str, key: str) -> bool:
    return job.spec.component(name).input_definitions.parameters[key].parameter_type == "NUMBER_INTEGER"


def _file(project: Project, job: Pipeline, name: str, key: str) -> Path:
    """Where the container writes an output. Its folder is the container's to make."""
    return project.folder / "pipelines" / job.container(name) / "outputs" / key


def _watch(project: Project, job: Pipeline, name: str) -> None:
    sight, task = project.processes.look(job.container(name)), job.tasks[name]
    if sight is None or sight.phase == "running":
        return
    if job.row.state == State.PIPELINE_STATE_CANCELLING:
        task.row.state = TaskState.CANCELLED
        return
    if sight.phase != "succeeded":
        _fail(project, job, name, f"The replica workerpool0-0 exited with a non-zero status: {sight.reason}.")
        return
    for key in job.spec.component(name).output_definitions.parameters:
        file = _file(project, job, name, key)
        if not file.exists():
            _fail(project, job, name, f"Output parameter {key} was not written.")
            return
        task.outputs[key] = file.read_text()
    task.row.state, task.row.end_time = TaskState.SUCCEEDED, stamp(project.clock())
    project.of(CACHE)[_question(job, name)] = dict(task.outputs)


def _fail(project: Project, job: Pipeline, name: str, message: str) -> None:
    task, policy = job.tasks[name], job.spec.root.dag.tasks[name].retry_policy
    task.row.error = VertexError("INVALID_ARGUMENT", message).status()
    if task.tries and task.tries <= policy.max_retry_count:
        task.row.state, task.again_at = TaskState.PENDING, project.clock() + policy.pause_s(task.tries)
        return
    task.row.state, task.row.end_time = TaskState.FAILED, stamp(project.clock())


def get(project: Project, request: Any) -> Any:
    job = _named(project, request.name)
    settle(project, job)
    return job.row


def list_(project: Project, request: Any) -> Any:
    shown, token = settled_page(project, KIND, settle, request, State)
    return v1.ListPipelineJobsResponse(pipeline_jobs=shown, next_page_token=token)


def cancel(project: Project, request: Any) -> Any:
    job = _named(project, request.name)
    settle(project, job)
    if job.row.state not in ENDED:
        job.row.state = State.PIPELINE_STATE_CANCELLING
        for name, task in job.tasks.items():
            if task.row.state == TaskState.RUNNING:
                project.processes.stop(job.container(name))
        settle(project, job)
    return operations.nothing()


def delete(project: Project, request: Any) -> Any:
    job = _named(project, request.name)
    settle(project, job)
    if job.row.state not in ENDED:
        raise precondition(f"Cannot delete PipelineJob {request.name}, which is in state {State(job.row.state).name}; cancel it first.")
    del project.of(KIND)[request.name]
    return operations.at_once(project, request.name, v1.DeleteOperationMetadata(), operations.nothing())


def _named(project: Project, name: str) -> Pipeline:
    job: Pipeline | None = project.of(KIND).get(name)
    if job is None:
        raise not_found("PipelineJob", name)
    return job
