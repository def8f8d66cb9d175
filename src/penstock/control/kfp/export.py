"""`penstock export kfp`: the steps that a run would do, as a pipeline that another system runs. What its containers need goes to the store.

Not covered: gates, the registry and deployments, which a `penstock run` of the same file does afterwards with the builds that it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.control.exporting.tasks import plain, remember, require_shared, tasks_of
from penstock.control.exporting.values import parameter
from penstock.control.kfp.ir import pipeline_spec
from penstock.control.preparing import Prepared, home_of, platform_config, platform_of, prepare
from penstock.control.world import World, open_world
from penstock.core.digests import digest_json, hex_of
from penstock.platforms.workflows import workflows_of
from penstock.spec.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Exported:
    """`document`: the PipelineSpec. `tasks`: [{step, task, template}]; `left_out`: [{step, why}]. `job`: where it was started, or None."""

    pipeline: str
    platform: str
    document: dict[str, Any]
    tasks: list[dict[str, str]]
    left_out: list[dict[str, str]]
    parameters: dict[str, Any] = field(default_factory=dict)
    job: str | None = None


def export(
    source: Pipeline | str | Path,
    *,
    overrides: Sequence[str] = (),
    on: str | None = None,
    parameters: Sequence[str] = (),
    start: bool = False,
) -> Exported:
    """`parameters`: paths of values that it may be started with; `start`: starts it there, once.

    Raises PlatformLacks (no pipelines there, a step that cannot be a task, artifacts on this machine), and what prepare raises.
    """
    world = open_world(home_of(source))
    try:
        return _export(prepare(source, world, overrides=overrides, on=on), world, parameters, start=start)
    finally:
        world.store.close()


def _export(prepared: Prepared, world: World, paths: Sequence[str], *, start: bool) -> Exported:
    name, platform, config = prepared.pipeline.name, platform_of(prepared.pipeline), platform_config(prepared.pipeline)
    system = workflows_of(platform, config["kind"])
    require_shared(world.store.artifacts.url)
    known = [parameter(path, prepared.graph) for path in dict.fromkeys(paths)]
    tasks = tasks_of(prepared.graph, world, known, lambda job: system.container(job, config))
    document = pipeline_spec(name, tasks, known)
    remember(name, platform, tasks, world)
    job = None
    if start:
        number = hex_of(digest_json([document, world.clock.now()]))[:12]
        job = system.start(f"penstock-{plain(name)[:60]}-{number}", document, world.store.artifacts.url, config)
    return Exported(
        name,
        platform,
        document,
        [{"step": task.node.name, "task": task.name, "template": task.uri} for task in tasks],
        [{"step": task.node.name, "why": why} for task in tasks for why in task.container.left_out],
        {one.name: {"path": one.path, "default": one.default} for one in known},
        job,
    )
