"""Batches as transform jobs: a Model of the image, lines in S3 shared out over the instances by file, answers beside them in S3.

A transform job drops the whole file of a record that its container refuses, so the container refuses none: each record is a request of
many orders, answered whatever became of them. Source: the API reference of CreateTransformJob, StopTransformJob, DescribeTransformJob.
Not covered: joins and filters of the service (answers carry the number of their row), managed spot (there is none for transform jobs).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PlatformFull
from penstock.platforms.batches import Answer, BatchOrder, answer_of
from penstock.platforms.contract import EndpointSpec, VersionSpec
from penstock.platforms.quotes import Quote, quoted
from penstock.platforms.remote.driver import Phase, Sight
from penstock.platforms.remote.machines import Machine, Need, choose
from penstock.platforms.remote.told import MORE, telling
from penstock.platforms.sagemaker.aws import Aws, already, not_there
from penstock.platforms.sagemaker.driver import tail
from penstock.platforms.sagemaker.machines import PRICES_OF, TRANSFORM
from penstock.platforms.sagemaker.settings import network, store_mark, tags

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

MOST_MB = 100  # of one request, and of all that an instance has at once
LOGS = "/aws/sagemaker/TransformJobs"
WAITS_S = 3600  # for one answer: as long as the service allows
_MB = 1_000_000
_NEED = Need(cpus=2.0, memory_bytes=4 << 30)
_PHASES: Mapping[str, Phase] = {"InProgress": "running", "Stopping": "running", "Completed": "succeeded", "Stopped": "stopped"}


@dataclass(slots=True)
class TransformJobs:
    """The Batches."""

    aws: Aws
    artifacts: Artifacts
    service: str = "SageMaker batch transform"
    grouped: bool = True
    most_bytes: int = MOST_MB * _MB

    def machine(self, wanted: str | None, instances: int) -> Machine:  # noqa: ARG002 (as every platform has it)
        name = wanted or self.aws.settings.machine
        return choose(TRANSFORM, Need(machine=name) if name else _NEED, self.service)

    def quote(self, machine: Machine, instances: int) -> Quote:
        call = f"sagemaker:CreateTransformJob: {instances} × {machine.name}, in {self.aws.settings.region}"
        return quoted(machine, instances, False, ("sagemaker:CreateModel", call), PRICES_OF)

    def submit(self, order: BatchOrder) -> None:
        self.aws.call("sagemaker:CreateModel", already, **self._model(order))
        self.aws.call("sagemaker:CreateTransformJob", already, **self.request(order))

    def request(self, order: BatchOrder) -> dict[str, Any]:
        """What CreateTransformJob is called with."""
        payload = max(1, -(-order.longest_bytes // _MB))
        return {
            "TransformJobName": order.name,
            "ModelName": order.name,
            "MaxPayloadInMB": payload,
            "MaxConcurrentTransforms": max(1, min(order.concurrency, MOST_MB // payload)),
            "ModelClientConfig": {"InvocationsTimeoutInSeconds": WAITS_S, "InvocationsMaxRetries": 3},
            "BatchStrategy": "SingleRecord",
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{self.artifacts.note_url(order.asked)}/"}},
                "ContentType": "application/json",
                "CompressionType": "None",
                "SplitType": "Line",
            },
            "TransformOutput": {
                "S3OutputPath": self.artifacts.note_url(order.answered),
                "Accept": "application/json",
                "AssembleWith": "Line",
            },
            "TransformResources": {"InstanceType": order.machine, "InstanceCount": order.instances},
            "Tags": self._tags(),
        }

    def observe(self, order: BatchOrder) -> Sight | None:
        job = self.aws.call("sagemaker:DescribeTransformJob", not_there, TransformJobName=order.name)
        if job is None:
            return None
        status, reason = job["TransformJobStatus"], job.get("FailureReason", "")
        began, ended = (job[name].timestamp() if name in job else None for name in ("TransformStartTime", "TransformEndTime"))
        if status == "Failed":
            full = {"failure": PlatformFull} if "CapacityError" in reason else {}
            return Sight("failed", reason, began, ended, **full)
        return Sight("pending" if began is None and status == "InProgress" else _PHASES[status], reason, began, ended)

    def cancel(self, order: BatchOrder) -> None:
        """What it answered is lost by it: the service stores nothing of a job that was stopped."""
        self.aws.call("sagemaker:StopTransformJob", lambda code, message: not_there(code, message) or _over(message), **_named(order))

    def collect(self, order: BatchOrder, known: Collection[str]) -> Iterator[tuple[str, Iterator[Answer]]]:
        for name in self.artifacts.notes(order.answered):
            if name.endswith(".out") and name not in known:
                yield name, _answers(self.artifacts.get_note(name) or b"")

    def tail(self, order: BatchOrder) -> Sequence[str]:
        return tail(self.aws, LOGS, order.name)

    def remove(self, order: BatchOrder) -> None:
        """The job's row stays, as the record of what was paid; it costs nothing, and the service deletes none."""
        self.aws.call("sagemaker:DeleteModel", not_there, ModelName=order.name)

    def _model(self, order: BatchOrder) -> dict[str, Any]:
        settings = self.aws.settings
        told = telling(EndpointSpec(order.model, ()), VersionSpec("batch", order.bundle, 1), self.artifacts.url)
        more = {**settings.replica, "limits": dict(order.limits)}
        container = {"Image": settings.image, "Environment": {**settings.environment, **told, MORE: json.dumps(more)}}
        row = {"ModelName": order.name, "PrimaryContainer": container, "ExecutionRoleArn": settings.role}
        return {**row, **network(settings), "Tags": self._tags()}

    def _tags(self) -> list[dict[str, str]]:
        return tags(self.aws.settings.tags, {"penstock-store": store_mark(self.artifacts.url)})


def _answers(data: bytes) -> Iterator[Answer]:
    for line in data.splitlines():
        yield from (answer_of(row) for row in json.loads(line)["predictions"])


def _named(order: BatchOrder) -> dict[str, str]:
    return {"TransformJobName": order.name}


def _over(message: str) -> bool:
    return "in status" in message or "cannot be stopped" in message
