"""What the container of an exported step is told: the step without its inputs, kept in the artifact store at `jobs/templates/<hex>.json`.

The key of a step follows from what was built before it, so only the container knows it: there the step is bound to the digests that the
pipeline system hands on, and is then a job like any other. One whose key is in the store is over at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.control.exporting.values import changed
from penstock.control.graph import Node, resolved
from penstock.control.keys import key_parts, step_key
from penstock.control.preparing import UNKNOWN_KEY
from penstock.control.steps import job_of
from penstock.core.digests import digest_bytes, hex_of
from penstock.core.errors import BadInput, Interrupted, NotFound, StepFailed
from penstock.core.files import write_atomic
from penstock.platforms.contract import JobResult, JobSpec
from penstock.platforms.jobs_codec import TEMPLATES, publish, split_uri
from penstock.platforms.remote.carrying import carried
from penstock.platforms.remote.notes import failure, reference_of
from penstock.spec.pipeline import Source

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts


Anew = Mapping[str, Mapping[str, Mapping[str, Any]]]  # of a data step: part → place in it → the source, looked at again when it runs


@dataclass(frozen=True, slots=True)
class Given:
    """`run`: the pipeline system's name of this run. `inputs`: name → digest; `values`: path of the file → text."""

    run: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


def portable(node: Node, artifacts: Artifacts, scratch: Path) -> Node:
    """The step with all that it needs from this machine in the artifact store. Raises SourceUnreadable."""
    job = carried(job_of(node, key=UNKNOWN_KEY, run="", inputs={}, attempt=1), artifacts, scratch)
    return replace(node, external=dict(job.external), code_path=tuple(job.code_path))


def keep(node: Node, artifacts: Artifacts, anew: Anew | None = None) -> str:
    """Stores a portable step; gives the URI that `penstock exec` takes. The same step has the same one."""
    data = json.dumps({**node.as_json(), **({"anew": anew} if anew else {})}, sort_keys=True).encode()
    note = f"{TEMPLATES}{hex_of(digest_bytes(data))}.json"
    artifacts.put_note(note, data)
    return f"{artifacts.url}#{note}"


def bound_job(uri: str, given: Given, artifacts: Artifacts, cache: Path) -> tuple[JobSpec, str]:
    """The job of a template with its inputs, published as every job is, and a name for this try of it.

    Raises NotFound, BadInput, SourceUnreadable, and StepFailed (see _try).
    """
    data = artifacts.get_note(split_uri(uri)[1])
    if data is None:
        raise NotFound(f"no step at {uri}", remedy="Export the pipeline again: what it runs is kept in the artifact store.")
    value = json.loads(data)
    anew: Anew = value.pop("anew", {})
    node = _looked_anew(changed(Node.parse(value), given.values), anew, cache)
    wanted = {name for name, binding in node.inputs.items() if binding.step}
    if wrong := sorted(wanted ^ set(given.inputs)):
        raise BadInput(f"step {node.name!r} takes --input {', '.join(sorted(wanted)) or 'nothing'}; wrong: {', '.join(wrong)}")
    inputs = {name: given.inputs.get(name, binding.digest) for name, binding in node.inputs.items()}
    job = job_of(node, key=step_key(key_parts(node, inputs)), run=given.run, inputs=inputs, attempt=1)
    name = _try(node, job, artifacts)
    publish(job, artifacts, artifacts.url)
    return job, name


def _looked_anew(node: Node, anew: Anew, cache: Path) -> Node:
    """The step with its sources as they are now."""
    external, config = dict(node.external), dict(node.config)
    for part, places in anew.items():
        config[part] = list(config[part])
        for at, source in places.items():
            found = resolved(Source.model_validate(source), Path.cwd(), cache, external)
            config[part][int(at)] = found.model_dump(mode="json", by_alias=True, exclude_none=True)
    return replace(node, external=external, config=config)


def _try(node: Node, job: JobSpec, artifacts: Artifacts) -> str:
    """Pipeline systems try again whatever a task ended by. What failed for good in this run is told again, not done again."""
    number, known = 1, None
    while (failed := failure(artifacts, reference_of(job.key, job.attempt), f"{job.run}.{number}")) is not None:
        number, known = number + 1, failed
    if known is None or known.get("transient") or known.get("type") in node.retry_on or known.get("code") == Interrupted.code:
        return f"{job.run}.{number}"
    raise StepFailed(
        f"an earlier try of this run failed for good: {known.get('message')}",
        remedy=str(known.get("remedy") or StepFailed.remedy),
        where=known.get("where"),
    )


def tell(result: JobResult, outputs: Mapping[str, Path], key: Path | None) -> None:
    """Writes the digest of each output, and the key of the build, into the files that the pipeline system reads. Raises BadInput."""
    if unknown := sorted(set(outputs) - set(result.outputs)):
        raise BadInput(f"the step made no output {unknown[0]!r} (made: {', '.join(sorted(result.outputs)) or 'none'})")
    for file, text in [*((file, result.outputs[name]) for name, file in outputs.items()), *([(key, result.key)] if key else [])]:
        write_atomic(file, text.encode(), sync=False)


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` of a repeated option. Raises BadInput."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadInput(f"{option} {text!r}: write NAME=VALUE")
        found[name] = value
    return found
