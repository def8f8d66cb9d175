"""JobSpec, JobResult and JobState to JSON and back, and the names of a job's notes in the artifact store.

A job's URI is the artifact store's URL, `#`, and the name of the note: `file:///srv/artifacts#jobs/<64 hex digits>.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from penstock.core.digests import hex_of
from penstock.core.errors import BadInput, NotFound
from penstock.platforms.contract import JobResult, JobSpec, JobState

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts


TEMPLATES = "jobs/templates/"  # of steps whose inputs are not known yet (control/exporting)


def note_of(key: str) -> str:
    return f"jobs/{hex_of(key)}.json"


def marker_of(key: str) -> str:
    """Name of the completion marker."""
    return f"jobs/{hex_of(key)}.result.json"


def uri_of(job: JobSpec, artifacts_url: str) -> str:
    return f"{artifacts_url}#{note_of(job.key)}"


def split_uri(uri: str) -> tuple[str, str]:
    """(artifact store's URL, name of the note). Raises BadInput."""
    store, mark, note = uri.rpartition("#")
    if not mark or not store or not (note.startswith("jobs/") and note.endswith(".json")):
        raise BadInput(
            f"{uri!r} is not the URI of a job", remedy="Write STORE-URL#jobs/KEY.json, such as file:///srv/artifacts#jobs/0a1b….json"
        )
    return store, note


def is_template(uri: str) -> bool:
    return split_uri(uri)[1].startswith(TEMPLATES)


def _as_json(record: JobSpec | JobResult) -> dict[str, Any]:
    """Shallow: the fields are JSON values already, but for tuples and mappings of other types."""
    found: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        found[field.name] = dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
    return found


def job_to_json(job: JobSpec) -> dict[str, Any]:
    return _as_json(job)


def job_from_json(value: Mapping[str, Any]) -> JobSpec:
    """Raises BadInput when a field is missing or unknown."""
    try:
        return JobSpec(**{**value, "code_path": tuple(value.get("code_path", ())), "environment": tuple(value.get("environment", ()))})
    except TypeError as error:
        raise BadInput(f"not a job: {error}", remedy="Another version of Penstock wrote the note; submit the job again.") from error


def result_to_json(result: JobResult) -> dict[str, Any]:
    return _as_json(result)


def result_from_json(value: Mapping[str, Any]) -> JobResult:
    return JobResult(value["key"], value["outputs"], value["metrics"], value["seconds"])


def state_to_json(state: JobState) -> dict[str, Any]:
    return {
        "phase": state.phase,
        "result": result_to_json(state.result) if state.result else None,
        "error": dict(state.error) if state.error else None,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "peak_memory_bytes": state.peak_memory_bytes,
    }


def state_from_json(value: Mapping[str, Any]) -> JobState:
    result = result_from_json(value["result"]) if value["result"] else None
    return JobState(value["phase"], result, value["error"], value["started_at"], value["ended_at"], value["peak_memory_bytes"])


def publish(job: JobSpec, artifacts: Artifacts, artifacts_url: str) -> str:
    """Stores the job where `penstock exec` finds it; gives its URI."""
    artifacts.put_note(note_of(job.key), json.dumps(job_to_json(job)).encode())
    return uri_of(job, artifacts_url)


def fetch(uri: str, artifacts: Artifacts) -> JobSpec:
    """Raises NotFound when nothing was published there."""
    data = artifacts.get_note(split_uri(uri)[1])
    if data is None:
        raise NotFound(f"no job at {uri}", remedy="Check the URI; a job is published when its platform is asked to run it.")
    return job_from_json(json.loads(data))


def finished(key: str, artifacts: Artifacts) -> JobResult | None:
    """The result of a key whose marker stands and whose outputs are all still in the store."""
    data = artifacts.get_note(marker_of(key))
    if data is None:
        return None
    result = result_from_json(json.loads(data))
    return result if all(artifacts.has(digest) for digest in result.outputs.values()) else None
