"""One step of a run, moved one action forward: found in the store, claimed and submitted, observed, retried, given up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.control.graph import Node
from penstock.control.keys import key_parts, step_key
from penstock.control.plan import bound, lost_outputs
from penstock.control.state import StepState
from penstock.control.world import LEASE_S, World
from penstock.core.errors import NotFound, PenstockError, PlatformAway, PlatformDenied, PlatformFull
from penstock.platforms.contract import JobHandle, Jobs, JobSpec, JobState, LogPage

if TYPE_CHECKING:
    from penstock.store.points import Point
    from penstock.store.store import Store

MARK = "::penstock "
ASK_AGAIN_S = 5.0
AWAY_S = 1800.0  # for which a platform may not take a step before the step fails
CORRUPT = frozenset({"artifact-corrupt", "artifact-missing"})


@dataclass(slots=True)
class Outbox:
    """Events and points of one pass, written in the transaction that saves the row: told once, or not at all."""

    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def flush(self, run: str, store: Store) -> None:
        for type_, message, data in self.events:
            store.events.add("run", run, type_, message, data)
        if self.points:
            store.points.append(self.points)


@dataclass(frozen=True, slots=True)
class Acting:
    """What acting on the steps of one run needs: ids, jobs by platform ("" for the run's), and where every finished step's outputs are."""

    run: str
    pipeline: str
    jobs: Callable[[str], Jobs]
    outputs: dict[str, Mapping[str, str]]
    world: World
    outbox: Outbox

    def event(self, step: str, type: str, message: str, **data: Any) -> None:
        self.outbox.events.append((type, f"{step}: {message}", {"step": step, **data}))


def start(node: Node, step: StepState, acting: Acting) -> None:
    """For a step whose inputs are all there: takes it from the store, or claims its key and submits it."""
    world, store = acting.world, acting.world.store
    if step.retry_at is not None and world.clock.now() < step.retry_at:
        return
    inputs = {name: digest for name, b in node.inputs.items() if (digest := bound(b, acting.outputs)) is not None}
    parts = key_parts(node, inputs)
    step.key = key = step_key(parts)
    build = store.builds.get(key)
    if build is not None and not lost_outputs(build, store):
        step.phase, step.outputs, step.metrics, step.message = "cached", dict(build.outputs), dict(build.metrics), None
        step.seconds = 0.0
        acting.event(node.name, "step.cached", "found in the store", key=key)
        return
    if build is not None:
        store.builds.invalidate(key, "an output is no longer in the artifact store")
    if not store.builds.claim(key, world.owner, LEASE_S):
        step.message = f"being built by {store.builds.claimant(key)}"
        return
    try:
        step.handle = asdict(_submitted(node, step, inputs, acting))
    except (PlatformAway, PlatformFull) as error:
        _ask_again(node, step, key, error, acting)
        return
    except PenstockError as error:
        # Full disk, or more asked for than the platform has: the step says so, and the run ends like any other failed one.
        store.builds.unclaim(key, world.owner)
        step.phase, step.error, step.message = "failed", error.as_json(), str(error)
        acting.event(node.name, "step.failed", step.message, error=step.error)
        return
    step.phase, step.cursor, step.error, step.retry_at, step.message, step.progress = "running", 0, None, None, None, None
    step.away_since = None
    step.started_at = world.clock.now()
    acting.event(node.name, "step.started", f"attempt {step.attempt}", key=key)


def _submitted(node: Node, step: StepState, inputs: Mapping[str, str], acting: Acting) -> JobHandle:
    """Asked for at its placement, and at those after it while there is no room. Raises what the last one raised."""
    assert step.key is not None
    while True:
        step.attempt += 1
        on, there = node.placed(step.place)
        try:
            return acting.jobs(on).submit(job_of(there, key=step.key, run=acting.run, inputs=inputs, attempt=step.attempt))
        except PlatformFull as error:
            if not _moved(node, step, str(error), acting):
                raise


def _moved(node: Node, step: StepState, why: str, acting: Acting) -> bool:
    """On to the next placement; False after the last one, when the first is the next."""
    if not node.otherwise:
        return False
    step.place = (step.place + 1) % (len(node.otherwise) + 1)
    if step.place and step.away_since is None:  # told once, not at every round
        on, there = node.placed(step.place)
        words = [f"on {on}" if on else "", there.machine or "", "" if there.spot or not node.spot else "not spot"]
        acting.event(node.name, "step.moved", f"to placement {step.place + 1} ({', '.join(filter(None, words)) or 'other needs'}): {why}")
    return bool(step.place)


def _ask_again(node: Node, step: StepState, key: str, error: PenstockError, acting: Acting) -> None:
    """The platform did not take it: the same attempt is asked for later, since a lost answer may have started it. Given up after AWAY_S."""
    now = acting.world.clock.now()
    step.attempt -= 1
    step.away_since = step.away_since or now
    acting.world.store.builds.unclaim(key, acting.world.owner)
    if now - step.away_since > AWAY_S:
        step.phase, step.error, step.message = "failed", error.as_json(), str(error)
        return
    if step.message is None:
        acting.event(node.name, "step.held", str(error), error=error.as_json())
    step.retry_at, step.message = now + ASK_AGAIN_S, f"asked again in {ASK_AGAIN_S:.0f} s: {error}"


def job_of(node: Node, *, key: str, run: str, inputs: Mapping[str, str], attempt: int) -> JobSpec:
    return JobSpec(
        key=key,
        run=run,
        step=node.name,
        stage=node.stage,
        config=node.whole_config,
        inputs=inputs,
        external=node.external,
        code_path=node.code_path,
        environment=node.environment,
        timeout_s=node.timeout_s,
        memory_bytes=node.memory_bytes,
        cpus=node.cpus,
        gpus=node.gpus,
        gpu_type=node.gpu_type,
        nodes=node.nodes,
        spot=node.spot,
        machine=node.machine,
        processes=node.processes,
        attempt=attempt,
    )


def watch(node: Node, step: StepState, acting: Acting, *, inherited: bool) -> None:
    """For a running step: follows its log, and acts on its end. `inherited`: another process submitted it and is gone."""
    assert step.handle is not None
    assert step.key is not None
    handle = JobHandle(**step.handle)
    try:
        jobs = acting.jobs(node.placed(step.place)[0])
        state = jobs.observe(handle)
        _follow(node, step, acting, jobs.logs(handle, step.cursor))
    except NotFound:
        # Submitted on another machine, or its folder was deleted: whatever it did, its marker would have been found.
        inherited, state = (
            True,
            JobState("failed", error={"code": "step-failed", "message": "the job is not known here", "transient": True}),
        )
    except (PlatformAway, PlatformDenied) as error:
        # It runs on without us; what expired may be renewed, and its end is then seen.
        step.message, state = str(error), JobState("running")
    else:
        step.message = None if state.phase in ("pending", "running") else step.message
    builds = acting.world.store.builds
    if state.phase == "succeeded":
        _succeed(node, step, acting, state)
    elif state.phase == "failed":
        builds.unclaim(step.key, acting.world.owner)
        _fail(node, step, acting, state, inherited=inherited)
    elif state.phase == "cancelled":
        builds.unclaim(step.key, acting.world.owner)
        step.phase = "cancelled"
    elif not builds.renew(step.key, acting.world.owner, LEASE_S):
        builds.claim(step.key, acting.world.owner, LEASE_S)


def _succeed(node: Node, step: StepState, acting: Acting, state: JobState) -> None:
    from penstock.store.builds import Build

    assert state.result is not None
    assert step.key is not None
    result, store = state.result, acting.world.store
    inputs = {name: digest for name, b in node.inputs.items() if (digest := bound(b, acting.outputs)) is not None}
    build = Build(
        key=step.key,
        pipeline=acting.pipeline,
        step=node.name,
        stage=node.stage,
        outputs=dict(result.outputs),
        metrics=dict(result.metrics),
        parts=key_parts(node, inputs),
        seconds=result.seconds,
        run=acting.run,
        created_at=acting.world.clock.now(),
    )
    with store.database.begin():
        build = store.builds.record(build)
        store.builds.unclaim(step.key, acting.world.owner)
    step.phase, step.outputs, step.metrics = "succeeded", dict(build.outputs), dict(build.metrics)
    step.seconds, step.message, step.handle, step.error = result.seconds, None, None, None
    acting.event(node.name, "step.succeeded", f"in {result.seconds:.2f} s", key=step.key)


def _fail(node: Node, step: StepState, acting: Acting, state: JobState, *, inherited: bool) -> None:
    error = dict(state.error or {"code": "step-failed", "message": "the job ended without a result"})
    step.error, step.handle = error, None
    moved = error.get("code") == PlatformFull.code and _moved(node, step, str(error.get("message")), acting)
    own_fault = not (inherited or moved)
    step.tries += own_fault
    transient = bool(error.get("transient")) or error.get("type") in node.retry_on
    if not own_fault or error.get("code") in CORRUPT or (transient and step.tries < node.attempts):
        delay = node.backoff_s * 2 ** (step.tries - 1) if own_fault and error.get("code") not in CORRUPT else 0.0
        step.phase, step.retry_at = "waiting", acting.world.clock.now() + delay
        step.message = f"again in {delay:.1f} s after: {error.get('message')}"
        acting.event(node.name, "step.retried", step.message, error=error)
        return
    step.phase, step.message = "failed", str(error.get("message"))
    step.seconds = acting.world.clock.now() - (step.started_at or acting.world.clock.now())
    acting.event(node.name, "step.failed", step.message, error=error)


def repair(node: Node, acting: Acting) -> list[str]:
    """Drops the inputs of a step that no longer match their digest; returns the names of the steps to run again."""
    store, again = acting.world.store, []
    for binding in node.inputs.values():
        digest = bound(binding, acting.outputs)
        if digest is None:
            continue
        try:
            store.artifacts.verify(digest)
        except PenstockError as problem:
            if problem.code not in CORRUPT:
                raise
            store.artifacts.drop(digest)
            acting.event(node.name, "artifact.dropped", f"{digest} does not verify: {problem.message}")
            if binding.step:
                again.append(binding.step)
    return again


def _follow(node: Node, step: StepState, acting: Acting, page: LogPage) -> None:
    """Keeps the latest progress and the points of new log lines. The cursor is saved with them, so none is read twice."""
    step.cursor = page.cursor
    for line in page.lines:
        if not line.startswith(MARK):
            continue
        try:
            value = json.loads(line[len(MARK) :])
        except ValueError:
            continue
        if "progress" in value:
            seen = value["progress"]
            step.progress = {"from": seen.get("done", 0.0), "from_at": seen.get("at"), **(step.progress or {}), **seen}
        elif "point" in value:
            acting.outbox.points.append(_point(value["point"], node.name, acting))


def _point(value: Mapping[str, Any], step: str, acting: Acting) -> Point:
    from penstock.store.points import Point

    at = float(value.get("at") or acting.world.clock.now())
    return Point(acting.run, step, str(value["name"]), int(value["step"]), float(value["value"]), at)
