"""A platform that does not answer, has no room, or forgot who asks: the step waits and goes on; nothing is started twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.control.api import plan, start_run
from penstock.control.graph import build_graph
from penstock.control.loop import watch_run
from penstock.control.preparing import Prepared, moved, platform_of, prepare
from penstock.control.steps import ASK_AGAIN_S, AWAY_S
from penstock.core.errors import BadInput, PenstockError, PlatformAway, PlatformDenied, PlatformFull, PlatformLacks
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
