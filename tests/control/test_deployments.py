"""Deployments with a real gateway process and replicas in memory: switched when ready and acknowledged, from any crash."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control.deployments import get_deployment, patience_s, phase_of
from penstock.control.gateway import acknowledged, publish, stop_gateway
from penstock.control.world import LEASE_S
from penstock.core.errors import NotFound
from penstock.platforms.contract import EndpointState
from penstock.serving.snapshot import read_snapshot
from penstock.store.resources import Resource
from penstock.testing.control import Crash
from penstock.testing.deployments import DIGESTS, live, process, routed, settle, want


def test_a_version_goes_live_and_the_gateway_has_said_so(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1, replicas=2)
    settle(world, bench, live(1))
    assert routed(bench) == [("1", 2)]
    assert acknowledged(bench.home, read_snapshot(bench.home.gateway / "snapshot.json").version)
    assert bench.store.registry.live_at("m", bench.clock.now()) == [(1, DIGESTS[1], 1.0)]


def test_the_old_version_serves_until_the_new_one_is_switched_to(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    settle(world, bench, live(1))
    want(world, 2)
    seen: list[list[tuple[str, int]]] = []

    def watch(row: Resource) -> bool:
        seen.append(routed(bench))
        return live(2)(row)

    settle(world, bench, watch)
    assert all(len(routes) == 1 and routes[0][1] >= 1 for routes in seen), seen
    versions = [routes[0][0] for routes in seen]
    assert versions == sorted(versions)
    settle(world, bench, lambda _: {r.version for r in endpoints.observe("m").replicas if r.phase == "ready"} == {"2"})


def test_a_killed_replica_is_replaced_and_the_route_follows(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1, replicas=2)
    settle(world, bench, live(1))
    victim = endpoints.observe("m").replicas[0].id
    endpoints.kill("m", victim)
    settle(world, bench, lambda _: routed(bench) == [("1", 1)])
    settle(world, bench, lambda _: routed(bench) == [("1", 2)])
    assert victim not in {r.id for r in endpoints.observe("m").replicas}


def test_a_version_that_does_not_start_fails_and_the_old_one_stays(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    settle(world, bench, live(1))
    apply = endpoints.apply

    def refusing(desired: Any) -> None:
        apply(desired)
        for row in endpoints.observe("m").replicas:
            if row.version == "2":
                endpoints.kill("m", row.id)

    endpoints.apply = refusing
    want(world, 2)
    row = settle(world, bench, lambda r: phase_of(r) == "failed")
    assert row.status["error"] == "killed"
    assert routed(bench) == [("1", 1)]
    endpoints.apply = apply
    want(world, 3)
    settle(world, bench, live(3))


def test_a_version_may_be_on_its_way_for_as_long_as_its_platform_needs(served: Any) -> None:
    bench, endpoints = served()
    world, observe = process(bench, endpoints), endpoints.observe

    def slow(name: str) -> EndpointState:
        coming = tuple(replace(row, phase="starting", address=None) for row in observe(name).replicas)
        return EndpointState(name, coming, ready_s=1800.0)

    endpoints.observe = slow
    assert patience_s(want(world, 1)) < 1800
    settle(world, bench, lambda r: "ready_s" in r.status)
    bench.clock.sleep(1700.0)
    row = settle(world, bench, lambda r: phase_of(r) == "starting")
    assert 1800 < patience_s(row) < 1900
    bench.clock.sleep(200.0)
    row = settle(world, bench, lambda r: phase_of(r) == "failed", passes=1)
    assert row.status["error"] == "not ready 1800 s after it was asked for"
    endpoints.observe = observe
    settle(world, bench, live(1))


def test_deleting_takes_the_route_first(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    row = want(world, 1)
    settle(world, bench, live(1))
    world.store.resources.set_spec("deployment", row.id, {**row.spec, "delete": True})
    settle(world, bench, lambda r: r.phase == "deleted")
    assert routed(bench) == []
    assert endpoints.observe("m").replicas == ()
    assert bench.store.registry.live_at("m", bench.clock.now() + 1) == []


def test_a_deleted_name_can_be_used_again(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    row = want(world, 1)
    settle(world, bench, live(1))
    world.store.resources.set_spec("deployment", row.id, {**row.spec, "delete": True})
    settle(world, bench, lambda r: r.phase == "deleted")
    with pytest.raises(NotFound):
        get_deployment(world, "m")
    want(world, 2)
    assert phase_of(get_deployment(world, "m")) == "pending"
    settle(world, bench, live(2))
    assert routed(bench) == [("2", 1)]


def test_an_unknown_version_is_refused(served: Any) -> None:
    bench, endpoints = served()
    with pytest.raises(NotFound):
        want(process(bench, endpoints), 9)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(st.integers(1, 25), min_size=1, max_size=3))
def test_from_a_crash_at_any_point_the_wanted_version_serves(served: Any, crashes: list[int]) -> None:
    bench, endpoints = served()
    want(process(bench, endpoints), 1)
    for version, point in zip((2, 3, 1), crashes, strict=False):
        with contextlib.suppress(Crash):
            settle(process(bench, endpoints, crash_at=point), bench, lambda r: r.phase == "live")
        bench.clock.sleep(LEASE_S + 1)
        want(process(bench, endpoints), version)
        bench.clock.sleep(LEASE_S + 1)
        last = version
    world = process(bench, endpoints)
    settle(world, bench, live(last))
    assert [version for version, _ in routed(bench)] == [str(last)]
    stop_gateway(bench.home)


def test_publishing_the_same_writes_nothing_and_survives_a_torn_file(served: Any) -> None:
    bench, _ = served()
    first = publish(bench.store, bench.home)
    assert publish(bench.store, bench.home) == first
    bench.store.keys.create("one")
    second = publish(bench.store, bench.home)
    assert second == first + 1
    deadline = time.monotonic() + 5
    while not acknowledged(bench.home, second) and time.monotonic() < deadline:
        time.sleep(0.02)
    (bench.home.gateway / "snapshot.json").write_text(json.dumps({"version": 1})[:-4])
    assert publish(bench.store, bench.home) == second + 1
    assert len(read_snapshot(bench.home.gateway / "snapshot.json").keys) == 1
