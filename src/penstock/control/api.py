"""Plan and run, from Python and from the commands alike: `penstock.plan(...)`, `penstock.run(...)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.control.loop import watch_run
from penstock.control.plan import Plan
from penstock.control.preparing import Prepared, home_of, plan_prepared, prepare, run_spec
from penstock.control.runs import ENDED
from penstock.control.state import RunState
from penstock.control.triggers.orders import follow
from penstock.control.world import LEASE_S, World, open_world, principal
from penstock.core.digests import digest_json
from penstock.core.errors import PenstockError
from penstock.core.home import Home
from penstock.spec.pipeline import Pipeline
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


def plan(source: Pipeline | str | Path, *, overrides: Sequence[str] = (), on: str | None = None) -> Plan:
    """What a run would do now, where (`on`: a platform of the file), and why. Writes nothing but caches of digests."""
    world = open_world(home_of(source))
    try:
        return plan_prepared(prepare(source, world, overrides=overrides, on=on), world)
    finally:
        world.store.close()


def run(
    source: Pipeline | str | Path,
    *,
    overrides: Sequence[str] = (),
    on: str | None = None,
    deploy: bool = True,
    seen: Callable[[Resource], None] = lambda _: None,
) -> RunResult:
    """Runs to the end and says how it ended; with `deploy`, starts the background process where the file deploys.

    `on`: the platform of the file where steps run and the model is deployed.
    """
    world = open_world(home_of(source))
    try:
        prepared = prepare(source, world, overrides=overrides, on=on)
        wants_deployment = deploy and prepared.pipeline.deploy is not None
        if wants_deployment:
            from penstock.control.daemon import ensure_up

            ensure_up(world.home)
            seen = while_served(seen, world.home)
        moved = [f"deploy.to={on}"] if on is not None and prepared.pipeline.deploy is not None else []
        _follow_triggers(prepared, world, [*overrides, *moved])
        resource = start_run(prepared, world, overrides=overrides, deploy=wants_deployment)
        return result_of(watch_run(world, resource.id, seen), world)
    finally:
        world.close()
        world.store.close()


def _follow_triggers(prepared: Prepared, world: World, overrides: Sequence[str]) -> None:
    """Triggers are what the file says that was run last; where it has some, the background process must be there for them."""
    if follow(world, prepared, list(overrides), principal()) is not None:
        from penstock.control.daemon import ensure_up

        ensure_up(world.home)


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
    resources, spec = world.store.resources, run_spec(prepared, world.store, overrides=overrides, deploy=deploy)
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


def _comparable(spec: dict[str, Any]) -> dict[str, Any]:
    return {"pipeline": spec["pipeline"], "graph": spec["graph"], "deploy": spec["deploy"], "adapters": spec.get("adapters", {})}


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
