"""The run history beside ARM: when a job began and ended, why it failed, and signed addresses of its log files."""

from __future__ import annotations

from typing import Any

from penstock.testing.emulators.azure.errors import ArmError
from penstock.testing.emulators.azure.jobs import KIND, Job, settle
from penstock.testing.emulators.azure.workspace import Workspace, stamp


def details(workspace: Workspace, name: str) -> dict[str, Any]:
    """Source: RunDetails of azure-ai-ml's run history client."""
    job: Job | None = workspace.of(KIND).get(name)
    if job is None:
        raise ArmError(404, "UserError", f"Run {name} was not found")
    settle(workspace, job)
    files = [f"user_logs/std_log{f'_process_{rank}' if job.nodes > 1 else ''}.txt" for rank in range(job.nodes)]
    shown: dict[str, Any] = {
        "runId": name,
        "target": job.properties.get("computeId", "serverless").rpartition("/")[2],
        "status": job.status,
        "startTimeUtc": stamp(job.started),
        "endTimeUtc": stamp(job.ended),
        "logFiles": {
            file: f"{workspace.url}/logs/{name}.{rank}.{job.life}?sig={workspace.secret}" for rank, file in enumerate(files) if job.started
        },
    }
    if job.error is not None:
        shown["error"] = {"error": {"code": job.error[0], "message": job.error[1]}}
    return shown


def log(workspace: Workspace, container: str, signature: str) -> bytes:
    if signature != workspace.secret:
        raise ArmError(403, "AuthenticationFailed", "Signature did not match.")
    path = workspace.processes.folder / container / "log"
    return path.read_bytes() if "/" not in container and path.exists() else b""
