"""Jobs, indexed or not: pods until enough succeeded; deadlines, back-off, pod failure policy, suspension, time to live."""

from __future__ import annotations

import datetime
from typing import Any

from penstock.testing.emulators.kubernetes.defaults import now
from penstock.testing.emulators.kubernetes.objects import Object
from penstock.testing.emulators.kubernetes.world import World, active, condition, ended, ready, with_condition

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"


def sync(world: World) -> None:
    for job in world.all("Job"):
        if _finished(job):
            _expire(job, world)
        elif "deletionTimestamp" not in job["metadata"]:
            _sync(job, world)
    _release(world)


def _finished(job: Object) -> bool:
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None


def _sync(job: Object, world: World) -> None:
    spec, pods = job["spec"], world.owned("Pod", job)
    if spec.get("suspend"):
        for pod in active(pods):
            world.delete(pod)
        world.status(job, active=0, conditions=with_condition(job, "Suspended", "True", "JobSuspended", "Job suspended"), startTime=None)
        return
    started = job.get("status", {}).get("startTime") or now()
    succeeded, failed = _counted(pods, "Succeeded"), _counted(pods, "Failed")
    going = active(pods)
    ending = condition(job, "FailureTarget")
    why = (ending["reason"], ending.get("message", "")) if ending else _why_failed(job, pods, started, world)
    fields: dict[str, Any] = {"startTime": started, "succeeded": len(succeeded), "failed": len(failed), "active": len(going)}
    fields |= {"ready": len([p for p in going if ready(p)]), "terminating": len([p for p in pods if not ended(p) and p not in going])}
    if why is not None:
        for pod in going:
            world.delete(pod)
        over = all(ended(pod) for pod in pods)
        kind = "Failed" if over else "FailureTarget"
        world.status(job, **fields | {"active": 0}, conditions=with_condition(job, kind, "True", *why))
        return
    wanted = spec.get("completions")
    done = len({_index(p) for p in succeeded}) if spec["completionMode"] == "Indexed" else len(succeeded)
    if wanted is not None and done >= wanted and not going:
        ends = with_condition(job, "Complete", "True", "CompletionsReached", "Reached expected number of succeeded pods")
        world.status(job, **fields, completionTime=now(), conditions=ends)
        return
    world.status(job, **fields)
    for index in _missing(job, pods, going):
        world.create(job, _pod(job, index))


def _counted(pods: list[Object], phase: str) -> list[Object]:
    return [pod for pod in pods if pod.get("status", {}).get("phase") == phase]


def _index(pod: Object) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(INDEX, ""))


def _why_failed(job: Object, pods: list[Object], started: str, world: World) -> tuple[str, str] | None:
    spec = job["spec"]
    limit = spec.get("activeDeadlineSeconds")
    age = world.clock() - datetime.datetime.fromisoformat(started).timestamp()
    if limit is not None and age >= limit:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    failures = 0
    for pod in _counted(pods, "Failed"):
        action = _action(pod, spec.get("podFailurePolicy") or {})
        if action == "FailJob":
            name = pod["metadata"]["name"]
            return "PodFailurePolicy", f"Pod {pod['metadata'].get('namespace')}/{name} has condition or exit code matching FailJob rule"
        failures += action != "Ignore"
    if failures > spec.get("backoffLimit", 6):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    return None


def _action(pod: Object, policy: dict[str, Any]) -> str:
    state = ((pod["status"].get("containerStatuses") or [{}])[0].get("state") or {}).get("terminated") or {}
    for rule in policy.get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if condition(pod, pattern["type"]) is not None:
                return str(rule["action"])
        codes = rule.get("onExitCodes")
        if codes and state and (state["exitCode"] in codes["values"]) == (codes["operator"] == "In") and state["exitCode"]:
            return str(rule["action"])
    return "Count"


def _missing(job: Object, pods: list[Object], going: list[Object]) -> list[int]:
    spec = job["spec"]
    # With podReplacementPolicy Failed, a pod that is on its way out is replaced once it is gone.
    there = [p for p in pods if not ended(p)] if spec.get("podFailurePolicy") else going
    room = spec.get("parallelism", 1) - len(there)
    if spec["completionMode"] == "Indexed":
        taken = {_index(p) for p in there} | {_index(p) for p in _counted(pods, "Succeeded")}
        return [i for i in range(spec["completions"]) if str(i) not in taken][: max(0, room)]
    wanted = spec.get("completions")
    if wanted is not None:
        room = min(room, wanted - len(_counted(pods, "Succeeded")) - len(there))
    return list(range(max(0, room)))


def _pod(job: Object, index: int) -> Object:
    name, template = job["metadata"]["name"], job["spec"]["template"]
    meta = {**(template.get("metadata") or {}), "generateName": f"{name}-", "finalizers": [FINALIZER]}
    spec = dict(template["spec"])
    if job["spec"]["completionMode"] == "Indexed":
        meta["generateName"] = f"{name}-{index}-"
        meta["annotations"] = {**(meta.get("annotations") or {}), INDEX: str(index)}
        meta["labels"] = {**(meta.get("labels") or {}), INDEX: str(index)}
        spec["hostname"] = f"{name}-{index}"
        variable = {"name": "JOB_COMPLETION_INDEX", "value": str(index)}
        spec["containers"] = [{**c, "env": [*(c.get("env") or ()), variable]} for c in spec["containers"]]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _release(world: World) -> None:
    """Pods that ended have been counted: they may go, when they are asked to."""
    for pod in world.all("Pod"):
        finalizers = pod["metadata"].get("finalizers") or []
        if FINALIZER in finalizers and ended(pod):
            with world.objects.lock:
                present = world.get("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])
                if present is not None:
                    left = [f for f in finalizers if f != FINALIZER]
                    world.put({**present, "metadata": {**present["metadata"], "finalizers": left}})


def _expire(job: Object, world: World) -> None:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None:
        return
    ends = [c["lastTransitionTime"] for c in job["status"]["conditions"] if c["type"] in ("Complete", "Failed")]
    if world.clock() - datetime.datetime.fromisoformat(ends[0]).timestamp() >= ttl:
        world.delete(job, propagationPolicy="Background")
