"""Jobs as command jobs: on serverless compute, on a cluster or on an attached Kubernetes cluster. Why one failed stands in the
workspace's run history.

Not covered: sweep, Spark and pipeline jobs, input and output channels (a job reads and writes the store itself).
"""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import PlatformFull, StepTimeout
from penstock.platforms.azureml.arm import Arm, not_there
from penstock.platforms.azureml.computes import Compute
from penstock.platforms.azureml.environments import JOBS, Environments
from penstock.platforms.azureml.errors import is_full
from penstock.platforms.azureml.left import left
from penstock.platforms.azureml.naming import TAG, store_mark, tags
from penstock.platforms.remote.driver import Order, Phase, Sight

KIND = "azureml"
TAIL_LINES = 50
JOB_PHASES: Mapping[str, Phase] = {
    **dict.fromkeys(("NotStarted", "Starting", "Provisioning", "Preparing", "Queued", "Paused"), "pending"),
    **dict.fromkeys(("Running", "Finalizing", "CancelRequested", "NotResponding", "Unknown"), "running"),
    "Completed": "succeeded",
    "Canceled": "stopped",
    "Failed": "failed",
}
_ITS_OWN = ("UserError", "")  # codes of failures that the command itself made


@dataclass(slots=True)
class CommandJobs:
    """The Driver. `store`: URL of the artifact store."""

    arm: Arm
    store: str
    platform: str = KIND
    _environments: Environments = field(init=False)
    _compute: Compute = field(init=False)

    def __post_init__(self) -> None:
        self._environments, self._compute = Environments(self.arm), Compute(self.arm)

    def create(self, order: Order) -> None:
        """A job of that name with the same content is the same job to Azure, so a lost answer makes no second one."""
        self._compute.require()
        self.arm.call("PUT", f"jobs/{order.name}", self.request(order, self._environments.of(JOBS)))

    def request(self, order: Order, environment: str) -> dict[str, Any]:
        """What the job's PUT says. `environment`: its resource id."""
        settings = self.arm.settings
        longest = int(min(order.timeout_s or settings.longest, settings.longest))
        found: dict[str, Any] = {
            "jobType": "Command",
            "displayName": order.labels.get("penstock-step", order.name),
            "experimentName": "penstock",
            "command": shlex.join(order.command),
            "environmentId": environment,
            "environmentVariables": dict(order.environment),
            "limits": {"jobLimitsType": "Command", "timeout": f"PT{max(1, longest)}S"},
            "resources": {"instanceCount": order.nodes},
            "tags": tags(settings.tags, order.labels, {TAG: store_mark(self.store)}),
        }
        if settings.compute is not None:
            found["computeId"] = f"{self.arm.workspace}/computes/{settings.compute.name}"
            if settings.compute.instance_types:
                found["resources"]["instanceType"] = order.machine.name
        else:
            found["resources"]["instanceType"] = order.machine.name
            found["queueSettings"] = {"jobTier": "Spot" if order.spot else "Standard"}
        if order.nodes > 1:
            found["distribution"] = {"distributionType": "PyTorch", "processCountPerInstance": 1}
        if settings.identity is not None:
            found["identity"] = {"identityType": "Managed", "resourceId": settings.identity}
        return {"properties": found}

    def look(self, name: str) -> Sight | None:
        job = self.arm.call("GET", f"jobs/{name}", known=not_there)
        if job is None:
            return None
        properties = job.body["properties"]
        if JOB_PHASES.get(properties["status"], "running") == "pending":
            return Sight("pending", properties["status"])
        run = self.arm.history(name, not_there)
        return sight_of(properties, run.body if run is not None else {})

    def tail(self, name: str) -> Sequence[str]:
        """The end of what the first machine's container wrote; nothing when it wrote nothing yet."""
        run = self.arm.history(name, not_there)
        files = (run.body.get("logFiles") if run is not None else None) or {}
        found = sorted(file for file in files if file.startswith("user_logs/std_log"))
        return self.arm.text(files[found[0]]).splitlines()[-TAIL_LINES:] if found else ()

    def stop(self, name: str) -> None:
        """A job that ended already cannot be stopped, which is what was wanted."""
        self.arm.call("POST", f"jobs/{name}/cancel", known=lambda refusal: refusal.status in (400, 404, 409))

    def remove(self, name: str) -> None:
        """A job that ended costs nothing, and its row is the record of what was paid: it stays."""

    def left(self) -> Sequence[str]:
        return left(self.arm, self.store)


def sight_of(job: Mapping[str, Any], run: Mapping[str, Any]) -> Sight:
    """What the job's properties and its run history say, in our words."""
    phase = JOB_PHASES.get(job["status"], "running")
    began, ended = _seconds(run.get("startTimeUtc")), _seconds(run.get("endTimeUtc"))
    error = (run.get("error") or {}).get("error") or {}
    code, reason = str(error.get("code", "")), str(error.get("message", ""))
    if phase == "stopped" and began is not None and ended is not None and (limit := _limit_s(job)) is not None and ended - began >= limit:
        return Sight("failed", "it ran longer than its timeout", began, ended, StepTimeout)
    if phase == "failed" and is_full(code, reason):
        return Sight("failed", reason, began, ended, PlatformFull)
    if phase == "failed" and code not in _ITS_OWN:
        return Sight("interrupted", reason, began, ended)
    return Sight(phase, reason, began, ended)


def _limit_s(job: Mapping[str, Any]) -> float | None:
    """Of the form that `request` writes; Azure may write the same time otherwise."""
    text = str((job.get("limits") or {}).get("timeout") or "")
    total, number = 0.0, ""
    for letter in text.removeprefix("P").replace("T", ""):
        if letter.isdigit() or letter == ".":
            number += letter
        else:
            total += float(number or 0) * {"D": 86400, "H": 3600, "M": 60, "S": 1}.get(letter, 0)
            number = ""
    return total or None


def _seconds(stamp: Any) -> float | None:
    return None if not stamp else datetime.datetime.fromisoformat(str(stamp).replace("Z", "+00:00")).timestamp()
