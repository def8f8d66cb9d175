"""Several versions behind one name, with a real gateway process and replicas in memory: split, header rules, shadow, and the way back."""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control.deployments import get_deployment, phase_of
from penstock.control.gateway import stop_gateway
from penstock.control.split import Part, Wanted, live_of, servable, split_of
from penstock.control.traffic import set_header, set_shadow, set_traffic, undo_traffic
from penstock.control.world import LEASE_S
from penstock.core.errors import BadInput, NotFound
from penstock.serving.snapshot import HeaderRule, Shadow
from penstock.spec.deploy import Shadow as ShadowWish
from penstock.store.resources import Resource
from penstock.testing.control import Crash
from penstock.testing.deployments import DIGESTS, live, process, route, routed, settle, want, weights


def split(world: Any, **shares: float) -> Resource:
    return set_traffic(world, "m", {name.lstrip("v"): share for name, share in shares.items()}, principal="test")


def is_live(row: Resource) -> bool:
    return phase_of(row) == "live"


def test_a_split_waits_until_all_its_versions_are_ready_and_is_audited(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    settle(world, bench, live(1))
    split(world, v1=90, v2=10)
    seen = []
    settle(world, bench, lambda row: seen.append(weights(bench)) or is_live(row))
    assert [w for n, w in enumerate(seen) if n == 0 or w != seen[n - 1]] == [{"1": 1.0}, {"1": 0.9, "2": 0.1}]
    assert bench.store.registry.live_at("m", bench.clock.now()) == [(1, DIGESTS[1], 0.9), (2, DIGESTS[2], 0.1)]
    entry = bench.store.audit.list()[-1]
    assert (entry.action, entry.detail["shares"], entry.detail["before"]) == ("traffic.set", {"1": 0.9, "2": 0.1}, {"1": 1.0})


def test_the_same_wish_again_changes_nothing(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    first = split(world, v1=3, v2=1)
    entries = len(bench.store.audit.list())
    assert set_traffic(world, "m", {1: 0.75, 2: 0.25}, principal="test").generation == first.generation
    assert len(bench.store.audit.list()) == entries


@pytest.mark.parametrize("wrong", [{}, {1: 0}, {1: -1, 2: 2}, {1: math.nan}, {1: math.inf}, {"champion": 0.5, 1: 0.5}])
def test_a_split_that_is_none_is_refused(served: Any, wrong: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    bench.store.registry.set_alias("m", "champion", 1, "test")
    with pytest.raises(BadInput):
        set_traffic(world, "m", wrong, principal="test")
    with pytest.raises(NotFound):
        set_traffic(world, "m", {9: 1.0}, principal="test")


def test_undo_goes_back_and_forth(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    with pytest.raises(BadInput, match="nothing to go back to"):
        undo_traffic(world, "m", principal="test")
    split(world, v1=50, v2=50)
    split(world, v2=100)
    shares = [[(p.version, p.weight) for p in split_of(undo_traffic(world, "m", principal="test").spec)] for _ in range(2)]
    assert shares == [[(1, 0.5), (2, 0.5)], [(2, 1.0)]]


def test_undo_takes_an_experiment_back_as_one_change(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    for share in (0.1, 0.2, 0.3):
        set_traffic(world, "m", {1: 1 - share, 2: share}, principal="bandit", experiment="bandit-1")
    set_traffic(world, "m", {2: 1.0}, principal="bandit")  # as an experiment ends that switches
    back = undo_traffic(world, "m", principal="test")
    assert [(p.version, p.weight) for p in split_of(back.spec)] == [(1, 1.0)]
    assert back.spec["experiment"] is None


def test_header_and_shadow_versions_join_when_ready_and_hold_nothing_up(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    bench.store.registry.set_alias("m", "challenger", 3, "test")
    want(
        world,
        1,
        traffic={"shadow": {"version": "challenger", "sample": "50%"}, "headers": [{"header": "X-Beta", "value": "1", "version": 2}]},
    )
    settle(world, bench, live(1))
    settle(world, bench, lambda _: len(routed(bench)) == 3)
    found = route(bench)
    assert found.headers == (HeaderRule("x-beta", "1", "2"),)
    assert found.shadow == Shadow("3", 0.5)
    assert weights(bench) == {"1": 1.0, "2": 0.0, "3": 0.0}
    bench.store.registry.set_alias("m", "challenger", 2, "test")  # aliases are followed
    settle(world, bench, lambda _: route(bench).shadow == Shadow("2", 0.5))
    set_header(world, "m", "x-beta", "1", None, principal="test")
    set_shadow(world, "m", None, principal="test")
    settle(world, bench, lambda _: routed(bench) == [("1", 1)])
    settle(world, bench, lambda _: {r.version for r in endpoints.observe("m").replicas} == {"1"})
    with pytest.raises(NotFound, match="no rule for x-beta=1"):
        set_header(world, "m", "x-beta", "1", None, principal="test")


def test_a_challenger_that_is_not_there_is_told_and_the_champion_serves(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1, traffic={"shadow": {}})
    row = settle(world, bench, live(1))
    assert "no alias 'challenger'" in row.status["notes"][0]
    with pytest.raises(NotFound):
        set_shadow(world, "m", ShadowWish(version="previous"), principal="test")


def test_a_version_whose_replicas_died_hands_its_share_on_until_they_are_back(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    split(world, v1=50, v2=50)
    settle(world, bench, is_live)
    victim = next(r.id for r in endpoints.observe("m").replicas if r.version == "2")
    endpoints.kill("m", victim)
    settle(world, bench, lambda _: weights(bench) == {"1": 1.0, "2": 0.0})
    settle(world, bench, lambda _: weights(bench) == {"1": 0.5, "2": 0.5})
    assert len(bench.store.registry.live_history("m")) <= 2, "a death is no change of the split"


def test_rows_from_before_splits_are_read(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    row = want(world, 1)
    old = {k: v for k, v in row.spec.items() if k not in ("versions", "experiment")}
    world.store.resources.set_spec("deployment", row.id, {**old, "version": 1, "bundle": DIGESTS[1]})
    row = settle(world, bench, live(1))
    assert live_of({"live": {"version": 1, "bundle": DIGESTS[1], "replicas": 1}}) == live_of(row.status)
    split(world, v1=50, v2=50)
    assert "version" not in get_deployment(world, "m").spec
    settle(world, bench, is_live)
    assert weights(bench) == {"1": 0.5, "2": 0.5}


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_from_a_crash_at_any_point_the_wanted_split_is_reached(served: Any, crashes: list[int]) -> None:
    bench, endpoints = served()
    want(process(bench, endpoints), 1)
    splits = [{1: 0.9, 2: 0.1}, {2: 0.5, 3: 0.5}, {1: 0.2, 3: 0.8}]
    for shares, point in zip(splits, crashes, strict=False):
        with contextlib.suppress(Crash):
            settle(process(bench, endpoints, crash_at=point), bench, is_live)
        bench.clock.sleep(LEASE_S + 1)
        set_traffic(process(bench, endpoints), "m", shares, principal="test")
        bench.clock.sleep(LEASE_S + 1)
        last = {str(version): share for version, share in shares.items()}
    settle(process(bench, endpoints), bench, is_live)
    assert weights(bench) == last
    history = [live for _, live in bench.store.registry.live_history("m")]
    assert all(one != other for one, other in itertools.pairwise(history)), "each change is written once"
    stop_gateway(bench.home)


SHARES = st.dictionaries(st.integers(1, 6), st.floats(0.01, 1.0), min_size=1)


@given(
    shares=SHARES, ready=st.dictionaries(st.integers(1, 6), st.integers(0, 2)), rules=st.lists(st.integers(1, 6)), shadow=st.integers(1, 6)
)
def test_nobody_is_routed_to_what_is_not_ready(shares: dict[int, float], ready: dict[int, int], rules: list[int], shadow: int) -> None:
    total = sum(shares.values())
    parts = {n: Part(n, "d", share / total) for n, share in shares.items()}
    parts |= {n: Part(n, "d", 0.0) for n in (*rules, shadow) if n not in parts}
    wanted = Wanted(tuple(parts.values()), tuple(HeaderRule("x", str(n), str(n)) for n in rules), Shadow(str(shadow), 1.0))
    found = servable(wanted, ready)
    assert sum(part.weight for part in found.parts) == pytest.approx(1.0)
    if any(ready.get(n) for n in shares):
        assert all(ready.get(part.version) for part in found.parts if part.weight > 0)
    assert all(ready.get(int(rule.version)) for rule in found.headers)
    assert found.shadow is None or ready.get(shadow)
