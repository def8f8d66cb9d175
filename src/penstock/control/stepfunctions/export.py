"""`penstock export stepfunctions`: the steps that a run would do, as a state machine of AWS Step Functions, and what starts it there.

Not covered: gates, the registry and deployments, which a `penstock run` of the same file does afterwards with the builds that it finds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from penstock.control.exporting.tasks import remember, require_shared, tasks_of
from penstock.control.exporting.templates import Anew
from penstock.control.exporting.values import parameter
from penstock.control.graph import CHAMPION_STEP
from penstock.control.preparing import Prepared, home_of, moved, platform_config, platform_of, prepare
from penstock.control.stepfunctions.asl import state_machine
from penstock.control.stepfunctions.starts import of_triggers, on_objects, scheduled
from penstock.control.world import World, open_world
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import BadInput
from penstock.platforms.contract import JobSpec
from penstock.platforms.jobs_codec import TEMPLATES
from penstock.platforms.workflows import Applied, Start, state_machines_of
from penstock.spec.load import load
from penstock.spec.pipeline import Pipeline

_LONGEST = 1 << 20  # of a definition, in bytes


@dataclass(frozen=True, slots=True)
class Unasked:
    """When it shall start by itself. `triggers`: as the file says, too."""

    schedules: Sequence[str] = ()
    timezone: str = "UTC"
    objects: Sequence[str] = ()
    triggers: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """`document`: the state machine. `tasks`: [{step, task, template}]. `left_out`: [{what, why}], of the file. `anew`: sources that each
    execution looks at again.

    `starts`: what starts it. Where it was submitted, `machine` is its ARN, `execution` that which was started, `did` what was changed.
    """

    pipeline: str
    platform: str
    document: dict[str, Any]
    tasks: list[dict[str, str]]
    left_out: list[dict[str, str]]
    anew: list[str]
    starts: list[dict[str, Any]]
    parameters: dict[str, Any] = field(default_factory=dict)
    machine: str | None = None
    execution: str | None = None
    did: list[str] = field(default_factory=list)


def export(
    source: Pipeline | str | Path,
    *,
    overrides: Sequence[str] = (),
    on: str | None = None,
    parameters: Sequence[str] = (),
    unasked: Unasked = Unasked(),
    submit: bool = False,
) -> Exported:
    """`parameters`: paths of values that it may be started with; `submit`: makes or changes it there with its starts, and starts it once.

    Raises PlatformLacks (no state machines there, a step that cannot be a task, artifacts on this machine), BadInput, what prepare raises.
    """
    world = open_world(home_of(source))
    try:
        return _export(prepare(source, world, overrides=overrides, on=on), world, parameters, unasked, submit=submit)
    finally:
        world.store.close()


def remove(source: Pipeline | str | Path, *, on: str | None = None) -> list[str]:
    """Takes away the machine of the pipeline with all that starts it; says what went. Raises as export does."""
    world = open_world(home_of(source))
    try:
        pipeline = moved(source if isinstance(source, Pipeline) else load(Path(source)).pipeline, on)
        platform, config = platform_of(pipeline), platform_config(pipeline)
        return list(state_machines_of(platform, config["kind"]).remove(pipeline.name, config, world.store.artifacts.url))
    finally:
        world.store.close()


def _export(prepared: Prepared, world: World, paths: Sequence[str], unasked: Unasked, *, submit: bool) -> Exported:
    pipeline, store = prepared.pipeline, world.store.artifacts.url
    name, platform, config = pipeline.name, platform_of(pipeline), platform_config(pipeline)
    system = state_machines_of(platform, config["kind"])
    require_shared(store)
    starts = starts_of(pipeline, unasked)
    known = [parameter(path, prepared.graph) for path in dict.fromkeys(paths)]
    anew = _anew(pipeline)
    like = f"{store}#{TEMPLATES}{'0' * 64}.json"  # as long as the one that it will be

    def request(job: JobSpec) -> Mapping[str, Any]:
        return system.request(job, like, config, store)

    tasks = tasks_of(prepared.graph, world, known, request, anew)
    document = state_machine(name, tasks, known, store)
    if (size := len(json.dumps(document))) > _LONGEST:
        raise BadInput(f"the state machine would have {size} bytes; Step Functions takes {_LONGEST}")
    remember(name, platform, tasks, world)
    applied: Applied | None = None
    execution = None
    if submit:
        applied = system.apply(name, document, starts, config, store)
        execution = system.start(applied, f"by-hand-{hex_of(digest_json([document, world.clock.now()]))[:20]}", config)
    return Exported(
        name,
        platform,
        document,
        [{"step": task.node.name, "task": task.name, "template": task.uri} for task in tasks],
        _left_out(prepared, unasked),
        sorted(str(source["uri"]) for places in anew.values() for source in places.values()),
        [asdict(one) for one in starts],
        {one.name: {"path": one.path, "default": one.default} for one in known},
        applied.machine if applied else None,
        execution,
        list(applied.did) if applied else [],
    )


def starts_of(pipeline: Pipeline, unasked: Unasked) -> list[Start]:
    """Raises BadInput, PlatformLacks."""
    found = [scheduled(text, unasked.timezone) for text in unasked.schedules]
    found += [on_objects(uri) for uri in unasked.objects]
    return list(dict.fromkeys([*found, *(of_triggers(pipeline) if unasked.triggers else ())]))


def _left_out(prepared: Prepared, unasked: Unasked) -> list[dict[str, str]]:
    """What the file asks for and a state machine does not do."""
    pipeline, where = prepared.pipeline, f"`penstock run --on {platform_of(prepared.pipeline)}`"
    compared = any(node.name == CHAMPION_STEP for node in prepared.graph)
    told = {
        "gates": (bool(pipeline.gates), f"judged by {where} on what was built, which then registers the version"),
        "deploy": (pipeline.deploy is not None, f"done by {where}, where the gates pass"),
        "champion": (compared, "the one that is compared with is today's: export again when another is crowned"),
        "triggers": (bool(pipeline.triggers) and not unasked.triggers, "kept by `penstock up`; with --triggers by AWS"),
    }
    return [{"what": what, "why": why} for what, (asked, why) in told.items() if asked]


def _anew(pipeline: Pipeline) -> Anew:
    """Sources with an address beyond this machine: what they hold may be other bytes when the machine is started."""
    if pipeline.data is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for part, sources in (("sources", pipeline.data.sources), ("test", pipeline.data.test)):
        for at, source in enumerate(sources):
            scheme = urlsplit(source.uri or "").scheme
            if len(scheme) > 1 and scheme != "file":
                row = source.model_dump(mode="json", by_alias=True, exclude_unset=True)
                found.setdefault(part, {})[str(at)] = row
    return found
