"""Runs: built once, retried, cancelled, repaired; and from a crash at any point, the same end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control.api import result_of, start_run
from penstock.control.graph import build_graph
from penstock.control.loop import LEASE_S, watch_run
from penstock.control.preparing import Prepared
from penstock.control.runs import ENDED, RunReconciler
from penstock.control.state import RunState
from penstock.control.world import World
from penstock.core.errors import Interrupted
from penstock.spec.pipeline import Pipeline
from penstock.store.resources import Resource
from penstock.testing.control import Bench, Crash, InlineJobs

CODE = """
from pathlib import Path
MARK = Path(__file__).with_name("mark")

def first(*, seed: int = 1) -> int:
    return seed

def add(a: int, b: int = 0) -> int:
    return a + b

def flaky(a: int) -> int:
    count = int(MARK.read_text()) if MARK.exists() else 0
    MARK.write_text(str(count + 1))
    if count < 2:
        raise ConnectionError("the service did not answer")
    return a

def broken(a: int) -> int:
    raise ValueError(f"cannot use {a}")
"""


def diamond(**changes: Any) -> Pipeline:
    steps = [
        {"name": "top", "uses": "steps:first", "with": {"seed": 3}},
        {"name": "left", "uses": "steps:add", "inputs": {"a": "top"}, "with": {"b": 10}},
        {"name": "right", "uses": "steps:add", "inputs": {"a": "top"}, "with": {"b": 20}},
        {"name": "join", "uses": "steps:add", "inputs": {"a": "left", "b": "right"}},
    ]
    return Pipeline.model_validate({"name": "diamond", "steps": steps, **changes})


def chain(function: str) -> Pipeline:
    steps = [
        {"name": "top", "uses": "steps:first"},
        {"name": "middle", "uses": f"steps:{function}", "inputs": {"a": "top"}, "retry": {"attempts": 3, "backoff": 1}},
        {"name": "end", "uses": "steps:add", "inputs": {"a": "middle"}},
        {"name": "aside", "uses": "steps:add", "inputs": {"a": "top"}, "with": {"b": 5}},
    ]
    return Pipeline.model_validate({"name": "chain", "steps": steps})


def prepared(pipeline: Pipeline, bench: Bench, folder: Path) -> Prepared:
    (folder / "steps.py").write_text(CODE)
    return Prepared(pipeline, build_graph(pipeline, folder, bench.home), "", bench.home)


def begin(pipeline: Pipeline, bench: Bench, folder: Path, world: World) -> Resource:
    return start_run(prepared(pipeline, bench, folder), world, deploy=False)


def finish(world: World, run: Resource, bench: Bench, passes: int = 200) -> RunState:
    """Drives by hand, moving the clock as long as the outcome says."""
    reconciler = RunReconciler()
    assert world.store.resources.take("run", run.id, world.owner, LEASE_S)
    for _ in range(passes):
        row = world.store.resources.get("run", run.id)
        if row.phase in ENDED:
            return RunState.parse(row.status)
        outcome = reconciler.reconcile(row, world)
        bench.clock.sleep(getattr(outcome, "after_s", 0.0))
        world.store.resources.renew("run", run.id, world.owner, LEASE_S)
    raise AssertionError("the run did not end")


def jobs_of(world: World) -> InlineJobs:
    jobs: Any = world._jobs["laptop"]
    return jobs


def value(bench: Bench, state: RunState, step: str) -> int:
    folder = bench.store.artifacts.materialize(state.steps[step].outputs["value"])
    return int(json.loads((folder / "value.json").read_text()))


def test_a_diamond_is_built_and_then_found(bench: Bench, tmp_path: Path) -> None:
    world = bench.world()
    state = finish(world, begin(diamond(), bench, tmp_path, world), bench)
    assert {name: step.phase for name, step in state.steps.items()} == dict.fromkeys(("top", "left", "right", "join"), "succeeded")
    assert value(bench, state, "join") == 3 + 10 + 3 + 20
    again = bench.world()
    state = finish(again, begin(diamond(), bench, tmp_path, again), bench)
    assert {step.phase for step in state.steps.values()} == {"cached"}
    assert jobs_of(again).ran == []


def test_a_change_rebuilds_only_what_follows_from_it(bench: Bench, tmp_path: Path) -> None:
    world = bench.world()
    finish(world, begin(diamond(), bench, tmp_path, world), bench)
    changed = diamond().model_dump(by_alias=True)
    changed["steps"][2]["with"]["b"] = 21
    again = bench.world()
    state = finish(again, begin(Pipeline.model_validate(changed), bench, tmp_path, again), bench)
    assert jobs_of(again).ran == ["right", "join"]
    assert value(bench, state, "join") == 37


def test_a_transient_error_is_retried_with_growing_pauses(bench: Bench, tmp_path: Path) -> None:
    world, started = bench.world(), bench.clock.now()
    state = finish(world, begin(chain("flaky"), bench, tmp_path, world), bench)
    assert state.steps["middle"].phase == "succeeded"
    assert state.steps["middle"].attempt == 3
    assert bench.clock.now() - started >= 1 + 2


def test_a_failing_step_ends_its_branch_alone(bench: Bench, tmp_path: Path) -> None:
    world = bench.world()
    run = begin(chain("broken"), bench, tmp_path, world)
    state = finish(world, run, bench)
    assert world.store.resources.get("run", run.id).phase == "failed"
    assert {name: step.phase for name, step in state.steps.items()} == {
        "top": "succeeded",
        "middle": "failed",
        "end": "skipped",
        "aside": "succeeded",
    }
    assert state.error is not None
    assert "cannot use 1" in state.error["message"]
    assert "steps.py" in state.error["where"]
    assert jobs_of(world).ran.count("middle") == 1


def test_cancel_is_seen_before_anything_else_starts(bench: Bench, tmp_path: Path) -> None:
    world = bench.world()
    run = begin(diamond(), bench, tmp_path, world)
    world.store.resources.set_spec("run", run.id, {**run.spec, "cancel": True})
    state = finish(world, run, bench)
    assert {step.phase for step in state.steps.values()} == {"cancelled"}
    assert jobs_of(world).ran == []


def test_a_corrupt_artifact_is_dropped_and_its_step_built_again(bench: Bench, tmp_path: Path) -> None:
    world = bench.world()
    state = finish(world, begin(diamond(), bench, tmp_path, world), bench)
    before = dict(state.steps["join"].outputs)
    damaged = state.steps["left"].outputs["value"]
    blob = bench.store.artifacts.manifest(damaged).files[0].digest.partition(":")[2]
    place = next(p for p in (bench.home.folder / "artifacts").rglob("*") if p.is_file() and p.name in (blob, blob[2:]))
    place.chmod(0o644)
    place.write_bytes(b"999")
    bench.store.builds.invalidate(state.steps["join"].key or "", "to make join read its inputs again")
    bench.store.artifacts.drop(before["value"])
    again = World(type(bench.store).open(bench.home, bench.clock), bench.home, "elsewhere/fresh:1:1", bench.clock)
    again._jobs["laptop"] = InlineJobs(again.store, bench.home)
    state = finish(again, begin(diamond(), bench, tmp_path, again), bench)
    assert {name for name, step in state.steps.items() if step.phase == "succeeded"} == {"left", "join"}
    assert state.steps["join"].outputs == before
    assert value(bench, state, "join") == 36
    again.store.close()


def test_two_runs_at_once_never_build_a_key_twice(bench: Bench, tmp_path: Path) -> None:
    one, two = bench.world(), bench.world()
    runs = [begin(diamond(), bench, tmp_path, one)]
    assert one.store.resources.take("run", runs[0].id, one.owner, LEASE_S)
    runs.append(begin(diamond(), bench, tmp_path, two))
    assert runs[0].id != runs[1].id
    assert two.store.resources.take("run", runs[1].id, two.owner, LEASE_S)
    reconcilers = RunReconciler(), RunReconciler()
    for _ in range(60):
        for world, run, reconciler in zip((one, two), runs, reconcilers, strict=True):
            reconciler.reconcile(world.store.resources.get("run", run.id), world)
            bench.clock.sleep(0.1)
    assert [one.store.resources.get("run", run.id).phase for run in runs] == ["succeeded", "succeeded"]
    ran = jobs_of(one).ran + jobs_of(two).ran
    assert sorted(ran) == ["join", "left", "right", "top"]


def test_an_unfinished_run_of_the_same_graph_is_taken_up_again(bench: Bench, tmp_path: Path) -> None:
    dead = bench.world(crash_at=9)
    run = begin(diamond(), bench, tmp_path, bench.world())
    with pytest.raises(Crash):
        finish(dead, run, bench)
    bench.clock.sleep(LEASE_S + 1)
    world = bench.world()
    assert begin(diamond(), bench, tmp_path, world).id == run.id
    other = bench.world()
    world.store.resources.release("run", run.id, world.owner)
    changed = diamond().model_dump(by_alias=True)
    changed["steps"][0]["with"]["seed"] = 4
    assert begin(Pipeline.model_validate(changed), bench, tmp_path, other).id != run.id
    assert bench.store.resources.get("run", run.id).phase == "interrupted"


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_from_a_crash_at_any_point_the_same_end(new_bench: Callable[[], Bench], crashes: list[int]) -> None:
    bench = new_bench()
    folder = bench.home.folder
    run = begin(diamond(), bench, folder, bench.world())
    ran: list[str] = []
    for point in crashes:
        world = bench.world(crash_at=point)
        with contextlib.suppress(Crash):
            finish(world, run, bench)
        bench.clock.sleep(LEASE_S + 1)
        ran += jobs_of(world).ran
    world = bench.world()
    state = finish(world, run, bench)
    assert value(bench, state, "join") == 36
    assert {s.phase for s in state.steps.values()} <= {"succeeded", "cached"}
    # A step whose marker was written is never executed again; only a crash inside `submit` itself may repeat one.
    ran += jobs_of(world).ran
    assert all(ran.count(step) <= 1 + len(crashes) for step in set(ran))


def test_an_interruption_is_shown_before_it_is_raised(bench: Bench, tmp_path: Path) -> None:
    world = bench.world()
    run = begin(diamond(), bench, tmp_path, world)
    phases: list[str] = []

    def seen(row: Resource) -> None:
        phases.append(row.phase)
        if len(phases) == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        watch_run(world, run.id, seen)
    assert phases[-1] == "interrupted"


def test_results_are_told_in_the_order_of_the_plan(bench: Bench, tmp_path: Path) -> None:
    world = bench.world()
    run = begin(diamond(), bench, tmp_path, world)
    order = [node["name"] for node in run.spec["graph"]]
    assert order != sorted(order)
    told = result_of(watch_run(world, run.id, lambda _: None), world)
    assert [step["name"] for step in told.steps] == order
    assert [artifact["step"] for artifact in told.artifacts] == order


def test_watch_run_drives_to_the_end_and_tells_each_pass(bench: Bench, tmp_path: Path) -> None:
    world = bench.world()
    run = begin(diamond(), bench, tmp_path, world)
    phases: list[str] = []
    ended = watch_run(world, run.id, lambda row: phases.append(row.phase))
    assert ended.phase == "succeeded"
    assert phases[-1] == "succeeded"
    assert "running" in phases
