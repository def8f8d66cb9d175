"""Jobs as training jobs: every step runs as one, whatever it does, because only training jobs have managed spot and warm pools.

Not covered: processing jobs (nothing that a training job cannot do), input channels (a job reads its inputs from the store).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.core.errors import BadInput, PlatformFull, StepTimeout
from penstock.platforms.remote.driver import Order, Phase, Sight
from penstock.platforms.sagemaker.aws import Aws, already, not_there
from penstock.platforms.sagemaker.left import left
from penstock.platforms.sagemaker.settings import network, store_mark, tags

KIND = "sagemaker"
LOGS = "/aws/sagemaker/TrainingJobs"
TAIL_LINES = 50
_LONGEST_WORD = 256  # of an entry point or argument
_PHASES: Mapping[str, Phase] = {"InProgress": "running", "Stopping": "running", "Completed": "succeeded", "Stopped": "stopped"}
_WAITING = ("Starting", "LaunchingMLInstances", "PreparingTrainingStack", "Pending", "Interrupted", "Restarting")


@dataclass(slots=True)
class TrainingJobs:
    """The Driver. `store`: URL of the artifact store; `output`: `s3://…` for what SageMaker itself writes (of our jobs: nothing)."""

    aws: Aws
    store: str
    output: str
    platform: str = KIND

    def create(self, order: Order) -> None:
        self.aws.call("sagemaker:CreateTrainingJob", already, **self.request(order))

    def request(self, order: Order) -> dict[str, Any]:
        """What CreateTrainingJob is called with."""
        settings, (entry, *arguments) = self.aws.settings, order.command
        long = next((word for word in order.command if len(word) > _LONGEST_WORD), None)
        if long is not None:
            raise BadInput(f"SageMaker takes arguments of at most {_LONGEST_WORD} characters; this one has {len(long)}: {long[:80]}…")
        runs = int(min(order.timeout_s or settings.longest, settings.longest))
        waits = {"MaxWaitTimeInSeconds": runs + int(settings.spot_wait)} if order.spot else {}
        resources: dict[str, Any] = {"InstanceType": order.machine.name, "InstanceCount": order.nodes, "VolumeSizeInGB": settings.volume_gb}
        if settings.keep_warm and not order.spot:
            resources["KeepAlivePeriodInSeconds"] = int(settings.keep_warm)
        return {
            "TrainingJobName": order.name,
            "AlgorithmSpecification": {
                "TrainingImage": settings.image,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": [entry],
                "ContainerArguments": arguments,
            },
            "RoleArn": settings.role,
            "OutputDataConfig": {"S3OutputPath": f"{self.output}/sagemaker/jobs"},
            "ResourceConfig": resources,
            "StoppingCondition": {"MaxRuntimeInSeconds": max(1, runs), **waits},
            "EnableManagedSpotTraining": order.spot,
            "Environment": dict(order.environment),
            "Tags": tags(settings.tags, order.labels, {"penstock-store": store_mark(self.store)}),
            **network(settings),
        }

    def look(self, name: str) -> Sight | None:
        job = self.aws.call("sagemaker:DescribeTrainingJob", not_there, TrainingJobName=name)
        return None if job is None else sight_of(job)

    def tail(self, name: str) -> Sequence[str]:
        return tail(self.aws, LOGS, name)

    def stop(self, name: str) -> None:
        self.aws.call("sagemaker:StopTrainingJob", lambda code, message: not_there(code, message) or _over(message), TrainingJobName=name)

    def remove(self, name: str) -> None:
        """A job that ended costs nothing, and its row is the record of what was paid: it stays."""

    def left(self) -> Sequence[str]:
        return left(self.aws, self.store)


def tail(aws: Aws, group: str, name: str) -> Sequence[str]:
    """The end of the output of a job's newest container; nothing when it wrote none yet."""
    found = aws.call("logs:DescribeLogStreams", _no_log, logGroupName=group, logStreamNamePrefix=f"{name}/") or {}
    streams = sorted(found.get("logStreams", ()), key=lambda row: (row.get("creationTime", 0), row["logStreamName"]))
    if not streams:
        return ()
    asked = {"logGroupName": group, "logStreamName": streams[-1]["logStreamName"], "limit": TAIL_LINES, "startFromHead": False}
    answer = aws.call("logs:GetLogEvents", _no_log, **asked) or {}
    return [str(row["message"]) for row in answer.get("events", ())]


def sight_of(job: Mapping[str, Any]) -> Sight:
    """What DescribeTrainingJob says, in our words."""
    status, secondary, reason = job["TrainingJobStatus"], job["SecondaryStatus"], job.get("FailureReason", "")
    began, ended = _seconds(job.get("TrainingStartTime")), _seconds(job.get("TrainingEndTime"))
    if status == "Failed" and reason.startswith("InternalServerError"):
        return Sight("interrupted", reason, began, ended)
    if status == "Failed":
        full = reason.startswith("CapacityError")
        return Sight("failed", reason, began, ended, **({"failure": PlatformFull} if full else {}))
    if status == "Stopped" and secondary == "MaxRuntimeExceeded":
        return Sight("failed", "it ran longer than its timeout", began, ended, StepTimeout)
    if status == "Stopped" and secondary == "MaxWaitTimeExceeded":
        return Sight("failed", "no spot machine came in the time that was given for it", began, ended, PlatformFull)
    if status == "InProgress" and secondary in _WAITING:
        return Sight("pending", reason)
    return Sight(_PHASES[status], reason, began, ended)


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value.timestamp())


def _no_log(code: str, message: str) -> bool:  # noqa: ARG001 (as every `known` has it)
    return code == "ResourceNotFoundException"


def _over(message: str) -> bool:
    return "in status" in message or "cannot be stopped" in message
