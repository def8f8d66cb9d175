"""Rollouts over a real gateway process and replicas in memory, from records and feedback as the gateway would write them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control.contract import Again
from penstock.control.deployments import DeploymentReconciler, get_deployment
from penstock.control.gateway import stop_gateway
from penstock.control.rollouts.machine import ENDED
from penstock.control.rollouts.orders import active_rollout, order_rollout, rollout_row, start_rollout
from penstock.control.rollouts.reconciler import RolloutReconciler
from penstock.control.split import split_of
from penstock.control.traffic import set_traffic, undo_traffic
from penstock.control.world import LEASE_S, World
from penstock.core.errors import BadInput, NotFound
from penstock.store.resources import Resource
from penstock.store.signals import Signal
from penstock.testing.control import Bench, Crash
from penstock.testing.deployments import live, process, route, routed, settle, want, weights
from penstock.testing.traffic import Behaviour, serve

RECONCILERS: dict[str, Any] = {r.kind: r for r in (DeploymentReconciler(), RolloutReconciler())}
CANARY = {"canary": [0.05, 0.25, 1.0], "hold": 20.0, "min_requests": 20, "keep_warm": 30.0}
WHEN = ["error_rate > 2%", "latency.p95_ms > 50", "live.accuracy < 0.8"]


def turn(world: World, bench: Bench, row: Resource, step_s: float = 0.5) -> None:
    """One pass over the rollout and one over the deployment, as the control loop would."""
    for kind, name in (("rollout", row.id), ("deployment", get_deployment(world, "m").id)):
        found = world.store.resources.get(kind, name)
        if found.due_at is None or not world.store.resources.take(kind, name, world.owner, LEASE_S):
            continue
        outcome = RECONCILERS[kind].reconcile(found, world)
        due = bench.clock.now() + outcome.after_s if isinstance(outcome, Again) else None
        world.store.resources.release(kind, name, world.owner, due)
    if get_deployment(world, "m").phase == "switching":
        time.sleep(0.05)  # the real gateway polls the real file
    bench.clock.sleep(step_s)


def begin(bench: Bench, endpoints: Any, strategy: Any = CANARY, when: list[str] = WHEN, replicas: int = 1) -> tuple[World, Resource]:
    world = process(bench, endpoints)
    bench.store.registry.set_alias("m", "champion", 1, "test")
    bench.store.registry.set_alias("m", "challenger", 2, "test")
    want(world, 1, replicas, strategy=strategy, rollback_when=when)
    settle(world, bench, live(1))
    return world, start_rollout(world, get_deployment(world, "m"), 2, principal="test", cause={"run": "r"})


def row_of(bench: Bench, row: Resource) -> Resource:
    return bench.store.resources.get("rollout", row.id)


def drive(
    world: World,
    bench: Bench,
    row: Resource,
    behaviour: dict[str, Behaviour],
    until: Callable[[Resource], bool] = lambda row: row.phase in ENDED,
    passes: int = 400,
    per_pass: int = 60,
) -> Resource:
    for n in range(passes):
        if per_pass:
            serve(bench, per_pass, behaviour, seed=n)
        turn(world, bench, row)
        if until(row_of(bench, row)):
            return row_of(bench, row)
    found = row_of(bench, row)
    raise AssertionError(f"did not come to it: {found.phase}, {found.status.get('reason')}, {found.status.get('findings')}")


def events(bench: Bench, row: Resource) -> list[tuple[str, str]]:
    return [(e.type, e.message) for e in bench.store.events.list("rollout", row.id)]


def test_a_good_version_is_promoted_step_by_step(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints)
    seen: list[dict[str, float]] = []

    def look(found: Resource) -> bool:
        if not seen or weights(bench) != seen[-1]:
            seen.append(weights(bench))
        return found.phase in ENDED

    found = drive(world, bench, row, {}, look)
    assert found.phase == "promoted"
    assert [shares.get("2", 0.0) for shares in seen if sum(shares.values()) > 0.99] == [0.0, 0.05, 0.25, 1.0]
    assert bench.store.registry.aliases("m") == {"champion": 2}
    said = events(bench, row)
    assert [kind for kind, _ in said if kind == "rollout.stage"] == ["rollout.stage"] * 3
    assert any("live.accuracy" in message and "kept" in message for _, message in said), said
    settle(world, bench, live(2))
    deployment = get_deployment(world, "m")
    assert deployment.spec["experiment"] is None
    assert not deployment.spec.get("warm")
    assert [(p.version, p.weight) for p in split_of(deployment.spec)] == [(2, 1.0)]
    turn(world, bench, row)
    settle(world, bench, lambda _: routed(bench) == [("2", 1)])
    # What it was before the rollout is one undo away.
    undo_traffic(world, "m", principal="test")
    settle(world, bench, live(1))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Behaviour(failing=0.3), "error_rate"),
        (Behaviour(total_ms=200.0), "took more than 50 ms"),
        (Behaviour(right=0.3), "live.accuracy"),
    ],
)
def test_a_bad_one_goes_back_within_its_first_step(served: Any, bad: Behaviour, says: str) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints)
    found = drive(world, bench, row, {"2": bad}, passes=60)
    assert found.phase == "rolled_back"
    assert found.status["state"]["stage"] == 0
    assert says in found.status["reason"]
    assert weights(bench)["1"] == 1.0
    assert bench.store.registry.aliases("m") == {"champion": 1}
    told = [e for e in bench.store.events.list("deployment", get_deployment(world, "m").id) if e.type == "rollout.rollback"]
    assert len(told) == 1
    assert told[0].data is not None
    assert told[0].data["count"] > 0


def test_one_that_breaks_under_the_whole_load_goes_back_to_replicas_that_are_warm(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints)
    drive(world, bench, row, {}, lambda found: found.phase == "watching")
    assert bench.store.registry.aliases("m")["champion"] == 2
    settle(world, bench, live(2))
    assert dict(routed(bench))["1"] == 1  # ready, with no request
    assert weights(bench) == {"1": 0.0, "2": 1.0}
    started = len(endpoints.replicas["m"])
    found = drive(world, bench, row, {"2": Behaviour(failing=0.4)})
    assert found.phase == "rolled_back"
    assert weights(bench)["1"] == 1.0
    assert bench.store.registry.aliases("m") == {"champion": 1}
    assert len(endpoints.replicas["m"]) <= started  # nothing had to be started for it


def test_an_unproven_one_waits_at_the_last_step_and_a_person_decides(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, {**CANARY, "canary": [0.5], "patience": 60.0}, ["live.accuracy < 0.8"])
    for n in range(180):
        serve(bench, 4, {"2": Behaviour(rated=0.0)}, seed=n)
        turn(world, bench, row)
    found = row_of(bench, row)
    assert (found.phase, weights(bench)) == ("running", {"1": 0.5, "2": 0.5})
    assert [kind for kind, _ in events(bench, row)].count("rollout.undecided") == 1
    assert "no labels yet" in rollout_row(found)["conditions"][0]["says"]
    order_rollout(world, "m", "promote", principal="ann")
    found = drive(world, bench, row, {"2": Behaviour(rated=0.0)}, per_pass=4)
    assert found.phase == "promoted"
    assert ("rollout.promoted_by_hand", "ann asked for it") in events(bench, row)


def test_pause_resume_and_abort(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints)
    order_rollout(world, "m", "pause", principal="ann")
    drive(world, bench, row, {}, lambda found: found.phase == "running")
    for n in range(80):
        serve(bench, 60, {}, seed=n)
        turn(world, bench, row)
    assert rollout_row(row_of(bench, row))["stage"] == 0
    order_rollout(world, "m", "", principal="ann")
    drive(world, bench, row, {}, lambda found: found.status["state"]["stage"] == 1)
    order_rollout(world, "m", "abort", principal="ann")
    found = drive(world, bench, row, {})
    assert found.phase == "rolled_back"
    assert "a person asked for it" in found.status["reason"]
    with pytest.raises(NotFound, match="the last one, of version 2, is rolled_back"):
        order_rollout(world, "m", "pause", principal="ann")


def test_traffic_set_by_hand_ends_it(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints)
    drive(world, bench, row, {}, lambda found: found.phase == "running")
    set_traffic(world, "m", {3: 1.0}, principal="ann")
    found = drive(world, bench, row, {})
    assert (found.phase, found.status["reason"]) == ("stopped", "the traffic was set by somebody else")
    settle(world, bench, live(3))
    assert not get_deployment(world, "m").spec.get("warm")


def test_a_version_that_does_not_start_goes_back(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints)
    apply = endpoints.apply

    def refusing(desired: Any) -> None:
        apply(desired)
        for replica in endpoints.observe("m").replicas:
            if replica.version == "2":
                endpoints.kill("m", replica.id)

    endpoints.apply = refusing
    found = drive(world, bench, row, {}, per_pass=0)
    assert found.phase == "rolled_back"
    assert "does not serve: killed" in found.status["reason"]
    assert weights(bench) == {"1": 1.0}


def test_blue_green_changes_over_once_everybody_is_ready(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, {"blue_green": {}, "keep_warm": 5.0}, ["error_rate > 5%"], replicas=3)
    shares = []

    def look(found: Resource) -> bool:
        shares.append(weights(bench).get("2", 0.0))
        return found.phase in ENDED

    assert drive(world, bench, row, {}, look).phase == "promoted"
    assert set(shares) == {0.0, 1.0}
    assert dict(routed(bench))["2"] == 3


def test_rolling_moves_replica_by_replica(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, {"rolling": {}, "keep_warm": 5.0}, [], replicas=4)
    seen: list[tuple[float, int]] = []

    def look(found: Resource) -> bool:
        now = (round(weights(bench).get("2", 0.0), 2), dict(routed(bench)).get("2", 0))
        if not seen or seen[-1] != now:
            seen.append(now)
        return found.phase in ENDED

    assert drive(world, bench, row, {}, look).phase == "promoted"
    assert [share for share, _ in seen] == sorted(share for share, _ in seen)
    assert {(0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)} <= set(seen)


def test_a_shadow_is_judged_by_its_copies_before_anybody_sees_it(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, {**CANARY, "shadow": 1.0}, ["latency.p95_ms > 50"])
    found = drive(world, bench, row, {"2": Behaviour(total_ms=300.0)})
    assert found.phase == "rolled_back"
    assert found.status["state"]["stage"] == 0
    live_log = bench.store.registry.live_history("m")
    assert all(share[0] == 1 for _, shares in live_log for share in shares)
    row = start_rollout(world, get_deployment(world, "m"), 3, principal="test", cause={"run": "r2"})
    found = drive(world, bench, row, {})
    assert found.phase == "promoted"
    assert [message.partition(":")[0] for kind, message in events(bench, row) if kind == "rollout.stage"] == [
        "shadow 100 %",
        "shadow 100 % → 5 %",
        "5 % → 25 %",
        "25 % → all",
    ]


def test_a_slower_one_is_found_beside_the_champion(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, {**CANARY, "canary": [0.5]}, ["worse_than(champion, latency, margin=20%)"])
    found = drive(world, bench, row, {"2": Behaviour(total_ms=40.0)})
    assert found.phase == "rolled_back"
    assert "times as long as the champion" in found.status["reason"]


@pytest.mark.parametrize(("better", "phase"), [(0.9, "promoted"), (0.2, "rolled_back")])
def test_a_comparison_and_a_bandit_take_the_better_one(served: Any, better: float, phase: str) -> None:
    for strategy in ({"compare": {"share": 0.5}}, {"bandit": {"every": 2.0}}):
        bench, endpoints = served()
        world, row = begin(bench, endpoints, {**strategy, "keep_warm": 0.0, "min_requests": 10}, [])
        found = drive(world, bench, row, {"1": Behaviour(right=0.5), "2": Behaviour(right=better)})
        assert found.phase == phase, found.status["reason"]
        assert weights(bench)["2" if better > 0.5 else "1"] == 1.0


def test_drift_of_the_new_version_sends_it_back(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints, CANARY, ["drift.output.labels"])
    drive(world, bench, row, {}, lambda found: found.phase == "running")
    for _ in range(3):
        bench.clock.sleep(2)
        about = {"limit": 0.1, "version": "2", "count": 500.0}
        bench.store.signals.append([Signal("m", "drift.output.labels", bench.clock.now(), 0.4, **about)])
        bench.store.signals.append([Signal("m", "drift.output.labels", bench.clock.now(), 0.4, limit=0.1, version="1")])
    found = drive(world, bench, row, {}, passes=20)
    assert found.phase == "rolled_back"
    assert "over it in a row" in found.status["reason"]


def test_one_at_a_time_and_the_newest_of_those_that_wait(served: Any) -> None:
    bench, endpoints = served()
    world, row = begin(bench, endpoints)
    drive(world, bench, row, {}, lambda found: found.phase == "running")
    deployment = get_deployment(world, "m")
    second = start_rollout(world, deployment, 3, principal="test", cause={"run": "r2"})
    assert start_rollout(world, deployment, 3, principal="test", cause={"run": "r2"}).id == second.id
    turn(world, bench, second)
    assert "waits for" in row_of(bench, second).status["reason"]
    bench.clock.sleep(1)
    third = start_rollout(world, deployment, 3, principal="test", cause={"run": "r3"})
    for _ in range(3):
        turn(world, bench, second)
    assert (row_of(bench, second).phase, row_of(bench, second).status["reason"]) == ("stopped", "a newer one takes its place")
    order_rollout(world, "m", "abort", principal="ann")
    drive(world, bench, row, {})
    drive(world, bench, third, {}, lambda found: found.phase == "running")
    assert (active_rollout(world, "m") or third).id == third.id


def test_without_a_strategy_there_is_nothing_to_roll_out(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    settle(world, bench, live(1))
    with pytest.raises(BadInput, match="declares no strategy"):
        start_rollout(world, get_deployment(world, "m"), 2, principal="test", cause={})


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(st.integers(1, 30), min_size=5, max_size=20), bad=st.booleans())
def test_crashes_anywhere_come_to_the_same_end(served: Any, crashes: list[int], bad: bool) -> None:
    """A control process that dies at any point around any outside call; another takes over after the lease."""
    bench, endpoints = served()
    _, row = begin(bench, endpoints, {**CANARY, "canary": [0.3], "hold": 5.0})
    behaviour = {"2": Behaviour(failing=0.5)} if bad else {}
    for n, point in enumerate(crashes):
        serve(bench, 100, behaviour, seed=n)
        world = process(bench, endpoints, crash_at=point)
        with contextlib.suppress(Crash):
            for _ in range(4):
                turn(world, bench, row)
        bench.clock.sleep(LEASE_S + 1)
    world = process(bench, endpoints)
    found = drive(world, bench, row, behaviour, passes=200)
    assert found.phase == ("rolled_back" if bad else "promoted")
    settle(world, bench, live(1 if bad else 2))
    settle(world, bench, lambda _: [version for version, _ in routed(bench)] == ["1" if bad else "2"])
    assert route(bench).experiment is None
    assert bench.store.registry.aliases("m") == {"champion": 1 if bad else 2}
    kinds = [kind for kind, _ in events(bench, row)]
    assert kinds.count("rollout.rolled_back" if bad else "rollout.promoted") == 1
    assert kinds.count("rollout.stage") == (1 if bad else 2)
    stop_gateway(bench.home)
