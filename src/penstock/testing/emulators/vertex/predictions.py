"""Batch prediction jobs: PENDING, RUNNING → SUCCEEDED or FAILED, or CANCELLING → CANCELLED; replicas of the model answer lines of files.

Source: JobService of the API; "Get batch predictions from a custom trained model". A new folder of the destination gets
`prediction.results-00000-of-0000N`, and `prediction.errors_stats-…` where instances failed. As the service may, results come in another
order than instances, and every number in them is printed as a fraction. What is not documented is refused: input other than JSON lines.
"""

from __future__ import annotations

import datetime
import http.client
import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators import instances
from penstock.testing.emulators.instances import Instance
from penstock.testing.emulators.vertex import models, operations
from penstock.testing.emulators.vertex.errors import VertexError, invalid, not_found, over_quota, precondition
from penstock.testing.emulators.vertex.jobs import ENDED, STOCKOUT, State
from penstock.testing.emulators.vertex.listing import settled_page
from penstock.testing.emulators.vertex.machine_types import quota_of, refused
from penstock.testing.emulators.vertex.messages import v1
from penstock.testing.emulators.vertex.project import Project, check_labels, stamp
from penstock.testing.ports import free_port

KIND = "batchPredictionJobs"
SHARD = 10  # results in a file
MOST_BYTES, BATCH = 1_500_000, 64
_TRIES = 3  # of a request


@dataclass(slots=True)
class Prediction:
    """`row` is what the API shows; `results` and `errors` are lines, not stored before the end."""

    row: Any
    model: Any
    created: float
    fleet: list[Instance] = field(default_factory=list)
    work: threading.Thread | None = None
    results: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    asked: int = 0  # instances that were posted

    @property
    def id(self) -> str:
        return str(self.row.name.rpartition("/")[2])


def create(project: Project, request: Any) -> Any:
    project.check_parent(request.parent)
    row = request.batch_prediction_job
    check_labels(row.labels)
    _check(project, row)
    model = models.named(project, row.model)
    metric, amount = quota_of(row.dedicated_resources.machine_spec)
    metric = metric.replace("model_training", "model_serving")
    if amount * row.dedicated_resources.starting_replica_count > project.quotas.get(metric, 1 << 30):
        raise over_quota(metric)
    now = project.clock()
    row.name, row.state = f"{project.parent}/{KIND}/{project.new_id()}", State.JOB_STATE_PENDING
    row.create_time = row.update_time = stamp(now)
    job = project.of(KIND)[row.name] = Prediction(row, model, now)
    settle(project, job)
    return job.row


def _check(project: Project, row: Any) -> None:
    wrong, path, resources = [], "batch_prediction_job", row.dedicated_resources
    if bool(row.model) == bool(row.unmanaged_container_model):
        wrong.append((f"{path}.model", "Exactly one of model and unmanaged_container_model must be set."))
    if row.input_config.instances_format != "jsonl" or row.output_config.predictions_format != "jsonl":
        wrong.append((f"{path}.input_config.instances_format", "Not emulated: formats other than jsonl."))
    if not row.input_config.gcs_source.uris or not row.output_config.gcs_destination.output_uri_prefix:
        wrong.append((f"{path}.input_config", "Not emulated: sources and destinations other than Cloud Storage."))
    if not resources.machine_spec.machine_type:
        wrong.append((f"{path}.dedicated_resources", "A model with a custom container needs dedicated resources."))
    elif (why := refused(resources.machine_spec, serving=True)) is not None:
        wrong.append((f"{path}.dedicated_resources.machine_spec.{why[0]}", why[1]))
    if resources.max_replica_count and resources.max_replica_count < resources.starting_replica_count:
        wrong.append((f"{path}.dedicated_resources.max_replica_count", "It must not be below starting_replica_count."))
    if wrong:
        raise invalid(wrong)
    project.check_account(row.service_account)


def settle(project: Project, job: Prediction) -> None:
    """Moves the job on as far as its replicas, its work and the clock have."""
    if job.row.state in ENDED:
        return
    now, machine = project.clock(), job.row.dedicated_resources.machine_spec.machine_type
    lost = instances.looked(project.processes, job.fleet, job.model.container_spec.health_route)
    busy = job.work is not None and job.work.is_alive()
    if job.row.state == State.JOB_STATE_CANCELLING:
        if instances.gone(project.processes, job.fleet) and not busy:
            _end(project, job, State.JOB_STATE_CANCELLED)
    elif machine in project.dry:
        _end(project, job, State.JOB_STATE_FAILED, VertexError("RESOURCE_EXHAUSTED", STOCKOUT.format(project.region)))
    elif not job.fleet and job.work is None and lost is None and now - job.created >= project.start_s:
        _launch(project, job, now)
    elif lost is not None and job.work is None:
        _end(project, job, State.JOB_STATE_FAILED, VertexError("INVALID_ARGUMENT", f"Model server terminated: {lost[1]}."))
    elif job.work is None and job.fleet and all(one.ready for one in job.fleet):
        job.work = threading.Thread(target=_predict, args=(project, job), daemon=True)
        job.work.start()
    elif job.work is not None and not busy:
        _stored(project, job, now)
        if job.results or not job.errors:
            _end(project, job, State.JOB_STATE_SUCCEEDED)
        else:
            _end(project, job, State.JOB_STATE_FAILED, VertexError("INVALID_ARGUMENT", "All of the instances failed: see the error files."))


