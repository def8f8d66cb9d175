"""Who acts when: the loop that takes due rows one by one, and the foreground watch over one run.

A row is acted on by whoever holds its lease; leases of dead processes are free at once, others after LEASE_S.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from penstock.control.alerts.monitors import MonitorReconciler
from penstock.control.bandits import BanditReconciler
from penstock.control.contract import Again, Outcome, Reconciler
from penstock.control.deployments import DeploymentReconciler
from penstock.control.experiments import ExperimentReconciler
from penstock.control.graph import Node
from penstock.control.reactions.reconciler import ReactionReconciler
from penstock.control.rollouts.reconciler import RolloutReconciler
from penstock.control.runs import ENDED, RunReconciler, jobs_of
from penstock.control.scaling.live import wake_held
from penstock.control.state import RunState, StepState
from penstock.control.triggers.reconciler import TriggerReconciler
from penstock.control.world import LEASE_S, World
from penstock.core.errors import Conflict, DatabaseUnavailable, Interrupted, PenstockError
from penstock.core.home import Home
from penstock.platforms.contract import JobHandle
from penstock.store.owners import this_owner
from penstock.store.resources import Resource
from penstock.store.store import Store

RETRY_S = 5.0
IDLE_S = 0.2
ATTACHED_S = 0.25


def reconcilers() -> dict[str, Reconciler[Resource, World]]:
    movers = (RolloutReconciler(), ExperimentReconciler(), BanditReconciler())
    made: tuple[Reconciler[Resource, World], ...] = (
        RunReconciler(),
        DeploymentReconciler(),
        *movers,
        ReactionReconciler(),
        TriggerReconciler(),
        MonitorReconciler(),
    )
    return {reconciler.kind: reconciler for reconciler in made}


def tick(world: World, table: Mapping[str, Reconciler[Resource, World]]) -> float:
    """Acts once on one due row, if any; returns seconds to wait before the next tick (0 when there may be more to do).

    Raises DatabaseUnavailable; whatever else goes wrong with a row is told in its events.
    """
    resource = world.store.resources.lease(list(table), world.owner, LEASE_S)
    if resource is None:
        return 0.0 if wake_held(world) else IDLE_S
    try:
        outcome: Outcome = table[resource.kind].reconcile(resource, world)
        due = world.clock.now() + outcome.after_s if isinstance(outcome, Again) else None
        world.store.resources.release(resource.kind, resource.id, world.owner, due)
    except Conflict:
        return 0.0
    except DatabaseUnavailable:
        raise
    except Exception as error:
        # One broken row must not stop the others: it is told, with its trace in the log, and tried again later.
        traceback.print_exc()
        told = error.as_json() if isinstance(error, PenstockError) else {"type": type(error).__name__, "message": str(error)}
        world.store.events.add(resource.kind, resource.id, "reconcile.failed", f"{type(error).__name__}: {error}", told)
        world.store.resources.release(resource.kind, resource.id, world.owner, world.clock.now() + RETRY_S)
    return 0.0


def watch_run(world: World, run: str, seen: Callable[[Resource], None]) -> Resource:
    """Drives the run to its end from this process, or watches while another holds it. `seen` is told before each pass.

    On KeyboardInterrupt the steps are asked to save and stop, the run is marked interrupted and shown once more, and Interrupted is raised.
    """
    reconciler = RunReconciler()
    resources = world.store.resources
    mine, renewed = resources.take("run", run, world.owner, LEASE_S), world.clock.monotonic()
    try:
        while True:
            resource = resources.get("run", run)
            seen(resource)
            if resource.phase in ENDED:
                return resource
            if not mine:
                world.clock.sleep(ATTACHED_S)
                mine, renewed = resources.take("run", run, world.owner, LEASE_S), world.clock.monotonic()
                continue
            if world.clock.monotonic() - renewed > LEASE_S / 3:
                mine, renewed = resources.renew("run", run, world.owner, LEASE_S), world.clock.monotonic()
                if not mine:
                    continue
            mine = _pass(world, reconciler, resource)
    except KeyboardInterrupt:
        _interrupt(world, run)
        seen(resources.get("run", run))
        raise Interrupted(f"run {run} was interrupted; what is finished is kept") from None
    finally:
        if mine:
            resources.release("run", run, world.owner)


def end_if_orphaned(store: Store, home: Home, run: str) -> None:
    """Carries a cancel out where nobody else would: when the process that drove the run is gone. Returns at once when one lives."""
    world = World(store, home, this_owner(), store.clock)
    try:
        if store.resources.take("run", run, world.owner, LEASE_S):
            watch_run(world, run, lambda _: None)
    finally:
        world.close()


def _pass(world: World, reconciler: RunReconciler, resource: Resource) -> bool:
    try:
        outcome = reconciler.reconcile(resource, world)
    except Conflict:
        return False
    if isinstance(outcome, Again):
        platform = resource.spec["platform"]
        world.jobs(platform["name"], platform["config"]).wait(outcome.after_s)
    return True


def _interrupt(world: World, run: str) -> None:
    resource = world.store.resources.get("run", run)
    if resource.phase in ENDED or not world.store.resources.take("run", run, world.owner, LEASE_S):
        return
    state = RunState.parse(resource.status)
    for node in map(Node.parse, resource.spec["graph"]):
        step = state.steps.get(node.name, StepState())
        if step.phase == "running" and step.handle:
            jobs_of(resource, world, node.placed(step.place)[0]).cancel(JobHandle(**step.handle))
            step.phase, step.message = "cancelled", "interrupted; it resumes from its last checkpoint"
            if step.key:
                world.store.builds.unclaim(step.key, world.owner)
    state.ended_at = world.clock.now()
    world.store.events.add("run", run, "run.interrupted", "interrupted from the terminal", {})
    world.store.resources.save("run", run, world.owner, status=state.as_json(), phase="interrupted", due_at=None)


def idle(seconds: float, world: World) -> None:
    """Waits between ticks, waking early when a job of the local platform changes."""
    jobs: Any = next(iter(world._jobs.values()), None)
    if jobs is not None:
        jobs.wait(seconds)
    else:
        world.clock.sleep(seconds)
