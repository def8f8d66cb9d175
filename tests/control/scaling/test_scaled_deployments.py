"""A deployment whose replicas follow its load: a real gateway process, replicas in memory, the load file written by the test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from penstock.control.contract import Again
from penstock.control.deployments import DeploymentReconciler, desired_deployment, phase_of
from penstock.control.gateway import acknowledged, ensure_gateway, gateway_state, stop_gateway
from penstock.control.scaling import history
from penstock.control.scaling.forecast import DAY_SLOTS, slot_of
from penstock.control.scaling.live import shares, wake_held
from penstock.control.split import live_of
from penstock.control.traffic import set_traffic
from penstock.control.world import LEASE_S, World
from penstock.serving.load import ModelLoad, write_load
from penstock.serving.snapshot import read_snapshot
from penstock.store.points import Point
from penstock.store.resources import Resource
from penstock.testing.control import Bench, Crash
from penstock.testing.platforms import MemoryEndpoints
from penstock.testing.serving import wait_for

SCALE = {"min": 1, "max": 5, "target_concurrency": 8, "down_after": 20, "idle": 40}
TRIED = (Phase.explicit, Phase.reuse, Phase.generate)  # an example runs for seconds: shrinking one would take many minutes
DIGESTS = ["sha256:" + str(n) * 64 for n in range(3)]


class Watched(MemoryEndpoints):
    """Remembers what was routed to whenever a replica was sent away: a route to one that drains would lose requests."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench, self.misrouted = bench, list[str]()

    def apply(self, desired: Any) -> None:
        before = {r.id for r in self.observe(desired.name).replicas if r.phase == "ready"}
        super().apply(desired)
        gone = before - {r.id for r in self.observe(desired.name).replicas if r.phase == "ready"}
        with contextlib.suppress(FileNotFoundError):
            snapshot = read_snapshot(self.bench.home.gateway / "snapshot.json")
            routed = {r.id for m in snapshot.models for v in m.versions for r in v.replicas}
            self.misrouted += sorted(gone & routed)


class Served:
    """One bench with versions 1 and 2 of model `m`, a gateway, and replicas in memory."""

    def __init__(self, bench: Bench, scale: dict[str, Any] | None = None) -> None:
        self.bench, self.endpoints = bench, Watched(bench)
        for n in (1, 2):
            bench.store.registry.register("m", DIGESTS[n], run=f"run-{n}", task="text-classification", metrics={}, gates=[], facts={})
        ensure_gateway(bench.home, "127.0.0.1", 0)
        self.load: ModelLoad | None = ModelLoad()
        self.world = self.process()
        desired_deployment(self.world, "m", "m", 1, {"scale": scale or SCALE}, {}, principal="test")

    def process(self, crash_at: int = 0) -> World:
        world = self.bench.world(crash_at=crash_at)
        world._endpoints["laptop"] = self.endpoints
        return world

    @property
    def row(self) -> Resource:
        found = self.bench.store.resources.find("deployment", "m")
        assert found is not None
        return found

    @property
    def ready(self) -> int:
        return sum(r.phase == "ready" for r in self.endpoints.observe("m").replicas)

    @property
    def routed(self) -> dict[str, int]:
        snapshot = read_snapshot(self.bench.home.gateway / "snapshot.json")
        return {v.version: len(v.replicas) for m in snapshot.models for v in m.versions}

    def step(self, world: World | None = None) -> None:
        """One pass, and the time until the next one."""
        world = world or self.world
        if self.load is not None:
            write_load(self.bench.home.gateway, 99, {"m": self.load})
        row = self.row
        assert world.store.resources.take("deployment", row.id, world.owner, LEASE_S)
        outcome = DeploymentReconciler().reconcile(row, world)
        self.bench.clock.sleep(outcome.after_s if isinstance(outcome, Again) else 0.1)
        if self.row.phase == "switching" and gateway_state(self.bench.home.gateway) is not None:
            number = read_snapshot(self.bench.home.gateway / "snapshot.json").version
            wait_for(lambda: acknowledged(self.bench.home, number), 60, "the gateway's word")

    def for_seconds(self, seconds: float, world: World | None = None) -> None:
        end = self.bench.clock.now() + seconds
        while self.bench.clock.now() < end:
            self.step(world)

    def asked(self, at_once: int, **more: int) -> None:
        self.load = ModelLoad(in_flight=at_once, last_request=self.bench.clock.now(), **more)

    def scalings(self) -> list[tuple[int, int]]:
        found = self.bench.store.events.list("deployment", self.row.id)
        return [(e.data["from"], e.data["to"]) for e in found if e.type == "deployment.scaled" and e.data]


@pytest.fixture
def serve(new_bench: Callable[[], Bench]) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def make(scale: dict[str, Any] | None = None) -> Served:
        made.append(Served(new_bench(), scale))
        return made[-1]

    yield make
    for one in made:
        stop_gateway(one.bench.home)


def test_load_brings_replicas_and_quiet_takes_them_without_a_route_to_one_that_drains(serve: Callable[..., Served]) -> None:
    served = serve()
    served.for_seconds(5)
    assert (served.ready, served.row.phase) == (1, "live")
    served.asked(30)
    served.for_seconds(25)
    assert (served.ready, served.routed) == (4, {"1": 4})
    served.load = ModelLoad()
    served.for_seconds(60)
    assert (served.ready, served.routed, served.row.phase) == (1, {"1": 1}, "live")
    assert served.endpoints.misrouted == []
    events = [e for e in served.bench.store.events.list("deployment", served.row.id) if e.type == "deployment.scaled"]
    assert "requests at once" in events[0].message
    assert served.scalings()[-1][1] == 1


