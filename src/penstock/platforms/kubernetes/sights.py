"""A Job or TrainJob as the cluster tells of it, read as a Sight. Pure."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

from penstock.core.errors import PenstockError, PlatformFull, StepFailed, StepMemory, StepTimeout
from penstock.platforms.kubernetes.api import Object
from penstock.platforms.kubernetes.labels import ENDED_BY
from penstock.platforms.remote.driver import Sight

STOP = "stop"
_UNFIT = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")


def ends(value: Object) -> Object | None:
    """The condition by which it ended."""
    conditions = value.get("status", {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), None)


def runs(value: Object) -> bool:
    """Whether a container of it runs, as far as the object itself says."""
    status = value.get("status", {})
    return bool(status.get("ready")) or any(job.get("ready") or job.get("active") for job in status.get("jobsStatus") or ())


def sight_of(value: Object, pods: Sequence[Object]) -> Sight:
    """`pods`: its pods, where it failed; they tell why."""
    began = seconds(value.get("status", {}).get("startTime") or value["metadata"].get("creationTimestamp"))
    asked = (value["metadata"].get("annotations") or {}).get(ENDED_BY)
    end = ends(value)
    if end is None and asked == STOP and value["kind"] == "TrainJob" and value["spec"].get("suspend"):
        return Sight("stopped", "suspended", began)
    if end is None:
        return Sight("running" if runs(value) else "pending", "", began)
    over = seconds(end.get("lastTransitionTime"))
    if end["type"] == "Complete":
        return Sight("succeeded", "", began, over)
    if asked == STOP:
        return Sight("stopped", str(end.get("reason", "")), began, over)
    if asked is not None:
        told = json.loads(asked)
        return Sight("failed", told["why"], began, over, PlatformFull if told["full"] else StepFailed)
    if end.get("reason") == "PodFailurePolicy" or any(disrupted(pod) for pod in pods):
        return Sight("interrupted", _taken(pods) or str(end.get("message", "")), began, over)
    if end.get("reason") == "DeadlineExceeded":
        return Sight("failed", "its timeout was passed", began, over, StepTimeout)
    failure, why = _container(pods)
    return Sight("failed", why or f"{end.get('reason', '')}: {end.get('message', '')}", began, over, failure)


def waits_for(pods: Sequence[Object], events: Sequence[Object]) -> tuple[str, bool] | None:
    """Why pods do not start, and whether for want of room; None: they are on their way."""
    for pod in pods:
        status = pod.get("status", {})
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _UNFIT:
                return f"{waiting['reason']}: {waiting.get('message', '')}", False
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return str(condition.get("message") or condition.get("reason")), True
    if not pods:
        told = [event for event in events if event.get("reason") == "FailedCreate"]
        if told:
            return str(told[-1].get("message")), "exceeded quota" in str(told[-1].get("message"))
    return None


def disrupted(pod: Object) -> bool:
    return _disruption(pod) is not None


def _disruption(pod: Object) -> Any:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == "DisruptionTarget" and c["status"] == "True"), None)


def _taken(pods: Sequence[Object]) -> str:
    found = next((c for pod in pods if (c := _disruption(pod))), None)
    return f"{found.get('reason')}: {found.get('message')}" if found else ""


def _container(pods: Sequence[Object]) -> tuple[type[PenstockError], str]:
    """What the first container that ended badly says."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses") or ():
            ended = (container.get("state") or {}).get("terminated") or {}
            if ended.get("reason") == "OOMKilled":
                return StepMemory, "it passed its memory limit (OOMKilled)"
            if ended.get("exitCode"):
                return StepFailed, f"exit code {ended['exitCode']}"
    return StepFailed, ""


def seconds(text: str | None) -> float | None:
    return None if text is None else datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
