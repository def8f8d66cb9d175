"""Plan and run, from Python and from the commands alike: `penstock.plan(...)`, `penstock.run(...)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.control.graph import Graph, build_graph
from penstock.control.loop import watch_run
from penstock.control.plan import Plan, make_plan
from penstock.control.runs import ENDED
from penstock.control.state import RunState
from penstock.control.steps import job_of
from penstock.control.world import LEASE_S, World, open_world
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import NotFound, PenstockError
from penstock.core.home import Home
from penstock.spec.load import load
from penstock.spec.pipeline import Pipeline, Platform
from penstock.store.resources import Resource


@dataclass(frozen=True, slots=True)
class RunResult:
    """What `penstock run --json` prints. `status`: succeeded, failed, refused, cancelled, interrupted."""

    run: str
    status: str
    metrics: dict[str, float]
    artifacts: list[dict[str, str]]
    model: dict[str, Any] | None
    gates: list[dict[str, Any]]
    deployment: dict[str, Any] | None
    error: dict[str, Any] | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A pipeline with its graph, ready to plan or run. `file` is "" for one built in Python."""

    pipeline: Pipeline
    graph: Graph
    file: str
    home: Home


def prepare(source: Pipeline | str | Path, world: World | None = None, *, overrides: Sequence[str] = ()) -> Prepared:
    """Loads and checks, finds what is outside by digest, and makes the graph. Raises FileProblems and other BadInput."""
    if isinstance(source, Pipeline):
        return prepared(source, Path.cwd(), "", world)
    loaded = load(Path(source), overrides=overrides)
    return prepared(loaded.pipeline, loaded.file.absolute().parent, str(loaded.file), world)


def prepared(pipeline: Pipeline, beside: Path, file: str, world: World | None) -> Prepared:
    """As `prepare`. `beside`: the folder that relative paths start from."""
    home = world.home if world else Home.find(beside)
    champion = _champion(pipeline, world) if world else None
    graph = build_graph(pipeline, beside, home, champion)
    _refuse_impossible(pipeline, graph)
    return Prepared(pipeline, graph, file, home)


def _refuse_impossible(pipeline: Pipeline, graph: Graph) -> None:
    """Raises PlatformLacks before anything runs. Steps that ask for nothing in particular run anywhere."""
    asking = [node for node in graph if node.cpus or node.gpus or node.memory_bytes]
    if not asking:
        return
    from penstock.platforms.table import PLATFORMS

    platform = pipeline.platforms.get(platform_of(pipeline), Platform())
    parts = PLATFORMS.load(platform.kind)
    for node in asking:
        parts.refuse(job_of(node, key="", run="", inputs={}, attempt=0))


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


def plan(source: Pipeline | str | Path, *, overrides: Sequence[str] = ()) -> Plan:
    """What a run would do now, and why. Writes nothing but caches of digests."""
    world = open_world(home_of(source))
    try:
        return plan_prepared(prepare(source, world, overrides=overrides), world)
    finally:
        world.store.close()


def plan_prepared(prepared: Prepared, world: World) -> Plan:
    pipeline = prepared.pipeline
    deploy = (pipeline.deploy.name or pipeline.name) if pipeline.deploy else None
    return make_plan(pipeline.name, prepared.graph, world.store, gates=tuple(pipeline.gates), deploy=deploy)


def run(
    source: Pipeline | str | Path,
    *,
    overrides: Sequence[str] = (),
    deploy: bool = True,
    seen: Callable[[Resource], None] = lambda _: None,
) -> RunResult:
    """Runs to the end and says how it ended; with `deploy`, starts the background process where the file deploys."""
    world = open_world(home_of(source))
    try:
        prepared = prepare(source, world, overrides=overrides)
        wants_deployment = deploy and prepared.pipeline.deploy is not None
        if wants_deployment:
            from penstock.control.daemon import ensure_up

            ensure_up(world.home)
            seen = while_served(seen, world.home)
        resource = start_run(prepared, world, overrides=overrides, deploy=wants_deployment)
        return result_of(watch_run(world, resource.id, seen), world)
    finally:
        world.close()
        world.store.close()


