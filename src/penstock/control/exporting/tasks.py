"""The steps of a run as tasks that another system starts: each a template in the artifact store, its parameters, what others read of it.

Not covered: gates, the registry and deployments, which a `penstock run` of the same file does afterwards with the builds that it finds.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from penstock.control.exporting.templates import Anew, keep, portable
from penstock.control.exporting.values import Parameter
from penstock.control.graph import Graph, Node
from penstock.control.preparing import UNKNOWN_KEY
from penstock.control.steps import job_of
from penstock.control.world import World
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import BadInput, Conflict, PlatformLacks
from penstock.platforms.contract import JobSpec

ContainerT = TypeVar("ContainerT")


@dataclass(frozen=True, slots=True)
class Task(Generic[ContainerT]):
    """A step as a task. `uri`: of its template; `container`: what runs it there; `outputs`: what other steps read of it; `parameters`:
    those that its config takes.
    """

    node: Node
    name: str
    uri: str
    container: ContainerT
    outputs: Sequence[str]
    parameters: Sequence[Parameter]

    @property
    def bound(self) -> dict[str, tuple[str, str]]:
        """Input → (step, output), of those that another step makes."""
        return {name: (binding.step, binding.output) for name, binding in sorted(self.node.inputs.items()) if binding.step}


def plain(name: str) -> str:
    """Of a–z, 0–9 and `-`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def task_names(steps: Sequence[str]) -> dict[str, str]:
    """By step: its task, as `plain` has it. Steps that would have the same are numbered."""
    seen: Counter[str] = Counter()
    found = {}
    for step in steps:
        name = plain(step)
        seen[name] += 1
        found[step] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return found


def tasks_of(
    graph: Graph, world: World, known: Sequence[Parameter], container: Callable[[JobSpec], ContainerT], anew: Anew | None = None
) -> list[Task[ContainerT]]:
    """All containers are asked for before anything is sent. `anew`: sources of the data step that it looks at again when it runs.

    Raises what `container` does, SourceUnreadable.
    """
    names = task_names([node.name for node in graph])
    containers = [container(job_of(node, key=UNKNOWN_KEY, run="", inputs={}, attempt=1)) for node in graph]
    read = {(binding.step, binding.output) for node in graph for binding in node.inputs.values() if binding.step}
    artifacts, scratch = world.store.artifacts, world.home.folder / "scratch"
    found = []
    for node, its in zip(graph, containers, strict=True):
        sent = portable(node, artifacts, scratch)
        outputs = sorted(output for step, output in read if step == node.name)
        mine = [one for one in known if one.step == node.name]
        uri = keep(sent, artifacts, anew if node.stage == "data" else None)
        found.append(Task(sent, names[node.name], uri, its, outputs, mine))
    return found


def remember(name: str, platform: str, tasks: Sequence[Task[Any]], world: World) -> None:
    """A row that names what was sent, so that garbage collection leaves it alone."""
    spec = {"platform": platform, "steps": {task.node.name: {"template": task.uri, "node": task.node.as_json()} for task in tasks}}
    ident = f"export-{hex_of(digest_json([name, spec]))[:20]}"
    with contextlib.suppress(Conflict):  # exported before, just so
        world.store.resources.create("export", name, spec, id=ident, phase="exported", due_at=None)


def require_shared(url: str) -> None:
    """Raises PlatformLacks for artifacts on this machine."""
    if "://" not in url or url.startswith("file://"):
        raise PlatformLacks(
            f"tasks of a pipeline cannot reach the artifact store at {url}, which lies on this machine",
            remedy="Point PENSTOCK_ARTIFACTS at a bucket that the platform can read and write.",
        )


def once_each(names: Sequence[str], step: str) -> None:
    """Raises BadInput when two values of a step would go by one name."""
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise BadInput(f"step {step!r} would have two parameters {twice[0]!r}", remedy="Give its input or output another name.")
