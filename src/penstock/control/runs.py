"""Runs: every step built once, in order of need; then gates, registry and deployment.

Level-triggered: a pass reads the row, moves each step one action on, and writes the row. Kill the process at any point and
whoever takes the lease next goes on from what the row, the store and the platform say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from penstock.control.contract import Again, Done, Outcome
from penstock.control.graph import Graph, Node
from penstock.control.promotion import promote
from penstock.control.state import DONE, FINISHED, RunState, StepState
from penstock.control.steps import CORRUPT, Acting, Outbox, repair, start, watch
from penstock.control.world import World
from penstock.core.errors import PenstockError
from penstock.platforms.contract import JobHandle, Jobs
from penstock.store.resources import Resource

MAX_REBUILDS = 5
ENDED = frozenset({"succeeded", "failed", "refused", "rolled_back", "cancelled", "interrupted"})


@dataclass(frozen=True, slots=True)
class Shift:
    """One pass: the world, what it will tell, and whether another process acted before and is gone."""

    world: World
    outbox: Outbox
    inherited: bool

    def acting(self, run: Resource, state: RunState) -> Acting:
        return Acting(run.id, run.name, partial(jobs_of, run, self.world), state.outputs, self.world, self.outbox)


class RunReconciler:
    kind = "run"

    def __init__(self) -> None:
        self._graphs: dict[str, Graph] = {}
        self._warmed: set[str] = set()

    def reconcile(self, resource: Resource, world: World) -> Outcome:
        """One pass. The caller holds the lease; raises Conflict when it was lost."""
        if resource.phase in ENDED:
            return Done()
        graph = self._graph(resource)
        state = RunState.parse(resource.status)
        inherited = state.owner is not None and state.owner != world.owner
        state.owner = world.owner
        state.started_at = state.started_at or world.clock.now()
        for node in graph:
            state.steps.setdefault(node.name, StepState())
        outbox = Outbox()
        phase = self._advance(resource, graph, state, Shift(world, outbox, inherited))
        if phase in ENDED:
            state.ended_at = world.clock.now()
            outbox.events.append((f"run.{phase}", _last_word(state, phase), {}))
        pause = None if phase in ENDED else _pause(state, world)
        due = None if pause is None else world.clock.now() + pause
        with world.store.database.begin():
            outbox.flush(resource.id, world.store)
            world.store.resources.save("run", resource.id, world.owner, status=state.as_json(), phase=phase, due_at=due)
        return Done() if pause is None else Again(pause)

    def _graph(self, resource: Resource) -> Graph:
        if resource.id not in self._graphs:
            self._graphs[resource.id] = tuple(Node.parse(n) for n in resource.spec["graph"])
        return self._graphs[resource.id]

    def _advance(self, run: Resource, graph: Graph, state: RunState, shift: Shift) -> str:
        world = shift.world
        if run.spec.get("cancel"):
            return self._cancel(run, graph, state, world)
        acting = shift.acting(run, state)
        for node in graph:
            if state.steps[node.name].phase not in FINISHED:
                self._move(node, state, acting, shift.inherited)
        if run.id not in self._warmed:
            # Known only now: what is not cached. A worker imports their libraries while the first of them runs.
            self._warmed.add(run.id)
            acting.jobs("").warm(sorted({n.stage for n in graph if state.phase_of(n.name) == "waiting" and n.stage != "user"}))
        if all(step.phase in DONE for step in state.steps.values()):
            try:
                return promote(run, graph, state, world)
            except PenstockError as error:
                if error.code in CORRUPT and self._rebuild_corrupt(graph, state, acting):
                    return "running"
                state.error = error.as_json()
                return "failed"
        if all(step.phase in FINISHED for step in state.steps.values()):
            state.error = next((s.error for s in state.steps.values() if s.phase == "failed"), None)
            return "failed"
        return "running"

    def _move(self, node: Node, state: RunState, acting: Acting, inherited: bool) -> None:
        step = state.steps[node.name]
        was_running = step.phase == "running"
        if was_running:
            watch(node, step, acting, inherited=inherited)
        if was_running and state.phase_of(node.name) == "waiting" and step.error and step.error.get("code") in CORRUPT:
            self._rebuild(node, state, acting)
        if state.phase_of(node.name) == "waiting":
            needed = [state.steps[name] for name in node.needs]
            if any(n.phase in ("failed", "skipped", "cancelled") for n in needed):
                step.phase, step.message = "skipped", "a step that it needs did not finish"
            elif all(n.phase in DONE for n in needed):
                start(node, step, acting)
        if state.phase_of(node.name) in DONE:
            # Told at once, so that a chain of cached steps is walked in one pass.
            acting.outputs[node.name] = step.outputs

    def _rebuild(self, node: Node, state: RunState, acting: Acting) -> bool:
        """Sends the steps that made corrupt inputs back to be built again. False when nothing can be rebuilt."""
        step = state.steps[node.name]
        again = repair(node, acting)
        state.rebuilds += 1
        if state.rebuilds > MAX_REBUILDS:
            step.phase, step.message = "failed", "inputs were found corrupt again and again; check the disk"
            return False
        for name in again:
            made = state.steps[name]
            if made.key:
                acting.world.store.builds.invalidate(made.key, f"an output was found corrupt by {node.name}")
            state.steps[name] = StepState(attempt=made.attempt)
            acting.outputs.pop(name, None)
        if not again and step.tries >= node.attempts:
            step.phase, step.message = "failed", str((step.error or {}).get("message"))
        return bool(again)

    def _rebuild_corrupt(self, graph: Graph, state: RunState, acting: Acting) -> bool:
        found = [node for node in graph if self._rebuild(node, state, acting)]
        return bool(found)

    def _cancel(self, run: Resource, graph: Graph, state: RunState, world: World) -> str:
        for node in graph:
            step = state.steps[node.name]
            if step.phase == "running" and step.handle is not None:
                jobs, handle = jobs_of(run, world, node.placed(step.place)[0]), JobHandle(**step.handle)
                jobs.cancel(handle)
                if jobs.observe(handle).phase in ("pending", "running"):
                    continue
                if step.key:
                    world.store.builds.unclaim(step.key, world.owner)
            if step.phase not in FINISHED:
                step.phase, step.message = "cancelled", "the run was cancelled"
        return "running" if any(s.phase == "running" for s in state.steps.values()) else "cancelled"


def jobs_of(run: Resource, world: World, on: str) -> Jobs:
    """Of a platform of the run; "" for the one where its steps first go."""
    return world.jobs(on, run.spec["platforms"][on]) if on else world.jobs(run.spec["platform"]["name"], run.spec["platform"]["config"])


def _pause(state: RunState, world: World) -> float:
    """Seconds until the next look: soon while jobs run (their platform wakes us earlier), later while only waiting."""
    now = world.clock.now()
    waits = [step.retry_at - now for step in state.steps.values() if step.phase == "waiting" and step.retry_at]
    return max(0.01, min([0.25, *waits]))


def _last_word(state: RunState, phase: str) -> str:
    if state.error:
        return str(state.error.get("message"))
    if phase == "rolled_back":
        return f"rolled back: {(state.deployment or {}).get('reason', '')}"
    refused = [g["gate"] for g in state.gates or [] if not g["passed"]]
    return f"refused by {', '.join(refused)}" if refused else phase