def _launch(project: Project, job: Prediction, now: float) -> None:
    spec = job.model.container_spec
    given = {variable.name: variable.value for variable in spec.env}
    for number in range(job.row.dedicated_resources.starting_replica_count or 1):
        port, container = free_port(), f"{job.id}.{number}"
        told = {"AIP_HTTP_PORT": str(port), "AIP_HEALTH_ROUTE": spec.health_route, "AIP_PREDICT_ROUTE": spec.predict_route}
        project.run(container, [*(list(spec.command) or ["penstock"]), *spec.args], {**given, **told, "AIP_MODE": "PREDICTION"})
        job.fleet.append(Instance(container, port))
    job.row.start_time, job.row.state = stamp(now), State.JOB_STATE_RUNNING


def _end(project: Project, job: Prediction, state: Any, error: VertexError | None = None) -> None:
    instances.stop(project.processes, job.fleet)
    job.row.end_time = job.row.update_time = stamp(project.clock())
    if error is not None:
        job.row.error = error.status()
    job.row.state = state


def _predict(project: Project, job: Prediction) -> None:
    """Lines of all files in batches, in turn to the replicas."""
    size = job.row.manual_batch_tuning_parameters.batch_size or BATCH
    lines = iter([line for uri in job.row.input_config.gcs_source.uris for line in project.read(uri).splitlines() if line.strip()])
    batches = list(iter(lambda: list(itertools.islice(lines, size)), []))
    fleet = list(job.fleet)
    with ThreadPoolExecutor(len(fleet)) as pool:
        list(pool.map(lambda at: _each(job, fleet[at], batches[at :: len(fleet)]), range(len(fleet))))


def _each(job: Prediction, replica: Instance, batches: Sequence[Sequence[bytes]]) -> None:
    for lines in batches:
        if job.row.state == State.JOB_STATE_CANCELLING:
            return
        given = [json.loads(line, parse_int=float) for line in lines]
        error = ""
        for _ in range(_TRIES):
            job.asked += len(lines)
            try:
                found = _posted(job, replica, given)
                break
            except (OSError, http.client.HTTPException, ValueError, KeyError) as failure:
                error = str(failure)
        else:
            told = {"error": {"code": 3, "message": error}}
            job.errors += [json.dumps({"instance": instance, **told}).encode() for instance in given]
            continue
        job.results += [json.dumps({"instance": i, "prediction": p}).encode() for i, p in zip(given, found, strict=True)]


def _posted(job: Prediction, replica: Instance, given: Sequence[Any]) -> list[Any]:
    body = json.dumps({"instances": given}).encode()
    if len(body) > MOST_BYTES:
        raise ValueError(f"Request payload size exceeds the limit: {MOST_BYTES} bytes.")
    connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=600)
    try:
        connection.request("POST", job.model.container_spec.predict_route, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"('Post request fails. Cannot get predictions. Error: {answer.status}', {text[:200]!r})")
    found: list[Any] = json.loads(text, parse_int=float)["predictions"]
    if len(found) != len(given):
        raise ValueError("The number of predictions is not that of instances.")
    return found


def _stored(project: Project, job: Prediction, now: float) -> None:
    when = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    folder = f"{job.row.output_config.gcs_destination.output_uri_prefix.rstrip('/')}/prediction-{job.model.display_name}-{when}"
    for kind, lines in (("results", sorted(job.results, key=hash)), ("errors_stats", job.errors)):
        pieces = list(_pieces(lines)) or [b""]
        for at, piece in enumerate(pieces):
            project.write(f"{folder}/prediction.{kind}-{at:05d}-of-{len(pieces):05d}", piece)
    job.row.output_info = v1.BatchPredictionJob.OutputInfo(gcs_output_directory=folder)
    job.row.completion_stats = v1.CompletionStats(successful_count=len(job.results), failed_count=len(job.errors))


def _pieces(lines: Sequence[bytes]) -> Iterator[bytes]:
    for at in range(0, len(lines), SHARD):
        yield b"".join(line + b"\n" for line in lines[at : at + SHARD])


def get(project: Project, request: Any) -> Any:
    job = _named(project, request.name)
    settle(project, job)
    return job.row


def list_(project: Project, request: Any) -> Any:
    shown, token = settled_page(project, KIND, settle, request, State)
    return v1.ListBatchPredictionJobsResponse(batch_prediction_jobs=shown, next_page_token=token)


def cancel(project: Project, request: Any) -> Any:
    job = _named(project, request.name)
    settle(project, job)
    if job.row.state not in ENDED:
        job.row.state = State.JOB_STATE_CANCELLING
        instances.stop(project.processes, job.fleet)
    return operations.nothing()


def delete(project: Project, request: Any) -> Any:
    job = _named(project, request.name)
    settle(project, job)
    if job.row.state not in ENDED:
        raise precondition(f"Cannot delete BatchPredictionJob {request.name}; cancel it first.")
    del project.of(KIND)[request.name]
    return operations.at_once(project, request.name, v1.DeleteOperationMetadata(), operations.nothing())


def _named(project: Project, name: str) -> Prediction:
    job: Prediction | None = project.of(KIND).get(name)
    if job is None:
        raise not_found("BatchPredictionJob", name)
    return job
