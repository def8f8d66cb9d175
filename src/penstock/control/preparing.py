"""A pipeline made ready: loaded, checked, with its graph; and the row of a run of it. Nothing here runs anything."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from penstock.control.adapters import Located, keep_adapters, locate_adapters
from penstock.control.graph import Graph, Node, build_graph
from penstock.control.plan import Plan, make_plan
from penstock.control.steps import job_of
from penstock.control.world import World
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import BadInput, NotFound
from penstock.core.home import Home
from penstock.platforms.quotes import Quote
from penstock.spec.load import load
from penstock.spec.pipeline import Pipeline
from penstock.spec.platforms import LocalPlatform
from penstock.store.resources import Resource
from penstock.store.store import Store

UNKNOWN_KEY = f"sha256:{'0' * 64}"  # of steps that are only planned


@dataclass(frozen=True, slots=True)
class Prepared:
    """A pipeline with its graph, ready to plan or run. `file` is "" for one built in Python. `adapters`: those of `deploy`, found."""

    pipeline: Pipeline
    graph: Graph
    file: str
    home: Home
    adapters: Mapping[str, Located] = field(default_factory=dict)


def prepare(source: Pipeline | str | Path, world: World | None = None, *, overrides: Sequence[str] = (), on: str | None = None) -> Prepared:
    """Loads and checks, finds what is outside by digest, and makes the graph. Raises FileProblems and other BadInput.

    `on`: the platform where steps run and the model is deployed, instead of the file's `deploy.to`.
    """
    if isinstance(source, Pipeline):
        return prepared(moved(source, on), Path.cwd(), "", world)
    loaded = load(Path(source), overrides=overrides)
    return prepared(moved(loaded.pipeline, on), loaded.file.absolute().parent, str(loaded.file), world)


def moved(pipeline: Pipeline, on: str | None) -> Pipeline:
    """The pipeline with `on` as the place of its steps and of its deployment. Raises BadInput when it declares no such platform."""
    if on is None or on == platform_of(pipeline):
        return pipeline
    if on not in pipeline.platforms:
        near = difflib.get_close_matches(on, pipeline.platforms, 1)
        known = ", ".join(pipeline.platforms) or "none"
        raise BadInput(
            f"no platform is called {on!r}{f'; did you mean {near[0]!r}?' if near else ''} (declared: {known})",
            remedy=f"Declare it under `platforms:` in the file, or with --set 'platforms.{on}={{kind: …}}'.",
        )
    if pipeline.deploy is not None:
        return pipeline.model_copy(update={"deploy": pipeline.deploy.model_copy(update={"to": on})})
    return pipeline.model_copy(update={"platforms": {on: pipeline.platforms[on], **pipeline.platforms}})


def prepared(pipeline: Pipeline, beside: Path, file: str, world: World | None) -> Prepared:
    """As `prepare`. `beside`: the folder that relative paths start from."""
    home = world.home if world else Home.find(beside)
    champion = _champion(pipeline, world) if world else None
    graph = build_graph(pipeline, beside, home, champion)
    _refuse_impossible(pipeline, graph)
    return Prepared(pipeline, graph, file, home, _adapters(pipeline, beside, world))


def _adapters(pipeline: Pipeline, beside: Path, world: World | None) -> Mapping[str, Located]:
    if world is None or pipeline.deploy is None or not pipeline.deploy.adapters:
        return {}
    return locate_adapters(pipeline.deploy.adapters, beside, world.store)


def _refuse_impossible(pipeline: Pipeline, graph: Graph) -> None:
    """Raises PlatformLacks before anything runs. Steps that ask for nothing in particular run on any machine of one's own."""
    asking = [node for node in graph if _particular(node)]
    if asking or platform_config(pipeline)["kind"] != "local":
        quotes(pipeline, graph)


def _particular(node: Node) -> bool:
    sizes = node.cpus, node.gpus, node.memory_bytes, node.machine, node.spot, node.otherwise
    return any(sizes) or node.nodes > 1 or node.processes > 1


