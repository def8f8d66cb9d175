"""A pod that serves, read as a ReplicaState. Pure."""

from __future__ import annotations

from typing import Any, Literal

from penstock.platforms.contract import ReplicaState
from penstock.platforms.kubernetes.api import Object
from penstock.platforms.kubernetes.endpoint_manifests import BUNDLE, PORT, SAID_VERSION
from penstock.platforms.kubernetes.sights import disrupted, seconds, waits_for

Phase = Literal["starting", "ready", "draining", "failed"]
_BROKEN = ("CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")


def id_of(pod: Object) -> str:
    """A container that was started again in its pod is another replica: nothing of the first one's memory is left."""
    restarts = int(_container(pod).get("restartCount", 0))
    return str(pod["metadata"]["name"]) + (f".{restarts}" if restarts else "")


def state_of(pod: Object) -> ReplicaState:
    said, status = pod["metadata"].get("annotations") or {}, pod.get("status", {})
    phase, error = _phase(pod)
    address = f"{status['podIP']}:{PORT}" if phase == "ready" else None
    state = _container(pod).get("state") or {}
    began = seconds((state.get("running") or {}).get("startedAt") or status.get("startTime") or pod["metadata"].get("creationTimestamp"))
    ready = _condition(pod, "Ready")
    cold = max(0.0, (seconds(ready.get("lastTransitionTime")) or 0.0) - began) if ready and began and phase == "ready" else None
    return ReplicaState(id_of(pod), said.get(SAID_VERSION, ""), said.get(BUNDLE, ""), phase, address, error, began, None, cold)


def _phase(pod: Object) -> tuple[Phase, str | None]:
    status, container = pod.get("status", {}), _container(pod)
    if "deletionTimestamp" in pod["metadata"] or disrupted(pod):
        return "draining", None
    waiting = (container.get("state") or {}).get("waiting") or {}
    if status.get("phase") == "Failed" or waiting.get("reason") in _BROKEN:
        ended: dict[str, Any] = ((container.get("lastState") or container.get("state") or {}).get("terminated")) or {}
        why = ended.get("message") or waiting.get("message") or status.get("message") or "the pod failed"
        reason = ended.get("reason") or waiting.get("reason") or status.get("reason") or ""
        return "failed", f"pod {pod['metadata']['name']}: {reason}: {why}"
    if _condition(pod, "Ready") and status.get("podIP"):
        return "ready", None
    waits = waits_for([pod], ())
    return "starting", None if waits is None else waits[0]


def _condition(pod: Object, type_: str) -> Object | None:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == type_ and c["status"] == "True"), None)


def _container(pod: Object) -> dict[str, Any]:
    found: list[dict[str, Any]] = pod.get("status", {}).get("containerStatuses") or [{}]
    return found[0]
