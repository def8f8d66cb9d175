"""Adapters of a deployment with a real gateway process and replicas in memory: loaded before they are routed to, let go after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control.deployments import desired_deployment, phase_of
from penstock.control.gateway import stop_gateway
from penstock.control.show import deployment_row
from penstock.control.traffic import set_traffic
from penstock.control.world import LEASE_S, World
from penstock.store.resources import Resource
from penstock.testing.control import Bench, Crash
from penstock.testing.deployments import DIGESTS, live, process, route, settle
from penstock.testing.platforms import MemoryEndpoints

NAMES = ("a", "b", "c")


def adapter(n: int) -> str:
    return "sha256:" + f"{n:x}" * 64


def want(world: World, adapters: Mapping[str, int] | None, version: int = 1, replicas: int = 2) -> Resource:
    """Deployment `m` at `version` with adapters by number; None says nothing of them."""
    rows = {name: {"digest": adapter(n), "from": name, "base": None} for name, n in (adapters or {}).items()}
    given = None if adapters is None else {DIGESTS[version]: rows}
    return desired_deployment(world, "m", "m", version, {"scale": {"min": replicas}}, {}, principal="test", adapters=given)


def loaded(endpoints: MemoryEndpoints, version: int = 1) -> list[dict[str, str]]:
    return [dict(r.adapters) for r in endpoints.observe("m").replicas if r.version == str(version) and r.phase == "ready"]


def names(bench: Bench, version: int = 1) -> list[str]:
    return [name for v in route(bench).versions if v.version == str(version) for name in v.adapters]


def watched(bench: Bench, endpoints: MemoryEndpoints, until: Callable[[Resource], bool]) -> Callable[[Resource], bool]:
    """`until`, and after every pass: each replica that the snapshot names has what it may be asked for."""

    def look(row: Resource) -> bool:
        held = {r.id: r.adapters for r in endpoints.observe("m").replicas if r.phase == "ready"}
        asked = [(r.id, name) for v in route(bench).versions for r in v.replicas if r.id in held for name in v.adapters]
        assert all(name in held[ident] for ident, name in asked), (asked, held)
        return until(row)

    return look


def test_they_come_and_go_on_the_same_replicas(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, {"a": 1})
    settle(world, bench, live(1))
    ids = [r.id for r in endpoints.observe("m").replicas]
    assert names(bench) == ["a"]
    for wanted in ({"a": 1, "b": 2}, {"a": 3, "b": 2}, {"b": 2}, {}):
        want(world, wanted)
        expected = {name: adapter(n) for name, n in wanted.items()}
        settle(world, bench, watched(bench, endpoints, lambda row, e=expected: live(1)(row) and loaded(endpoints) == [e, e]))
        assert names(bench) == sorted(wanted)
        assert [r.id for r in endpoints.observe("m").replicas] == ids
    told = [e.message for e in world.store.events.list("deployment", world.store.resources.list("deployment")[0].id)]
    assert [message for message in told if message.startswith("adapters of")][-1] == "adapters of m:1: none"


def test_one_that_cannot_be_loaded_leaves_everything_as_it_was(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, {"a": 1, "b": 2})
    settle(world, bench, live(1))
    endpoints.unloadable.add(adapter(3))
    want(world, {"a": 3, "c": 3})
    row = settle(world, bench, lambda r: phase_of(r) == "failed")
    assert row.status["error"] == "adapter 'a' could not be loaded: it does not fit"
    assert names(bench) == ["a", "b"]
    assert all(held["a"] == adapter(1) and held["b"] == adapter(2) for held in loaded(endpoints))
    assert [(one["name"], one["live"]) for one in deployment_row(row)["adapters"]] == [("a", False), ("c", False)]
    want(world, {"b": 2})
    settle(world, bench, live(1))
    assert names(bench) == ["b"]


def test_each_version_has_its_own_and_finds_them_again(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, {"a": 1})
    settle(world, bench, live(1))
    want(world, {"a": 2, "b": 2}, version=2)
    settle(world, bench, live(2))
    assert (names(bench, 1), names(bench, 2)) == ([], ["a", "b"])
    set_traffic(world, "m", {1: 0.5, 2: 0.5}, principal="test")
    settle(world, bench, lambda row: live(1)(row) and len(route(bench).versions) == 2)
    assert (names(bench, 1), names(bench, 2)) == (["a"], ["a", "b"])
    assert [held["a"] for held in (*loaded(endpoints, 1), *loaded(endpoints, 2))] == [adapter(1)] * 2 + [adapter(2)] * 2
    want(world, None, version=3)
    settle(world, bench, live(3))
    assert names(bench, 3) == []
    want(world, None, version=1)
    settle(world, bench, live(1))
    assert names(bench, 1) == ["a"]


def test_a_replica_that_is_replaced_has_them_before_it_is_routed_to(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, {"a": 1})
    settle(world, bench, live(1))
    victim = endpoints.observe("m").replicas[0].id
    endpoints.kill("m", victim)
    settle(world, bench, watched(bench, endpoints, lambda _: victim not in {r.id for r in endpoints.observe("m").replicas}))
    back = watched(bench, endpoints, lambda r: phase_of(r) == "live" and len(route(bench).versions[0].replicas) == 2)
    row = settle(world, bench, back)
    assert names(bench) == ["a"]
    assert row.status["error"] is None


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wishes=st.lists(st.dictionaries(st.sampled_from(NAMES), st.integers(1, 4), max_size=3), min_size=1, max_size=3),
    crashes=st.lists(st.integers(1, 25), min_size=3, max_size=3),
)
def test_from_a_crash_at_any_point_the_wanted_adapters_are_served(served: Any, wishes: list[dict[str, int]], crashes: list[int]) -> None:
    """One adapter is in every wish: once it is live it is routed to and loaded whatever happens."""
    bench, endpoints = served()
    want(process(bench, endpoints), {"kept": 9})
    settle(process(bench, endpoints), bench, live(1))
    bench.clock.sleep(LEASE_S + 1)
    ids = [r.id for r in endpoints.observe("m").replicas]

    def kept() -> bool:
        return "kept" in names(bench) and all(held["kept"] == adapter(9) for held in loaded(endpoints))

    for wish, point in zip(wishes, crashes, strict=False):
        want(process(bench, endpoints), {**wish, "kept": 9})
        with contextlib.suppress(Crash):
            settle(process(bench, endpoints, crash_at=point), bench, lambda row: not kept() or row.phase == "live")
        assert kept()
        bench.clock.sleep(LEASE_S + 1)
    world, expected = process(bench, endpoints), {name: adapter(n) for name, n in {**wishes[-1], "kept": 9}.items()}
    settle(world, bench, lambda row: live(1)(row) and loaded(endpoints) == [expected] * 2)
    assert names(bench) == sorted(expected)
    assert [r.id for r in endpoints.observe("m").replicas] == ids
    stop_gateway(bench.home)
