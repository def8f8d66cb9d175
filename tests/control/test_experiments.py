"""Experiments and bandits over a real gateway process and replicas in memory, from records and feedback that the test writes."""

from __future__ import annotations

import contextlib
import json
import random
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control.bandits import BanditReconciler
from penstock.control.contract import Again
from penstock.control.deployments import DeploymentReconciler, get_deployment, phase_of
from penstock.control.experiments import ExperimentReconciler
from penstock.control.gateway import stop_gateway
from penstock.control.movers import bandit_row, experiment_row, mover_of, start_mover
from penstock.control.split import split_of
from penstock.control.traffic import set_traffic, undo_traffic
from penstock.control.world import LEASE_S, World
from penstock.core.errors import BadInput, Conflict
from penstock.serving.feedback import Feedback
from penstock.serving.records import Record
from penstock.spec.deploy import Bandit, Experiment
from penstock.store.resources import Resource
from penstock.testing.control import Bench, Crash
from penstock.testing.deployments import live, process, route, settle, want, weights

RECONCILERS = {r.kind: r for r in (DeploymentReconciler(), ExperimentReconciler(), BanditReconciler())}


def turn(world: World, bench: Bench, kind: str) -> None:
    """One pass over the newest row of `kind`, and one over the deployment, as the control loop would."""
    for each in (kind, "deployment"):
        row = world.store.resources.find(each, "m")
        if row is None or row.due_at is None or not world.store.resources.take(each, row.id, world.owner, LEASE_S):
            continue
        outcome = RECONCILERS[each].reconcile(row, world)
        world.store.resources.release(
            each, row.id, world.owner, bench.clock.now() + outcome.after_s if isinstance(outcome, Again) else None
        )
    if get_deployment(world, "m").phase == "switching":
        time.sleep(0.05)  # the real gateway polls the real file
    bench.clock.sleep(0.5)


def serve(bench: Bench, count: int, rates: dict[str, float], *, seed: int = 1, only: str | None = None) -> None:
    """Writes records as the gateway would, by the shares in its snapshot, and thumbs up at `rates` by version."""
    chance, found, folder = random.Random(seed), route(bench), bench.home.gateway
    (folder / "feedback").mkdir(parents=True, exist_ok=True)
    (folder / "records").mkdir(parents=True, exist_ok=True)
    hour = time.strftime("%Y%m%d-%H", time.gmtime(bench.clock.now()))
    shares = {v.version: v.weight for v in found.versions}
    lines, said = [], []
    for n in range(count):
        at, ident = bench.clock.now() + n * 1e-5, f"{seed}-{n}-{bench.clock.now()}"
        version = only or chance.choices(list(shares), list(shares.values()))[0]
        good = chance.random() < rates[version]
        times = (1.0, 5.0, 40.0 if good else 80.0, 1)
        sizes = (10, 10, 3, 3)
        record = Record(
            at,
            ident,
            "m",
            version,
            "r",
            "/v1/classify",
            "key-1",
            200 if good else 500,
            *sizes,
            *times,
            session=ident,
            experiment=found.experiment,
        )
        lines.append(orjson.dumps(record._asdict(), option=orjson.OPT_APPEND_NEWLINE))
        said.append(
            orjson.dumps(Feedback(at + 0.2, ident, f"fb-{ident}", "key-1", 1.0 if good else -1.0), option=orjson.OPT_APPEND_NEWLINE)
        )
    _append(folder / "records" / f"{hour}-1-1.jsonl", lines)
    _append(folder / "feedback" / f"{hour}-1.jsonl", said)


def _append(path: Path, lines: list[bytes]) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


def begin(bench: Bench, endpoints: Any, **wish: Any) -> tuple[World, Resource]:
    world = process(bench, endpoints)
    bench.store.registry.set_alias("m", "champion", 1, "test")
    bench.store.registry.set_alias("m", "challenger", 2, "test")
    want(world, 1)
    settle(world, bench, live(1))
    deployment = get_deployment(world, "m")
    if "versions" in wish:
        row = start_mover(world, deployment, "bandit", bandit_row(world, deployment, Bandit(**wish), principal="test"))
    else:
        row = start_mover(world, deployment, "experiment", experiment_row(world, deployment, Experiment(**wish), principal="test"))
    for _ in range(40):
        turn(world, bench, row.kind)
        if world.store.resources.get(row.kind, row.id).status.get("cursor"):
            return world, row
    raise AssertionError("it did not start")


def drive(world: World, bench: Bench, row: Resource, rates: dict[str, float], passes: int = 40, per_pass: int = 60) -> Resource:
    for n in range(passes):
        serve(bench, per_pass, rates, seed=n)
        for _ in range(4):
            turn(world, bench, row.kind)
        found = world.store.resources.get(row.kind, row.id)
        if found.due_at is None:
            break
    return found


