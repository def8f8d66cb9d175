"""Cloud Logging's read side: what the containers of jobs wrote, as entries of `ml_job`. Their times keep the order of the file, no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.api import monitored_resource_pb2
from google.protobuf import struct_pb2

from penstock.testing.emulators.vertex import jobs
from penstock.testing.emulators.vertex.errors import invalid
from penstock.testing.emulators.vertex.listing import matcher
from penstock.testing.emulators.vertex.messages import v2
from penstock.testing.emulators.vertex.project import PROJECT, Project, stamp


def list_(project: Project, request: Any) -> Any:
    if list(request.resource_names) != [f"projects/{PROJECT}"]:
        raise invalid([("resource_names", "Only this project's logs are here.")])
    fits = matcher(request.filter, _value)
    rows = [entry for entry in _entries(project) if fits(entry)]
    if request.order_by == "timestamp desc":
        rows.reverse()
    return v2.ListLogEntriesResponse(entries=rows[: request.page_size or 50])


def _entries(project: Project) -> Iterator[Any]:
    for job in project.of(jobs.KIND).values():
        for container in job.containers():
            path = project.processes.folder / container / "log"
            lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
            replica = container.rpartition(".")[2]
            where = {"job_id": job.id, "task_name": replica, "project_id": PROJECT}
            resource = monitored_resource_pb2.MonitoredResource(type="ml_job", labels=where)
            for at, line in enumerate(line for line in lines if line):
                payload = struct_pb2.Struct()
                payload.update({"message": line})
                when = stamp(job.row.create_time.timestamp() + at * 1e-3)
                name = f"projects/{PROJECT}/logs/{replica}"
                yield v2.LogEntry(log_name=name, resource=resource, json_payload=payload, timestamp=when, insert_id=f"{container}-{at}")


def _value(entry: Any, field: str) -> str | None:
    if field == "resource.type":
        return str(entry.resource.type)
    if field.startswith("resource.labels."):
        found: str | None = dict(entry.resource.labels).get(field.removeprefix("resource.labels."))
        return found
    return None
