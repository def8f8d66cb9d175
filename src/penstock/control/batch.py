"""Batch inference from Python and from the commands alike: `penstock.batch("intents", "in.csv", "out.parquet")`.

The answers are an artifact under a key made of the bundle, the bytes of the input and the parameters: the same batch asked again is there
at once, and one that was killed goes on after its last finished part.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.control.world import World, open_world
from penstock.core.digests import digest_json
from penstock.core.errors import BadInput, Interrupted, NotFound, PenstockError, StepFailed
from penstock.core.files import told_plainly
from penstock.core.home import Home
from penstock.platforms.contract import JobHandle, Jobs, JobSpec, JobState
from penstock.platforms.log_lines import parse
from penstock.spec.steps import PredictConfig
from penstock.stages.table import VERSIONS

if TYPE_CHECKING:
    from penstock.control.services import Service
    from penstock.platforms.quotes import Quote
    from penstock.store.registry import ModelVersion
    from penstock.store.resources import Resource
    from penstock.store.store import Store

Place = tuple[str, Mapping[str, Any]]  # a platform's name and section
HERE: Place = ("laptop", {"kind": "local"})
POLL_S = 0.1
TRIES = 3
# What does not enter the key: how fast, and how many failures are borne.
_NOT_KEYED = ("concurrency", "rows_per_part", "max_failures", "engine_class")


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """`text`: the column that is sent (InputFilter), `join` and `keep`: JoinSource and OutputFilter; the rest as in PredictConfig.

    `vendor`: the platform's own service answers, on so many `instances` of type `machine` (None: the section's, or the cheapest).
    """

    openai: bool = False
    text: str | None = None  # None: text, prompt or input, whichever is there
    join: bool = True
    keep: Sequence[str] = ()
    prefix: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    max_failures: int | None = None
    rows_per_request: int = 32
    max_payload_bytes: int = 1 << 20
    concurrency: int = 8
    rows_per_part: int = 1024
    engine_class: str | None = None
    vendor: bool = False
    instances: int = 1
    machine: str | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What `penstock batch run --json` prints. `artifact` holds the answers; `failures` counts rows that have an error instead."""

    batch: str
    status: str
    model: str
    bundle: str
    input: str
    output: str
    rows: int
    failures: int
    seconds: float
    artifact: str


Seen = Callable[[Mapping[str, Any]], None]


def batch(
    model: str,
    source: str | Path,
    output: str | Path,
    *,
    options: BatchOptions | None = None,
    on: str | None = None,
    seen: Seen = lambda _progress: None,
) -> BatchResult:
    """Answers every row of `source` by `model` and writes `output`. `seen` gets each progress line (done, total, facts).

    `on`: a platform of the pipeline file that made the version; default: this machine.

    `model`: MODEL, MODEL:VERSION, MODEL@ALIAS, or deployment:NAME for the version that has most of its traffic.
    Raises NotFound, BadInput, StepFailed, Interrupted, PlatformLacks and what else a platform refuses.
    """
    world = open_world(Home.find())
    try:
        return _run(world, model, Path(source), Path(output), options or BatchOptions(), on, seen)
    finally:
        world.close()
        world.store.close()


def _run(world: World, model: str, source: Path, output: Path, options: BatchOptions, on: str | None, seen: Seen) -> BatchResult:
    name, found = find_version(world, model)
    bundle, task, place = found.bundle, found.task, _place(world, found, on)
    config = configured(world, name, task, source, output, options)
    service = _service(world, place, options)
    digest, keyed = config.digest, config.model_dump(mode="json", exclude=set(_NOT_KEYED))
    # Where the file lies and what it is called changes no answer, only the ending that tells its format.
    keyed["file_name"] = Path(config.file_name).suffix
    parts = {"stage": "predict", "stage_version": VERSIONS["predict"], "config": keyed, "inputs": {"bundle": bundle}}
    key = digest_json(parts)
    spec: dict[str, Any] = {"model": model, "bundle": bundle, "input": str(source.absolute()), "output": str(output.absolute()), "key": key}
    if place != HERE:  # where `penstock down` looks for what is left
        spec["platform"] = {"name": place[0], "config": dict(place[1])}
    row = world.store.resources.create("batch", name, spec, phase="running", due_at=None)
    job = JobSpec(key, row.id, "predict", "predict", config.model_dump(mode="json"), {"bundle": bundle}, {digest: str(source.absolute())})
    began = time.monotonic()
    try:
        state = _through(world, place, job, seen) if service is None else _by(service, world, job, seen)
        rows, failures, artifact = _finished(world, state, output, config)
    except BaseException as error:
        phase = "interrupted" if isinstance(error, (KeyboardInterrupt, Interrupted)) else "failed"
        _save(world, row, phase, {"error": error.as_json() if isinstance(error, PenstockError) else {"message": str(error)}})
        raise
    seconds = time.monotonic() - began
    _save(world, row, "succeeded", {"rows": rows, "failures": failures, "artifact": artifact, "seconds": seconds})
    return BatchResult(row.id, "succeeded", model, bundle, str(source), str(output), rows, failures, seconds, artifact)


