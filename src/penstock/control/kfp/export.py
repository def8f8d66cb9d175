"""`penstock export kfp`: the steps that a run would do, as a pipeline that another system runs. What its containers need goes to the store.

Not covered: gates, the registry and deployments, which a `penstock run` of the same file does afterwards with the builds that it finds.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.control.graph import Graph
from penstock.control.kfp.ir import Task, pipeline_spec, task_names
from penstock.control.kfp.templates import keep, portable
from penstock.control.kfp.values import Parameter, parameter
from penstock.control.preparing import UNKNOWN_KEY, Prepared, home_of, platform_config, platform_of, prepare
from penstock.control.steps import job_of
from penstock.control.world import World, open_world
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import Conflict, PlatformLacks
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
    _require_shared(world.store.artifacts.url)
    known = [parameter(path, prepared.graph) for path in dict.fromkeys(paths)]
    tasks = _tasks(prepared.graph, world, known, platform, config)
    document = pipeline_spec(name, tasks, known)
    _remember(name, platform, tasks, world)
    job = None
    if start:
        plain = re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:60]
        number = hex_of(digest_json([document, world.clock.now()]))[:12]
        job = system.start(f"penstock-{plain}-{number}", document, world.store.artifacts.url, config)
    return Exported(
        name,
        platform,
        document,
        [{"step": task.node.name, "task": task.name, "template": task.uri} for task in tasks],
        [{"step": task.node.name, "why": why} for task in tasks for why in task.container.left_out],
        {one.name: {"path": one.path, "default": one.default} for one in known},
        job,
    )


def _tasks(graph: Graph, world: World, known: Sequence[Parameter], platform: str, config: dict[str, Any]) -> list[Task]:
    """All containers are asked for before anything is sent."""
    system, names = workflows_of(platform, config["kind"]), task_names([node.name for node in graph])
    asked = [job_of(node, key=UNKNOWN_KEY, run="", inputs={}, attempt=1) for node in graph]
    containers = [system.container(job, config) for job in asked]
    read = {(binding.step, binding.output) for node in graph for binding in node.inputs.values() if binding.step}
    artifacts, scratch = world.store.artifacts, world.home.folder / "scratch"
    found = []
    for node, container in zip(graph, containers, strict=True):
        sent = portable(node, artifacts, scratch)
        outputs = sorted(output for step, output in read if step == node.name)
        mine = [one for one in known if one.step == node.name]
        found.append(Task(sent, names[node.name], keep(sent, artifacts), container, outputs, mine))
    return found


def _remember(name: str, platform: str, tasks: Sequence[Task], world: World) -> None:
    """A row that names what was sent, so that garbage collection leaves it alone."""
    spec = {"platform": platform, "steps": {task.node.name: {"template": task.uri, "node": task.node.as_json()} for task in tasks}}
    ident = f"export-{hex_of(digest_json([name, spec]))[:20]}"
    with contextlib.suppress(Conflict):  # exported before, just so
        world.store.resources.create("export", name, spec, id=ident, phase="exported", due_at=None)


def _require_shared(url: str) -> None:
    if "://" not in url or url.startswith("file://"):
        raise PlatformLacks(
            f"tasks of a pipeline cannot reach the artifact store at {url}, which lies on this machine",
            remedy="Point PENSTOCK_ARTIFACTS at a bucket that the platform can read and write.",
        )
