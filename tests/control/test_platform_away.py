"""A platform that does not answer, has no room, or forgot who asks: the step waits and goes on; nothing is started twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from penstock.control.api import plan, start_run
from penstock.control.graph import build_graph
from penstock.control.loop import watch_run
from penstock.control.preparing import Prepared, moved, platform_of, prepare
from penstock.control.steps import ASK_AGAIN_S, AWAY_S
from penstock.core.errors import BadInput, PenstockError, PlatformAway, PlatformDenied, PlatformFull, PlatformLacks
from penstock.platforms.contract import JobSpec, JobState
from penstock.spec.pipeline import Pipeline
from penstock.testing.control import Bench

CODE = "def one() -> int:\n    return 1\n"
THERE = {"kind": "kubernetes", "image": "x/penstock:1"}


def pipeline(**more: Any) -> Pipeline:
    step = {"name": "one", "uses": "work:one", **more}
    return Pipeline.model_validate({"name": "p", "steps": [step], "platforms": {"laptop": {"kind": "local"}, "there": THERE}})


def failing(call: Callable[..., Any], errors: list[PenstockError], calls: list[Any]) -> Callable[..., Any]:
    """`call`, that raises `errors` first."""

    def made(value: Any) -> Any:
        calls.append(value)
        if errors:
            raise errors.pop(0)
        return call(value)

    return made


@pytest.fixture
def prepared(bench: Bench, tmp_path: Path) -> Prepared:
    (tmp_path / "work.py").write_text(CODE)
    return Prepared(pipeline(), build_graph(pipeline(), tmp_path, bench.home), "", bench.home)


@pytest.mark.parametrize("error", [PlatformAway("503"), PlatformFull("no room")])
def test_what_was_not_taken_is_asked_for_again_as_the_same_attempt(
    bench: Bench, prepared: Prepared, error: PenstockError, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, calls = bench.world(), list[Any]()
    jobs: Any = world._jobs["laptop"]
    monkeypatch.setattr(jobs, "submit", failing(jobs.submit, [error, error], calls))
    monkeypatch.setattr(jobs, "wait", bench.clock.sleep)
    began = bench.clock.now()
    run = watch_run(world, start_run(prepared, world, deploy=False).id, lambda _: None)
    assert run.phase == "succeeded"
    assert [job.attempt for job in calls] == [1, 1, 1]
    assert bench.clock.now() - began >= 2 * ASK_AGAIN_S
    held = [event for event in world.store.events.list("run", run.id) if event.type == "step.held"]
    assert len(held) == 1, "told once, not at every try"


def test_what_is_never_taken_fails_in_the_end(bench: Bench, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    world = bench.world()
    jobs: Any = world._jobs["laptop"]
    monkeypatch.setattr(jobs, "submit", failing(jobs.submit, [PlatformAway("503")] * 1000, []))
    monkeypatch.setattr(jobs, "wait", lambda _: bench.clock.sleep(60.0))
    began = bench.clock.now()
    run = watch_run(world, start_run(prepared, world, deploy=False).id, lambda _: None)
    assert (run.phase, run.status["error"]["code"]) == ("failed", "platform-away")
    assert AWAY_S <= bench.clock.now() - began <= AWAY_S + 300


@pytest.mark.parametrize("error", [PlatformAway("503"), PlatformDenied("the token expired")])
def test_a_step_that_cannot_be_looked_at_runs_on(
    bench: Bench, prepared: Prepared, error: PenstockError, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, said = bench.world(), list[str]()
    jobs: Any = world._jobs["laptop"]
    monkeypatch.setattr(jobs, "observe", failing(jobs.observe, [error, error], []))
    run = watch_run(world, start_run(prepared, world, deploy=False).id, lambda row: said.append(str(row.status)))
    assert run.phase == "succeeded"
    assert any(str(error) in text for text in said)


def test_on_moves_steps_and_deployment() -> None:
    plain = pipeline()
    assert platform_of(plain) == "laptop"
    assert platform_of(moved(plain, "there")) == "there"
    assert moved(plain, None) is plain
    with pytest.raises(BadInput, match="did you mean 'there'"):
        moved(plain, "ther")


def test_a_plan_on_a_platform_names_machines_prices_and_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    found = plan(pipeline(resources={"memory": "4 GiB", "nodes": 2}), on="there")
    quote = found.quotes["one"]
    assert (found.platform, quote.machine, quote.nodes, quote.usd_per_h) == ("there", "any node (1 CPUs, 4.0 GiB)", 2, None)
    assert [call.split("/")[-1].split(" ")[0] for call in quote.calls] == ["services", "jobs"]
    assert found.as_json()["estimate_usd"] is None
    assert plan(pipeline()).as_json()["quotes"]["one"]["machine"] == "this machine"


def test_what_a_platform_lacks_is_refused_while_planning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlatformLacks, match="no pool 'large' is declared"):
        prepare(pipeline(resources={"machine": "large"}), on="there")
    with pytest.raises(PlatformLacks, match="pinned requirements of a step go into an image of its own"):
        prepare(pipeline(environment=["flwr==1.41"]), on="there")


ANYWHERE = {"spot": True, "otherwise": [{"spot": False, "machine": "large"}, {"on": "there"}]}


class Places:
    """Jobs of a platform, by what each of its `refusals` says; those that it takes run on `jobs`."""

    def __init__(self, jobs: Any, full: Callable[[JobSpec], bool]) -> None:
        self.jobs, self.full, self.asked, self.cancelled = jobs, full, list[tuple[str | None, bool, int]](), 0

    def submit(self, job: JobSpec) -> Any:
        self.asked.append((job.machine, job.spot, job.attempt))
        if self.full(job):
            raise PlatformFull("no room")
        return self.jobs.submit(replace(job, spot=False, machine=None))

    def cancel(self, handle: Any) -> None:
        self.cancelled += 1
        self.jobs.cancel(handle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.jobs, name)


def spread(bench: Bench, tmp_path: Path, code: str = CODE) -> tuple[Any, Prepared]:
    (tmp_path / "work.py").write_text(code)
    made = pipeline(resources=ANYWHERE)
    return bench.world(), Prepared(made, build_graph(made, tmp_path, bench.home), "", bench.home)


def placed(world: Any, here: Callable[[JobSpec], bool], there: Callable[[JobSpec], bool]) -> tuple[Places, Places]:
    real = world._jobs["laptop"]
    found = Places(real, here), Places(real, there)
    world._jobs.update(laptop=found[0], there=found[1])
    return found


def test_without_room_a_step_goes_to_its_next_placement_at_once(bench: Bench, tmp_path: Path) -> None:
    world, ready = spread(bench, tmp_path)
    here, there = placed(world, lambda job: job.spot, lambda _: True)
    run = watch_run(world, start_run(ready, world, deploy=False).id, lambda _: None)
    assert run.phase == "succeeded"
    assert [(machine, spot) for machine, spot, _ in here.asked] == [(None, True), ("large", False)]
    assert not there.asked
    [told] = [event for event in world.store.events.list("run", run.id) if event.type == "step.moved"]
    assert "large, not spot" in told.message


def test_another_platform_takes_it_and_is_asked_about_it(bench: Bench, tmp_path: Path) -> None:
    world, ready = spread(bench, tmp_path)
    here, there = placed(world, lambda _: True, lambda _: False)
    run = watch_run(world, start_run(ready, world, deploy=False).id, lambda _: None)
    assert run.phase == "succeeded"
    assert [(machine, spot) for machine, spot, _ in there.asked] == [(None, True)]
    attempts = [attempt for _, _, attempt in (*here.asked, *there.asked)]
    assert len(set(attempts)) == len(attempts), "a placement never meets the name of another's job"


def test_when_all_are_full_it_waits_and_begins_with_the_first(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, ready = spread(bench, tmp_path)
    tries = [0]

    def full(_: JobSpec) -> bool:
        tries[0] += 1
        return tries[0] <= 3

    here, _ = placed(world, full, full)
    monkeypatch.setattr(here.jobs, "wait", bench.clock.sleep)
    began = bench.clock.now()
    run = watch_run(world, start_run(ready, world, deploy=False).id, lambda _: None)
    assert run.phase == "succeeded"
    assert [(machine, spot) for machine, spot, _ in here.asked] == [(None, True), ("large", False), (None, True)]
    assert bench.clock.now() - began >= ASK_AGAIN_S


def test_a_machine_that_never_comes_moves_the_step_and_is_not_its_fault(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, ready = spread(bench, tmp_path)
    here, _ = placed(world, lambda _: False, lambda _: False)
    observe, full = here.jobs.observe, [JobState("failed", error={"code": "platform-full", "message": "none came", "transient": True})] * 2
    monkeypatch.setattr(here.jobs, "observe", lambda handle: full.pop() if full else observe(handle))
    run = watch_run(world, start_run(ready, world, deploy=False).id, lambda _: None)
    step = run.status["steps"]["one"]
    assert (run.phase, step["place"], step.get("tries", 0)) == ("succeeded", 2, 0)


def test_a_cancel_reaches_the_platform_that_it_went_to(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, ready = spread(bench, tmp_path)
    here, there = placed(world, lambda _: True, lambda _: False)
    monkeypatch.setattr(here.jobs, "observe", lambda _: JobState("cancelled" if there.cancelled else "running"))
    monkeypatch.setattr(here.jobs, "cancel", lambda _: None)
    ident = start_run(ready, world, deploy=False).id

    def seen(row: Any) -> None:
        if row.status["steps"]["one"]["phase"] == "running" and not row.spec["cancel"]:
            world.store.resources.set_spec("run", ident, {**row.spec, "cancel": True})

    assert watch_run(world, ident, lambda row: seen(row) if row.status.get("steps") else None).phase == "cancelled"
    assert (here.cancelled, there.cancelled) == (0, 1)


@pytest.mark.parametrize(
    ("placement", "told"),
    [
        ({"on": "ther"}, "no platform is called 'ther'"),
        ({}, "say what is different there"),
        ({"gpus": 1, "gpu": {"type": "t4"}}, "say the same thing"),
        ({"nodes": 0}, "greater than or equal to 1"),
    ],
)
def test_a_placement_that_means_nothing_is_refused(placement: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        pipeline(resources={"otherwise": [placement]})


def test_a_plan_shows_every_placement_and_refuses_what_none_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    quote = plan(pipeline(resources={"memory": "1 GiB", "otherwise": [{"on": "there", "nodes": 2}]})).quotes["one"]
    assert [(one.on, one.nodes, one.machine) for one in (quote, *quote.otherwise)] == [
        ("", 1, "this machine"),
        ("there", 2, "any node (1 CPUs, 1.0 GiB)"),
    ]
    with pytest.raises(PlatformLacks, match="no pool 'large'"):
        prepare(pipeline(resources={"otherwise": [{"on": "there", "machine": "large"}]}))


def test_rounds_without_room_are_told_once(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, ready = spread(bench, tmp_path)
    tries = [0]

    def full(_: JobSpec) -> bool:
        tries[0] += 1
        return tries[0] <= 9

    here, _ = placed(world, full, full)
    monkeypatch.setattr(here.jobs, "wait", bench.clock.sleep)
    run = watch_run(world, start_run(ready, world, deploy=False).id, lambda _: None)
    assert run.phase == "succeeded"
    told = [event.type for event in world.store.events.list("run", run.id)]
    assert (told.count("step.moved"), told.count("step.held")) == (2, 1)