def quote(model: str, on: str | None, options: BatchOptions) -> Quote | None:
    """What the vendor's service would take for it and which calls would be made; None where ours answers. Asks nobody.

    Raises NotFound, BadInput, PlatformLacks.
    """
    world = open_world(Home.find())
    try:
        service = _service(world, _place(world, find_version(world, model)[1], on), options)
        return None if service is None else service.quote()
    finally:
        world.close()
        world.store.close()


def _service(world: World, place: Place, options: BatchOptions) -> Service | None:
    """The vendor's, where it is asked for. Raises PlatformLacks."""
    if not options.vendor:
        return None
    from penstock.control.services import service_on

    return service_on(world, place, options.machine, options.instances)


def _by(service: Service, world: World, job: JobSpec, seen: Seen) -> JobState:
    from penstock.control.services import by_service

    return by_service(service, world, job, seen)


def find_version(world: World, model: str) -> tuple[str, ModelVersion]:
    """The name to send and the version that `model` says. Raises NotFound, BadInput."""
    if model.startswith("deployment:"):
        from penstock.control.deployments import get_deployment
        from penstock.control.split import leading, live_of

        resource = get_deployment(world, model.removeprefix("deployment:"))
        live = leading(live_of(resource.status))
        if live is None:
            raise BadInput(f"{resource.name!r} serves no version now", remedy="Wait until it is live, or name MODEL:VERSION.")
        return resource.name, world.store.registry.get(resource.spec["model"], live.version)
    name, mark, version = model.partition("@") if "@" in model else model.partition(":")
    if mark and not version:
        raise BadInput(f"{model!r} names no version", remedy="Write MODEL, MODEL:3, MODEL@champion or deployment:NAME.")
    wanted: int | str = int(version) if version.isdigit() else version or "champion"
    if mark:
        return name, world.store.registry.get(name, wanted)
    try:
        return name, world.store.registry.get(name, "champion")
    except NotFound:
        return name, world.store.registry.get(name, "latest")


def configured(world: World, name: str, task: str, source: Path, output: Path, options: BatchOptions) -> PredictConfig:
    """The checked config of the job. Raises BadInput before anything starts."""
    from penstock.platforms.external import known_digest
    from penstock.serving.batch.columns import PATHS, check
    from penstock.serving.batch.rows import columns_of, format_of

    kind = format_of(output)
    if kind == "tsv":
        raise BadInput("answers are written as .jsonl, .csv or .parquet", remedy="Choose another ending for the output.")
    if options.openai and kind != "jsonl":
        raise BadInput("OpenAI's batch format is JSON Lines", remedy="Let the output end with .jsonl.")
    if output.absolute() == source.absolute():
        raise BadInput(f"{output} is the input", remedy="Write the answers to another file.")
    columns = columns_of(source)
    path = PATHS.get(task, "/v1/completions")
    params = dict(options.params)
    if path == "/v1/completions":
        params.setdefault("temperature", 0)
        params.setdefault("max_tokens", 64)
        if params["temperature"] and options.seed is None:
            raise BadInput(
                "answers at a temperature above 0 would differ from run to run", remedy="Give a --seed, or leave the temperature 0."
            )
    config = PredictConfig(
        name=name,
        file_name=source.name,
        digest=known_digest(source, world.home.cache),
        form="openai" if options.openai else "rows",
        output=kind,  # type: ignore[arg-type]
        path=path,
        text=options.text or next((name for name in ("text", "prompt", "input") if name in columns), "text"),
        join=options.join,
        keep=tuple(column.removeprefix("$.") for column in options.keep),
        prefix=options.prefix,
        params=params,
        seed=options.seed,
        max_failures=options.max_failures,
        rows_per_request=options.rows_per_request,
        max_payload_bytes=options.max_payload_bytes,
        concurrency=options.concurrency,
        rows_per_part=options.rows_per_part,
        engine_class=options.engine_class,
    )
    check(config, columns)
    return config