def while_served(seen: Callable[[Resource], None], home: Home) -> Callable[[Resource], None]:
    """`seen`, and an end to waiting for a deployment that nobody makes: the background process was stopped meanwhile."""
    from penstock.control.daemon import control_state

    def look(run: Resource) -> None:
        seen(run)
        if run.phase == "deploying" and control_state(home) is None:
            raise PenstockError(
                f"the background process ended while run {run.id} waited for its deployment",
                remedy="`penstock up` starts it again, and the run goes on there.",
            )

    return look


def start_run(prepared: Prepared, world: World, *, overrides: Sequence[str] = (), deploy: bool = True) -> Resource:
    """Makes the run's row, or takes up an unfinished run of the very same graph whose process is gone."""
    resources, spec = world.store.resources, run_spec(prepared, overrides=overrides, deploy=deploy)
    same = digest_json(_comparable(spec))
    for old in resources.list("run", name=prepared.pipeline.name, limit=20):
        if old.phase in ENDED or old.spec.get("cause") or not resources.take("run", old.id, world.owner, LEASE_S):
            continue
        if digest_json(_comparable(old.spec)) == same:
            world.store.events.add("run", old.id, "run.resumed", "taken up again after its process ended", {})
            return old
        resources.save("run", old.id, world.owner, status=old.status, phase="interrupted", due_at=None)
        resources.release("run", old.id, world.owner)
    resource = resources.create("run", prepared.pipeline.name, spec, due_at=world.clock.now() + LEASE_S)
    world.store.events.add("run", resource.id, "run.created", f"{len(prepared.graph)} steps", {"file": prepared.file})
    return resource


def queue_run(prepared: Prepared, world: World, cause: Mapping[str, Any]) -> Resource:
    """A run that the background process drives, made once for its cause (JSON values)."""
    ident = f"run-{hex_of(digest_json([prepared.pipeline.name, dict(cause)]))[:20]}"
    try:
        return world.store.resources.get("run", ident)
    except NotFound:
        pass
    spec = {**run_spec(prepared, overrides=(), deploy=True), "cause": dict(cause)}
    resource = world.store.resources.create("run", prepared.pipeline.name, spec, id=ident)
    told = {"file": prepared.file, "cause": dict(cause)}
    world.store.events.add("run", ident, "run.created", f"{len(prepared.graph)} steps, in the background", told)
    return resource


def run_spec(prepared: Prepared, *, overrides: Sequence[str], deploy: bool) -> dict[str, Any]:
    """The spec of a run's row. `cause` is added to those that nobody drives from a terminal."""
    pipeline = prepared.pipeline
    platform = platform_of(pipeline)
    platforms = {name: p.model_dump(mode="json", exclude_none=True) for name, p in pipeline.platforms.items()}
    return {
        "pipeline": pipeline.model_dump(mode="json", by_alias=True, exclude_none=True),
        "file": prepared.file,
        "set": list(overrides),
        "graph": [node.as_json() for node in prepared.graph],
        "deploy": deploy,
        "cancel": False,
        "platforms": platforms,
        "platform": {"name": platform, "config": platforms.get(platform, {"kind": "local"})},
    }


def _comparable(spec: dict[str, Any]) -> dict[str, Any]:
    return {"pipeline": spec["pipeline"], "graph": spec["graph"], "deploy": spec["deploy"]}


def result_of(resource: Resource, world: World) -> RunResult:
    state = RunState.parse(resource.status)
    artifacts = []
    # A database keeps no order of keys; steps are told in the order of the plan.
    order = [node["name"] for node in resource.spec["graph"] if node["name"] in state.steps]
    for step in order:
        for name, digest in state.outputs.get(step, {}).items():
            kind = world.store.artifacts.manifest(digest).kind if world.store.artifacts.has(digest) else "missing"
            artifacts.append({"name": name, "step": step, "kind": kind, "digest": digest})
    steps = [
        {"name": name, "phase": s.phase, "key": s.key, "seconds": s.seconds, "attempts": s.attempt, "message": s.message}
        for name, s in ((name, state.steps[name]) for name in order)
    ]
    return RunResult(
        resource.id, resource.phase, state.metrics, artifacts, state.model, state.gates or [], state.deployment, state.error, steps
    )