def quotes(pipeline: Pipeline, graph: Graph) -> dict[str, Quote]:
    """By step: where it would run, and at what price. Raises PlatformLacks for one that never can, with the step and the reason."""
    from penstock.platforms.table import PLATFORMS

    def at(node: Node, place: int) -> Quote:
        on, there = node.placed(place)
        config = platform_config(pipeline, on)
        quote: Quote = PLATFORMS.load(config["kind"]).quote(job_of(there, key=UNKNOWN_KEY, run="", inputs={}, attempt=1), config)
        return replace(quote, on=on)

    found = dict[str, Quote]()
    for node in graph:
        first, *others = (at(node, place) for place in range(len(node.otherwise) + 1))
        found[node.name] = replace(first, otherwise=tuple(others))
    return found


def serving(pipeline: Pipeline) -> tuple[str, ...]:
    """What the deployment would ask for; nothing without one. Raises PlatformLacks."""
    from penstock.platforms.table import PLATFORMS

    config = platform_config(pipeline)
    return tuple(PLATFORMS.load(config["kind"]).serving(config)) if pipeline.deploy is not None else ()


def platform_config(pipeline: Pipeline, on: str = "") -> dict[str, Any]:
    """The section of a platform, by default of the one where steps run, as JSON values."""
    found = pipeline.platforms.get(on or platform_of(pipeline), LocalPlatform())
    return found.model_dump(mode="json", exclude_none=True)


def platform_of(pipeline: Pipeline) -> str:
    """Name of the platform where steps run: where the model is deployed, else the first one declared."""
    return pipeline.deploy.to if pipeline.deploy else next(iter(pipeline.platforms), "laptop")


def _champion(pipeline: Pipeline, world: World) -> str | None:
    from penstock.spec.gates import needs_champion, parse_gate

    if not any(needs_champion(parse_gate(text)) for text in pipeline.gates):
        return None
    try:
        return world.store.registry.get(pipeline.name, "champion").bundle
    except NotFound:
        return None


def home_of(source: Pipeline | str | Path) -> Home:
    """State lies beside the file unless PENSTOCK_HOME says otherwise."""
    return Home.find(None if isinstance(source, Pipeline) else Path(source).absolute().parent)


def plan_prepared(prepared: Prepared, world: World) -> Plan:
    pipeline = prepared.pipeline
    deploy = (pipeline.deploy.name or pipeline.name) if pipeline.deploy else None
    found = make_plan(pipeline.name, prepared.graph, world.store, gates=tuple(pipeline.gates), deploy=deploy)
    adapters = {name: {"digest": one.digest, "from": one.source} for name, one in prepared.adapters.items()}
    return replace(
        found, adapters=adapters, platform=platform_of(pipeline), quotes=quotes(pipeline, prepared.graph), serving=serving(pipeline)
    )


def queue_run(prepared: Prepared, world: World, cause: Mapping[str, Any]) -> Resource:
    """A run that the background process drives, made once for its cause (JSON values)."""
    ident = f"run-{hex_of(digest_json([prepared.pipeline.name, dict(cause)]))[:20]}"
    try:
        return world.store.resources.get("run", ident)
    except NotFound:
        pass
    spec = {**run_spec(prepared, world.store, overrides=(), deploy=True), "cause": dict(cause)}
    resource = world.store.resources.create("run", prepared.pipeline.name, spec, id=ident)
    told = {"file": prepared.file, "cause": dict(cause)}
    world.store.events.add("run", ident, "run.created", f"{len(prepared.graph)} steps, in the background", told)
    return resource


def run_spec(prepared: Prepared, store: Store, *, overrides: Sequence[str], deploy: bool) -> dict[str, Any]:
    """The spec of a run's row; its adapters are kept in the store. `cause` is added to those that nobody drives from a terminal."""
    pipeline = prepared.pipeline
    platform = platform_of(pipeline)
    platforms = {name: p.model_dump(mode="json", exclude_none=True) for name, p in pipeline.platforms.items()}
    return {
        "pipeline": pipeline.model_dump(mode="json", by_alias=True, exclude_none=True),
        "file": prepared.file,
        "set": list(overrides),
        "graph": [node.as_json() for node in prepared.graph],
        "deploy": deploy,
        "adapters": keep_adapters(prepared.adapters, store),
        "cancel": False,
        "platforms": platforms,
        "platform": {"name": platform, "config": platform_config(pipeline)},
    }