def test_zero_is_live_and_keeps_its_route_and_a_held_request_brings_one(serve: Callable[..., Served]) -> None:
    served = serve({**SCALE, "min": 0, "max": 3})
    served.for_seconds(5)
    assert (served.ready, phase_of(served.row)) == (1, "live"), "the bundle was loaded once before anybody relies on it"
    served.for_seconds(60)
    assert (served.ready, phase_of(served.row), served.routed) == (0, "live", {"1": 0})
    model = read_snapshot(served.bench.home.gateway / "snapshot.json").models[0]
    assert model.protection.hold_s == 60.0
    assert not wake_held(served.world)
    served.asked(0, held=2)
    write_load(served.bench.home.gateway, 99, {"m": served.load or ModelLoad()})
    assert wake_held(served.world)
    served.for_seconds(2)
    assert served.routed == {"1": 1}
    assert served.endpoints.misrouted == []


def test_a_new_version_over_zero_is_tried_before_it_is_switched_to(serve: Callable[..., Served]) -> None:
    served = serve({**SCALE, "min": 0, "idle": 10, "max": 3})
    served.for_seconds(40)
    assert served.ready == 0
    desired_deployment(served.world, "m", "m", 2, {"scale": {**SCALE, "min": 0, "idle": 10}}, {}, principal="test")
    seen = set()
    for _ in range(12):
        served.step()
        seen.update((r.version, r.phase) for r in served.endpoints.observe("m").replicas)
    assert ("2", "ready") in seen
    served.for_seconds(30)
    assert (served.routed, served.ready) == ({"2": 0}, 0)


def test_two_versions_share_the_replicas_by_their_weights(serve: Callable[..., Served]) -> None:
    served = serve({**SCALE, "max": 10})
    served.for_seconds(3)
    set_traffic(served.world, "m", {1: 0.8, 2: 0.2}, principal="test")
    served.asked(38)
    served.for_seconds(30)
    assert served.routed == {"1": 4, "2": 1}
    assert shares(5, {1: 0.9, 2: 0.1, 3: 0.0}) == {1: 5, 2: 1, 3: 0}
    assert shares(0, {1: 0.9, 2: 0.1}) == {1: 0, 2: 0}


def test_without_word_of_the_gateway_the_number_stays(serve: Callable[..., Served]) -> None:
    served = serve()
    served.asked(30)
    served.for_seconds(30)
    assert served.row.status["scaling"]["wanted"] == 4
    stop_gateway(served.bench.home)
    for file in (served.bench.home.gateway / "load").glob("*.json"):
        file.unlink()
    served.load = None
    served.for_seconds(10)
    assert served.row.status["scaling"]["wanted"] == 4
    assert "does not say" in served.row.status["scaling"]["reason"]


def test_the_last_days_bring_replicas_before_the_load(serve: Callable[..., Served]) -> None:
    served = serve({**SCALE, "predict": True})
    slot, now = slot_of(served.bench.clock.now()), served.bench.clock.now()
    rows = [
        Point(served.row.id, history.STEP, history.NAME, slot + ahead - age * DAY_SLOTS, 22.0, now) for age in (1, 2) for ahead in (0, 1)
    ]
    served.bench.store.points.append(rows)
    served.for_seconds(5)
    assert served.ready == 3
    assert served.row.status["scaling"]["reason"] == "what this time of day needed on the last days"


def test_fixed_replicas_are_left_alone(serve: Callable[..., Served]) -> None:
    served = serve({"min": 2})
    served.asked(500)
    served.for_seconds(5)
    assert (served.ready, served.scalings()) == (2, [])


@settings(max_examples=6, phases=TRIED, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(points=[15, 6, 12, 1], loads=[12, 0, 39, 0])  # published more routes, died before the row said so, then load was gone
@given(points=st.lists(st.integers(1, 30), min_size=1, max_size=4), loads=st.lists(st.sampled_from([0, 12, 39]), min_size=4, max_size=4))
def test_killed_anywhere_the_number_still_follows_and_nothing_is_misrouted(
    serve: Callable[..., Served], points: list[int], loads: list[int]
) -> None:
    served = serve({**SCALE, "min": 0})
    served.for_seconds(3)
    for point, at_once in zip(points, loads, strict=False):
        served.bench.clock.sleep(LEASE_S + 1)
        served.asked(at_once)
        with contextlib.suppress(Crash):
            served.for_seconds(6, served.process(crash_at=point))
        served.bench.clock.sleep(LEASE_S + 1)
        served.world = served.process()
    served.asked(30)
    served.for_seconds(25)
    assert served.routed == {"1": 4}
    served.load = ModelLoad(last_request=served.bench.clock.now())
    served.for_seconds(70)
    assert (served.routed, served.ready) == ({"1": 0}, 0)
    assert [part.replicas for part in live_of(served.row.status)] == [0]
    assert served.endpoints.misrouted == []
    stop_gateway(served.bench.home)