def test_a_better_challenger_is_found_and_takes_over(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, share=0.5, then="switch")
    assert weights(bench) == {"1": 0.5, "2": 0.5}
    assert route(bench).experiment == row.id
    found = drive(world, bench, row, {"1": 0.3, "2": 0.8})
    assert (found.phase, found.status["verdict"]) == ("decided", "better")
    reading = found.status["reading"]
    assert 0 <= reading["low"] < 0.5 < reading["high"]
    assert reading["effect"] == pytest.approx(0.5, abs=0.2)
    assert not found.status["ratio"]["mismatch"]
    assert [(p.version, p.weight) for p in split_of(get_deployment(world, "m").spec)] == [(2, 1.0)]
    assert bench.store.registry.aliases("m") == {"champion": 2}
    events = bench.store.events.list("deployment", get_deployment(world, "m").id)
    verdicts = [e.message for e in events if e.type == "experiment.verdict"]
    assert len(verdicts) == 1
    assert "better by reward" in verdicts[0]
    assert "version 2 gets all requests" in verdicts[0]


def test_a_worse_one_is_found_by_success_and_only_reported(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, share=0.2, metric="success")
    found = drive(world, bench, row, {"1": 0.95, "2": 0.4})
    assert found.status["verdict"] == "worse"
    assert "stays as it is" in found.status["reason"]
    assert weights(bench) == {"1": 0.8, "2": 0.2}
    # What is over can be followed by the next one; while one is at work it cannot.
    deployment = get_deployment(world, "m")
    start_mover(world, deployment, "experiment", experiment_row(world, deployment, Experiment(), principal="test"))
    turn(world, bench, "experiment")
    with pytest.raises(Conflict, match="moves the traffic"):
        start_mover(world, get_deployment(world, "m"), "experiment", {"principal": "test"})


def test_latency_is_told_as_a_ratio_of_times(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, metric="latency")
    records = bench.home.gateway / "records"

    def slow(factor: float) -> None:
        for path in records.glob("*.jsonl"):
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            for n, one in enumerate(rows):
                one["status"], one["total_ms"] = 200, 50.0 * (factor if one["version"] == "2" else 1.0) * (1.0 + n % 7 / 10)
            path.write_text("".join(json.dumps(one) + "\n" for one in rows))

    found = row
    for n in range(20):
        serve(bench, 80, {"1": 1.0, "2": 1.0}, seed=n)
        slow(0.5)
        for _ in range(4):
            turn(world, bench, "experiment")
        found = world.store.resources.get("experiment", row.id)
        if found.due_at is None:
            break
    assert found.status["verdict"] == "better"
    ratio, low, high = found.status["reading"]["ratio"]
    assert low < 0.5 < high <= 1.0
    assert ratio == pytest.approx(0.5, abs=0.1)
    assert "times as long" in found.status["reason"]


def test_nothing_is_decided_between_equals_and_it_ends_when_told(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, stop_after=600, then="switch")
    found = drive(world, bench, row, {"1": 0.5, "2": 0.5})
    assert (found.phase, found.status["verdict"]) == ("undecided", "undecided")
    assert sum(found.status["requests"].values()) >= 600
    assert [(p.version, p.weight) for p in split_of(get_deployment(world, "m").spec)] == [(1, 1.0)]


def test_lost_requests_of_one_version_are_flagged_and_nothing_is_switched(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, then="switch")
    serve(bench, 400, {"1": 0.3, "2": 0.9}, only="2", seed=99)
    found = drive(world, bench, row, {"1": 0.3, "2": 0.9})
    assert found.status["ratio"]["mismatch"]
    assert found.status["verdict"] == "better"
    assert "cannot be trusted" in found.status["reason"]
    assert weights(bench) == {"1": 0.5, "2": 0.5}


def test_an_experiment_ends_when_people_set_the_traffic(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints)
    undo_traffic(world, "m", principal="test")
    found = drive(world, bench, row, {"1": 0.5, "2": 0.5}, passes=3)
    assert (found.phase, found.status["reason"]) == ("stopped", "the traffic was set by somebody else")
    settle(world, bench, live(1))
    assert weights(bench) == {"1": 1.0}


def test_one_session_is_one_outcome_however_often_it_asks(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints)
    serve(bench, 300, {"1": 0.0, "2": 1.0})
    path = next((bench.home.gateway / "records").glob("*.jsonl"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**one, "session": f"same-{one['version']}"}) + "\n" for one in rows))
    for _ in range(8):
        turn(world, bench, "experiment")
    found = world.store.resources.get("experiment", row.id)
    assert found.status["outcomes"] == {"1": 1, "2": 1}
    assert found.status["verdict"] == "undecided"
    assert sum(found.status["requests"].values()) == 300