def _place(world: World, version: ModelVersion, on: str | None) -> Place:
    """Raises BadInput for a platform that the file of the version does not declare."""
    if on is None or on == HERE[0]:
        return HERE
    from penstock.control.delivery import platforms_of

    return on, platforms_of(world, version, on)[on]


def _through(world: World, place: Place, job: JobSpec, seen: Seen) -> JobState:
    """Submits until it ended for a reason that another attempt would meet again; a worker that was lost is such a reason TRIES times."""
    jobs = world.jobs(*place)
    handle = jobs.submit(job)
    try:
        state = _watched(jobs, handle, seen)
        while state.phase == "failed" and (state.error or {}).get("transient") and job.attempt < TRIES:
            job = replace(job, attempt=job.attempt + 1)
            handle = jobs.submit(job)
            state = _watched(jobs, handle, seen)
    except KeyboardInterrupt:
        jobs.cancel(handle)
        raise Interrupted("stopped from the keyboard; the same command goes on after the last finished part") from None
    return state


def _watched(jobs: Jobs, handle: JobHandle, seen: Seen) -> JobState:
    cursor = 0
    while True:
        state = jobs.observe(handle)
        page = jobs.logs(handle, cursor)
        cursor = page.cursor
        for line in page.lines:
            _tell(line, seen)
        if state.phase in ("succeeded", "failed", "cancelled"):
            return state
        jobs.wait(POLL_S)


def _tell(line: str, seen: Seen) -> None:
    value = parse(line)
    if value is not None and "progress" in value:
        seen(value["progress"])


def _finished(world: World, state: JobState, output: Path, config: PredictConfig) -> tuple[int, int, str]:
    """Rows, failures and the artifact, once the answers lie at `output`. Raises what the job ended with."""
    if state.result is None:
        error = dict(state.error or {})
        kind = Interrupted if state.phase == "cancelled" or error.get("code") == "interrupted" else StepFailed
        raise kind(str(error.get("message", "the batch failed")), remedy=str(error.get("remedy") or kind.remedy))
    rows, failures = int(state.result.metrics["rows"]), int(state.result.metrics["failed"])
    if config.max_failures is not None and failures > config.max_failures:
        raise StepFailed(f"{failures:,} rows failed, more than the {config.max_failures:,} that may (--max-failures)")
    digest = state.result.outputs["predictions"]
    folder = world.store.artifacts.materialize(digest)
    _copied(folder / f"predictions.{config.output}", output)
    if (folder / "failures.jsonl").is_file():
        _copied(folder / "failures.jsonl", output.with_name(f"{output.name}.failures.jsonl"))
    return rows, failures, digest


def _copied(made: Path, target: Path) -> None:
    """Beside, then named: a reader never sees half a file."""
    with told_plainly(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.part")
        shutil.copyfile(made, beside)
        os.replace(beside, target)


def _save(world: World, row: Resource, phase: str, status: Mapping[str, Any]) -> None:
    if world.store.resources.take("batch", row.id, world.owner, 15.0):
        world.store.resources.save("batch", row.id, world.owner, status=dict(status), phase=phase, due_at=None)
        world.store.resources.release("batch", row.id, world.owner)


def batch_rows(store: Store, limit: int = 50) -> list[dict[str, Any]]:
    """What commands print of batches, newest first."""
    return [batch_row(row) for row in store.resources.list("batch", limit=limit)]


def batch_row(row: Resource) -> dict[str, Any]:
    platform = row.spec.get("platform", {}).get("name", HERE[0])
    return {"id": row.id, "phase": row.phase, "created_at": row.created_at, **row.spec, "platform": platform, **row.status}


def find_batch(store: Store, text: str) -> dict[str, Any]:
    """By id, the beginning of an id, or `latest`. Raises NotFound."""
    rows = batch_rows(store, 1000)
    found = (
        rows[:1] if text == "latest" else [row for row in rows if row["id"].removeprefix("batch-").startswith(text.removeprefix("batch-"))]
    )
    if len(found) != 1:
        what = f"begins {len(found)} batches" if found else "is no batch"
        raise NotFound(f"{text!r} {what}", remedy="List them with `penstock batch list`.")
    return found[0]
