"""Training jobs: InProgress → Completed, Failed, or Stopping → Stopped, with the secondary states between; managed spot goes on by itself.

States move when somebody asks, as far as they should have by then. Source: the API reference of DescribeTrainingJob.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.testing.emulators.sagemaker.account import Account, Log, page
from penstock.testing.emulators.sagemaker.errors import AwsError, in_use, invalid, not_found, over_limit
from penstock.testing.ports import free_port

KIND = "training-job"
ENDED = ("Completed", "Failed", "Stopped")
LONGEST_S = 28 * 24 * 3600
_SHOWN = (
    *("AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig", "ResourceConfig", "VpcConfig", "StoppingCondition"),
    *("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining", "CheckpointConfig"),
    *("Environment", "RetryStrategy", "HyperParameters"),
)


@dataclass(slots=True)
class TrainingJob:
    """`life`: how often it was started; each start has containers of its own. `late`: it was stopped for running too long."""

    request: Mapping[str, Any]
    arn: str
    created: float
    status: str = "InProgress"
    secondary: str = "Starting"
    transitions: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""
    life: int = 0
    running: bool = False
    since: float = 0.0  # of the state before the containers run
    started: float | None = None
    ended: float | None = None
    late: bool = False
    logs: list[Log] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.request["TrainingJobName"])

    @property
    def machine(self) -> str:
        return str(self.request["ResourceConfig"]["InstanceType"])

    @property
    def spot(self) -> bool:
        return bool(self.request.get("EnableManagedSpotTraining"))

    def containers(self) -> list[str]:
        return [f"{self.name}.{self.life}.algo-{n + 1}" for n in range(self.request["ResourceConfig"]["InstanceCount"])]

    def move(self, secondary: str, now: float, message: str = "") -> None:
        if self.transitions:
            self.transitions[-1].setdefault("EndTime", now)
        self.secondary = secondary
        self.transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})

    def end(self, status: str, now: float, reason: str = "", secondary: str = "") -> None:
        self.move(secondary or status, now, reason)
        self.transitions[-1]["EndTime"] = now
        self.status, self.reason, self.ended, self.running = status, reason, now, False


def create(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    name, jobs = request["TrainingJobName"], account.of(KIND)
    if name in jobs:
        raise in_use(
            f"Job name must be unique within an AWS account and region, and a job with this name already exists ({jobs[name].arn})"
        )
    _check(account, request)
    job = jobs[name] = TrainingJob(request, account.arn(KIND, name), account.clock(), since=account.clock())
    account.tag(job.arn, request.get("Tags"))
    job.move("Starting", job.created, "Launching requested ML instances")
    settle(account, job)
    return {"TrainingJobArn": job.arn}


def _check(account: Account, request: Mapping[str, Any]) -> None:
    algorithm, resources, limits = request["AlgorithmSpecification"], request.get("ResourceConfig"), request.get("StoppingCondition")
    if resources is None or limits is None or "InstanceType" not in resources:
        raise invalid("ResourceConfig with InstanceType, and StoppingCondition, are required for this job.")
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        raise invalid("You must specify exactly one of TrainingImage and AlgorithmName.")
    if resources.get("InstanceCount", 0) < 1 or resources.get("VolumeSizeInGB", 0) < 1:
        raise invalid("InstanceCount and VolumeSizeInGB must be at least 1.")
    account.assume(request["RoleArn"])
    longest, spot = limits.get("MaxRuntimeInSeconds", 24 * 3600), request.get("EnableManagedSpotTraining")
    if longest > LONGEST_S:
        raise invalid(f"MaxRuntimeInSeconds must be at most {LONGEST_S}.")
    if spot and limits.get("MaxWaitTimeInSeconds", 0) < longest:
        raise invalid("Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds")
    if not spot and "MaxWaitTimeInSeconds" in limits:
        raise invalid("MaxWaitTimeInSeconds must not be set, as EnableManagedSpotTraining is not set to true")
    if spot and resources.get("KeepAlivePeriodInSeconds"):
        raise invalid("Warm pools cannot be used with managed spot training.")
    machine, kind = resources["InstanceType"], "spot training job" if spot else "training job"
    quota = f"{machine} for {kind} usage"
    if quota in account.quotas:
        alive = [job for job in account.of(KIND).values() if job.status not in ENDED and job.machine == machine and job.spot == bool(spot)]
        used = sum(job.request["ResourceConfig"]["InstanceCount"] for job in alive)
        if used + resources["InstanceCount"] > account.quotas[quota]:
            raise over_limit(quota, account.quotas[quota], used, resources["InstanceCount"])


def settle(account: Account, job: TrainingJob) -> None:
    """Moves the job on as far as its containers and the clock have."""
    if job.status in ENDED:
        return
    now = account.clock()
    if not job.running:
        _launch(account, job, now)
        return
    for log in job.logs:
        log.ship(account)
    sights = [account.processes.look(name) for name in job.containers()]
    phases = {sight.phase for sight in sights if sight is not None}
    if job.status == "Stopping":
        if "running" not in phases:
            job.end("Stopped", now, secondary="MaxRuntimeExceeded" if job.late else "Stopped")
    elif "interrupted" in phases:
        _interrupted(account, job, now)
    elif "failed" in phases:
        _stop(account, job)
        reason = next(sight.reason for sight in sights if sight is not None and sight.phase == "failed")
        job.end("Failed", now, f"AlgorithmError: {_said(account, job)}, {reason.replace('exit code ', 'exit code: ')}")
    elif "running" not in phases:
        job.move("Uploading", now, "Uploading generated training model")
        job.end("Completed", now)
    elif job.started is not None and now - job.started > job.request["StoppingCondition"].get("MaxRuntimeInSeconds", 24 * 3600):
        job.late = True
        _begin_stop(account, job, now)


def _launch(account: Account, job: TrainingJob, now: float) -> None:
    limits = job.request["StoppingCondition"]
    if job.status == "Stopping":
        job.end("Stopped", now)
    elif job.request["AlgorithmSpecification"].get("TrainingImage") not in account.images:
        image = job.request["AlgorithmSpecification"].get("TrainingImage")
        job.end("Failed", now, f"ClientError: Cannot find repository or tag of image {image}. Please check if the image exists in ECR.")
    elif job.machine in account.dry:
        if not job.spot:
            job.end(
                "Failed",
                now,
                "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type.",
            )
        elif now - job.created > limits["MaxWaitTimeInSeconds"]:
            job.end("Stopped", now, secondary="MaxWaitTimeExceeded")
    elif now - job.since >= account.start_s:
        job.move("Downloading", now, "Downloading the training image")
        job.move("Training", now, "Training image download completed. Training in progress.")
        job.started, job.running = job.started or now, True
        algorithm = job.request["AlgorithmSpecification"]
        command = [*algorithm.get("ContainerEntrypoint", ["penstock", "train"]), *algorithm.get("ContainerArguments", [])]
        meeting = {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(free_port())}  # the hosts' names lead nowhere on this machine
        for at, container in enumerate(job.containers()):
            stream = f"{job.name}/algo-{at + 1}-{int(now)}" + (f".{job.life}" if job.life else "")
            job.logs.append(Log(container, "/aws/sagemaker/TrainingJobs", stream))
            told = {"TRAINING_JOB_NAME": job.name, "TRAINING_JOB_ARN": job.arn, "SAGEMAKER_BASE_DIR": str(_hosts_file(account, job, at))}
            told |= meeting if len(job.containers()) > 1 else {}
            account.run(container, command, {**job.request.get("Environment", {}), **told})


def _hosts_file(account: Account, job: TrainingJob, at: int) -> Path:
    """What lies below /opt/ml in the container."""
    folder = account.folder / "opt-ml" / job.containers()[at]
    hosts = [f"algo-{n + 1}" for n in range(len(job.containers()))]
    (folder / "input" / "config").mkdir(parents=True, exist_ok=True)
    value = {"current_host": hosts[at], "hosts": hosts, "current_instance_type": job.machine, "network_interface_name": "eth0"}
    (folder / "input" / "config" / "resourceconfig.json").write_text(json.dumps(value))
    return folder


def _said(account: Account, job: TrainingJob) -> str:
    """What the job wrote into its file `failure`."""
    files = [account.folder / "opt-ml" / name / "output" / "failure" for name in job.containers()]
    return next((file.read_text("utf-8")[:1024] for file in files if file.exists()), "")


def _interrupted(account: Account, job: TrainingJob, now: float) -> None:
    """A spot job waits for another machine and begins anew there; any other ends."""
    _stop(account, job)
    if not job.spot:
        job.end("Failed", now, "InternalServerError: We encountered an internal error. Please try again.")
        return
    job.move("Interrupted", now, "Training job was interrupted by a lack of spot capacity")
    job.move("Starting", now, "Launching requested ML instances")
    job.running, job.since = False, now
    job.life += 1


def _stop(account: Account, job: TrainingJob) -> None:
    for name in job.containers():
        account.processes.stop(name)


def _begin_stop(account: Account, job: TrainingJob, now: float) -> None:
    job.status = "Stopping"
    job.move("Stopping", now, "Stopping the training job")
    _stop(account, job)


def describe(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    job = _named(account, request["TrainingJobName"])
    settle(account, job)
    resources = job.request["ResourceConfig"]
    shown: dict[str, Any] = {name: job.request[name] for name in _SHOWN if name in job.request}
    output = job.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    shown |= {
        "TrainingJobName": job.name,
        "TrainingJobArn": job.arn,
        "TrainingJobStatus": job.status,
        "SecondaryStatus": job.secondary,
        "SecondaryStatusTransitions": job.transitions,
        "CreationTime": job.created,
        "LastModifiedTime": job.transitions[-1]["StartTime"],
        "ModelArtifacts": {"S3ModelArtifacts": f"{output}/{job.name}/output/model.tar.gz"},
    }
    if job.started is not None:
        shown["TrainingStartTime"] = job.started
    if job.ended is not None:
        shown["TrainingEndTime"] = job.ended
        seconds = max(1, int(job.ended - (job.started or job.ended)))
        shown |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds * resources["InstanceCount"]}
    if job.reason:
        shown["FailureReason"] = job.reason[:1024]
    return shown


def stop(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    job = _named(account, request["TrainingJobName"])
    settle(account, job)
    if job.status in ENDED:
        raise invalid(f"The request was rejected because the training job is in status {job.status}.")
    if job.status != "Stopping":
        _begin_stop(account, job, account.clock())
    return {}


def delete(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    job = _named(account, request["TrainingJobName"])
    settle(account, job)
    if job.status not in ENDED:
        raise in_use(f"Training job {job.name} is in status {job.status} and cannot be deleted.")
    del account.of(KIND)[job.name]
    return {}


def list_(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    rows = list(account.of(KIND).values())
    for job in rows:
        settle(account, job)
    wanted, within = request.get("StatusEquals"), request.get("NameContains", "")
    rows = [job for job in rows if wanted in (None, job.status) and within in job.name]
    if request.get("SortBy", "CreationTime") not in ("CreationTime", "Name"):
        raise AwsError("ValidationException", "Sorting by status is not emulated.")
    key = (lambda job: job.name) if request.get("SortBy") == "Name" else (lambda job: job.created)
    rows.sort(key=key, reverse=request.get("SortOrder", "Descending") == "Descending")
    return page(rows, request, "TrainingJobSummaries", _summary)


def _summary(job: TrainingJob) -> dict[str, Any]:
    shown = {
        "TrainingJobName": job.name,
        "TrainingJobArn": job.arn,
        "CreationTime": job.created,
        "LastModifiedTime": job.transitions[-1]["StartTime"],
        "TrainingJobStatus": job.status,
        "SecondaryStatus": job.secondary,
    }
    return {**shown, "TrainingEndTime": job.ended} if job.ended is not None else shown


def _named(account: Account, name: str) -> TrainingJob:
    job: TrainingJob | None = account.of(KIND).get(name)
    if job is None:
        raise not_found("training job")
    return job
