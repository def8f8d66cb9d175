"""Why a job ended that did not end by itself: past a limit, cancelled, killed, or lost with its control process."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from penstock.core.errors import Interrupted, StepFailed, StepMemory, StepTimeout, StepTransient
from penstock.core.units import show_bytes, show_seconds
from penstock.platforms.contract import JobSpec, JobState
from penstock.platforms.failures import error_json


def past_timeout(job: JobSpec) -> dict[str, Any]:
    return error_json(StepTimeout(f"step {job.step!r} ran longer than its timeout of {show_seconds(job.timeout_s or 0)} and was stopped"))


def past_memory(job: JobSpec, seen_bytes: int) -> dict[str, Any]:
    limit = show_bytes(job.memory_bytes or 0)
    return error_json(StepMemory(f"step {job.step!r} used {show_bytes(seen_bytes)}, over its limit of {limit}, and was killed"))


def cancelled(step: str) -> dict[str, Any]:
    return error_json(Interrupted(f"step {step!r} was cancelled"))


def asked_from_outside(job: JobSpec, folder: Path) -> JobState:
    """Another control process left word that it cancelled the job; else somebody sent a signal, as a machine does that is taken away."""
    if (folder / "cancel").exists():
        return JobState("cancelled", error=cancelled(job.step))
    error = StepTransient(f"the process of step {job.step!r} was told to stop by somebody else")
    return JobState("failed", error=error_json(error, "WorkerStopped", True))


def lost(step: str) -> dict[str, Any]:
    error = StepTransient(f"the process that worked on {step!r} is gone: it was killed, or the machine restarted")
    return error_json(error, "WorkerLost", True)


def never_began(job: JobSpec, status: int, log: Path) -> dict[str, Any]:
    """The worker ended while it was starting: its interpreter or its environment is broken. Its last words are in `log`."""
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-6:])
    return error_json(StepFailed(f"the worker for step {job.step!r} could not start (exit {status}):\n{tail}"), "WorkerBroken")


def died(job: JobSpec, status: int, out_of_memory: bool) -> dict[str, Any]:
    """`status` as in Popen.returncode. Such an end is called transient the first time only."""
    once = job.attempt == 1
    if status >= 0:
        return error_json(StepFailed(f"step {job.step!r} ended its process with exit code {status}"), "WorkerExited", once)
    name = signal.Signals(-status).name
    if out_of_memory:
        return error_json(StepMemory(f"step {job.step!r} was killed by the system ({name}): the machine ran out of memory"), None, once)
    return error_json(StepFailed(f"step {job.step!r} was killed by {name}"), "WorkerKilled", once)


def kills_for_memory() -> int:
    """How often the kernel has killed for lack of memory since it started; 0 where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
