"""Jobs as custom jobs. Vertex AI names them itself, so ours is found by its display name, and asked for again only when it is not there.

Not covered: training pipelines and tuning jobs (steps of the file do that), persistent resources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.core.errors import PlatformFull, StepTimeout
from penstock.platforms.remote.driver import Order, Phase, Sight
from penstock.platforms.remote.retrying import patiently
from penstock.platforms.vertex.errors import may_pass
from penstock.platforms.vertex.google import Google, not_there
from penstock.platforms.vertex.machines import machine_spec
from penstock.platforms.vertex.settings import labels, store_mark

KIND = "vertex"
TAIL_LINES = 50
_EXHAUSTED, _INTERNAL, _LATE, _UNAVAILABLE = 8, 13, 4, 14  # google.rpc.Code
_PHASES: Mapping[str, Phase] = {
    "QUEUED": "pending",
    "PENDING": "pending",
    "RUNNING": "running",
    "CANCELLING": "running",
    "PAUSED": "pending",
    "UPDATING": "running",
    "SUCCEEDED": "succeeded",
    "PARTIALLY_SUCCEEDED": "succeeded",
    "CANCELLED": "stopped",
    "FAILED": "failed",
    "EXPIRED": "failed",
}
LIVE = tuple(state for state, phase in _PHASES.items() if phase in ("pending", "running"))


@dataclass(slots=True)
class CustomJobs:
    """The Driver. `store`: URL of the artifact store."""

    google: Google
    store: str
    platform: str = KIND

    def create(self, order: Order) -> None:
        request = {"parent": self.google.settings.parent, "custom_job": self.request(order)}
        self.google.told(
            "JobService.CreateCustomJob", lambda: patiently(lambda: self._created(order, request), may_pass, self.google.patience)
        )

    def _created(self, order: Order, request: dict[str, Any]) -> None:
        """The service has no token to make a call idempotent: before each we look whether it came."""
        if not self._found(order.name):
            self.google.once("JobService.CreateCustomJob", request)

    def request(self, order: Order) -> dict[str, Any]:
        """The CustomJob that CreateCustomJob is called with."""
        settings, (entry, *arguments) = self.google.settings, order.command
        pool = {
            "machine_spec": machine_spec(order.machine),
            "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": settings.disk_gb},
            "container_spec": {
                "image_uri": settings.image,
                "command": [entry],
                "args": arguments,
                "env": [{"name": name, "value": value} for name, value in sorted(order.environment.items())],
            },
        }
        sizes = [1] if order.nodes == 1 else [1, order.nodes - 1]  # the chief has a pool of its own
        seconds = int(min(order.timeout_s or settings.longest, settings.longest))
        spec: dict[str, Any] = {
            "worker_pool_specs": [{**pool, "replica_count": size} for size in sizes],
            "scheduling": {"timeout": {"seconds": max(1, seconds)}, "strategy": "SPOT" if order.spot else "STANDARD"},
        }
        if settings.service_account:
            spec["service_account"] = settings.service_account
        if settings.network:
            spec["network"] = settings.network
        mine = {"penstock_store": store_mark(self.store)}
        return {"display_name": order.name, "job_spec": spec, "labels": labels(settings.labels, order.labels, mine)}

    def look(self, name: str) -> Sight | None:
        """Of twins, which a lost answer could leave, the first one counts and the others are ended."""
        rows = self._found(name)
        if not rows:
            return None
        for twin in rows[1:]:
            if _PHASES.get(state_of(twin)) in ("pending", "running") and state_of(twin) != "CANCELLING":
                self._cancel(twin.name)
        return sight_of(rows[0])

    def tail(self, name: str) -> Sequence[str]:
        """The end of what its containers wrote, from Cloud Logging; nothing where it may not be read."""
        rows = self._found(name)
        if not rows:
            return []
        job = rows[0].name.rpartition("/")[2]
        request = {
            "resource_names": [f"projects/{self.google.settings.project}"],
            "filter": f'resource.type="ml_job" AND resource.labels.job_id="{job}"',
            "order_by": "timestamp desc",
            "page_size": TAIL_LINES,
        }
        pages = self.google.call("Logging.ListLogEntries", request, _not_readable)
        entries = [] if pages is None else list(next(iter(pages.pages)).entries)
        return [_text(entry) for entry in reversed(entries)]

    def stop(self, name: str) -> None:
        for row in self._found(name):
            self._cancel(row.name)

    def remove(self, name: str) -> None:
        """A job that ended costs nothing, and its row is the record of what was paid: it stays."""

    def left(self) -> Sequence[str]:
        mark = store_mark(self.store)
        live = [f'state="JOB_STATE_{state}"' for state in LIVE]
        found = []
        for one in live:
            request = {"parent": self.google.settings.parent, "filter": f'labels.penstock_store="{mark}" AND {one}', "page_size": 100}
            found += [str(row.display_name) for row in self.google.rows("JobService.ListCustomJobs", request)]
        return sorted(found)

    def _found(self, name: str) -> list[Any]:
        """The jobs of that display name in this store's right, the oldest first."""
        mine = f'display_name="{name}" AND labels.penstock_store="{store_mark(self.store)}"'
        request = {"parent": self.google.settings.parent, "filter": mine, "page_size": 100}
        return sorted(self.google.rows("JobService.ListCustomJobs", request), key=lambda row: (row.create_time, row.name))

    def _cancel(self, resource: str) -> None:
        self.google.call("JobService.CancelCustomJob", {"name": resource}, not_there)


def sight_of(job: Any) -> Sight:
    """What a CustomJob says, in our words."""
    sight, state = seen(job), state_of(job)
    if state in ("FAILED", "CANCELLED") and (int(job.error.code) == _LATE or _ran_out(job, sight.started_at, sight.ended_at)):
        return Sight("failed", "it ran longer than its timeout", sight.started_at, sight.ended_at, StepTimeout)
    return sight


def seen(job: Any) -> Sight:
    """What a job of any kind says, but for timeouts."""
    state, code, reason = state_of(job), int(job.error.code), str(job.error.message)
    began, ended = _seconds(job.start_time), _seconds(job.end_time)
    if state == "FAILED" and code in (_INTERNAL, _UNAVAILABLE):
        return Sight("interrupted", reason, began, ended)
    if state in ("FAILED", "EXPIRED") and (code == _EXHAUSTED or state == "EXPIRED"):
        return Sight("failed", reason or "no machine came in the time that was given for it", began, ended, PlatformFull)
    phase = _PHASES.get(state, "pending")
    return Sight(phase, reason, began, ended)


def _ran_out(job: Any, began: float | None, ended: float | None) -> bool:
    """Whether a cancelled job was at its timeout, however the service words that."""
    limit = job.job_spec.scheduling.timeout
    return (
        state_of(job) == "CANCELLED" and began is not None and ended is not None and bool(limit) and ended - began >= limit.total_seconds()
    )


def state_of(job: Any) -> str:
    return str(job.state.name).removeprefix("JOB_STATE_")


def _seconds(value: Any) -> float | None:
    return float(value.timestamp()) if value else None


def _text(entry: Any) -> str:
    payload = entry.json_payload
    return str(entry.text_payload or (payload.get("message", "") if payload else ""))


def _not_readable(error: Exception) -> bool:
    from google.api_core.exceptions import NotFound, PermissionDenied

    return isinstance(error, NotFound | PermissionDenied)