@pytest.mark.parametrize("wish", [{"then": "switch"}, {"versions": (1, 2)}])
def test_a_version_that_does_not_start_ends_it_and_all_requests_go_back(served: Any, wish: dict[str, Any]) -> None:
    bench, endpoints = served()
    apply = endpoints.apply

    def refusing(desired: Any) -> None:
        apply(desired)
        for row in endpoints.observe("m").replicas:
            if row.version == "2":
                endpoints.kill("m", row.id)

    endpoints.apply = refusing
    with pytest.raises(AssertionError, match="did not start"):
        begin(bench, endpoints, **wish)
    row = bench.store.resources.find("bandit" if "versions" in wish else "experiment", "m")
    assert row.phase == "stopped"
    assert "does not start: killed" in row.status["reason"]
    world = process(bench, endpoints)
    settle(world, bench, live(1))
    assert weights(bench) == {"1": 1.0}


def test_the_file_starts_it_once_and_waits_for_a_challenger(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1, traffic={"experiment": {"share": "25%"}})
    row = settle(world, bench, live(1))
    row = settle(world, bench, lambda r: phase_of(r) == "live")
    assert "the experiment waits: model 'm' has no alias 'challenger'" in row.status["notes"][0]
    assert mover_of(world, "m") is None
    bench.store.registry.set_alias("m", "challenger", 3, "test")
    for _ in range(12):
        turn(world, bench, "experiment")
    assert weights(bench) == {"1": 0.75, "3": 0.25}
    set_traffic(world, "m", {1: 1.0}, principal="test")
    for _ in range(12):
        turn(world, bench, "experiment")
    assert len(world.store.resources.list("experiment")) == 1, "what people ended does not start again by itself"
    assert weights(bench) == {"1": 1.0}
    bench.store.registry.set_alias("m", "champion", 1, "test")
    for split, why in (({2: 1.0}, "version 2 serves, which is not the champion (1)"), ({1: 0.5, 2: 0.5}, "split by hand")):
        set_traffic(world, "m", split, principal="test")
        row = settle(world, bench, lambda r: phase_of(r) == "live")
        assert why in row.status["notes"][0]
    assert len(world.store.resources.list("experiment")) == 1, "a rollback or a split by hand begins nothing either"
    set_traffic(world, "m", {1: 1.0}, principal="test")
    with pytest.raises(BadInput, match="needs another one"):
        experiment_row(world, get_deployment(world, "m"), Experiment(challenger=1), principal="test")


def test_a_bandit_moves_traffic_to_what_earns_more_and_keeps_the_floor(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, versions=(1, 2, 3), explore=0.05, every=2.0)
    assert sorted(weights(bench)) == ["1", "2", "3"]
    drive(world, bench, row, {"1": 0.4, "2": 0.9, "3": 0.5}, passes=15)
    found = weights(bench)
    assert found["2"] == pytest.approx(0.9)
    assert min(found.values()) == pytest.approx(0.05)
    status = world.store.resources.get("bandit", row.id).status
    assert status["means"]["2"] == pytest.approx(0.9, abs=0.08)
    before = undo_traffic(world, "m", principal="test")
    assert [(p.version, p.weight) for p in split_of(before.spec)] == [(1, 1.0)], "all its moves are one change"
    assert drive(world, bench, row, {"1": 0.4, "2": 0.9, "3": 0.5}, passes=2).phase == "stopped"
    with pytest.raises(BadInput, match="different versions"):
        bandit_row(world, get_deployment(world, "m"), Bandit(versions=(1, "champion")), principal="test")


def test_a_bandit_of_latency_prefers_the_faster(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, versions=(1, 2), explore=0.1, every=2.0, metric="latency")
    drive(world, bench, row, {"1": 0.0, "2": 1.0}, passes=8)  # failures count as the slowest
    assert weights(bench)["2"] == pytest.approx(0.9)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(st.integers(1, 12), min_size=1, max_size=4), kind=st.sampled_from(["experiment", "bandit"]))
def test_crashes_anywhere_count_nothing_twice(served: Any, crashes: list[int], kind: str) -> None:
    bench, endpoints = served()
    wish: dict[str, Any] = {"versions": (1, 2), "every": 1.0} if kind == "bandit" else {"confidence": 0.999999}
    _, row = begin(bench, endpoints, **wish)
    for n, point in enumerate(crashes):
        serve(bench, 50, {"1": 0.5, "2": 0.5}, seed=n)
        world = process(bench, endpoints, crash_at=point)
        with contextlib.suppress(Crash):
            for _ in range(4):
                turn(world, bench, kind)
        bench.clock.sleep(LEASE_S + 1)
    for _ in range(8):
        turn(process(bench, endpoints), bench, kind)
        bench.clock.sleep(LEASE_S + 1)
    status = bench.store.resources.get(kind, row.id).status
    counted = status["seen"] if kind == "bandit" else sum(status["outcomes"].values())
    assert counted == 50 * len(crashes)
    stop_gateway(bench.home)
