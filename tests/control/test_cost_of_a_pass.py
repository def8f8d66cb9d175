"""What a deployment that nobody touches costs, in statements; and one whose platform does not answer, which holds up no other."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import event

from penstock.control.deployments import DeploymentReconciler
from penstock.control.loop import tick
from penstock.core.errors import PlatformAway
from penstock.store.resources import Resource
from penstock.testing.deployments import live, process, routed, settle, want


def test_a_pass_in_which_nothing_changes_makes_few_statements(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    row = settle(world, bench, lambda row: row.phase == "live") if want(world, 1) else None
    assert row is not None
    world.store.resources.release("deployment", row.id, world.owner, bench.clock.now())
    table, said = {"deployment": DeploymentReconciler()}, Counter[str]()
    for _ in range(3):  # what follows once it is live
        bench.clock.sleep(2.0)
        tick(world, table)

    def count(connection: Any, cursor: Any, statement: str, *_: Any) -> None:  # noqa: ARG001 (as the hook has it)
        said[statement.split()[0]] += 1

    engine = world.store.database.engine
    event.listen(engine, "before_cursor_execute", count)
    try:
        for _ in range(10):
            bench.clock.sleep(2.0)
            assert tick(world, table) == 0.0
    finally:
        event.remove(engine, "before_cursor_execute", count)
    assert said["UPDATE"] <= 30, "it is leased, saved and released"
    assert said["SELECT"] <= 10
    assert said["INSERT"] + said["DELETE"] == 0


def test_a_platform_that_is_away_is_told_once_and_what_serves_goes_on(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1, replicas=2)
    row = settle(world, bench, live(1))
    apply, away = endpoints.apply, [True]

    def throttled(desired: Any) -> None:
        if away[0]:
            raise PlatformAway("CreateEndpoint: there were too many calls", after_s=7.0)
        apply(desired)

    endpoints.apply = throttled
    endpoints.kill("m", endpoints.observe("m").replicas[0].id)
    settle(world, bench, lambda _: routed(bench) == [("1", 1)])
    want(world, 2)
    looks = list[float]()

    def looked(_: Resource) -> bool:
        looks.append(bench.clock.now())
        return len(looks) == 3

    held = settle(world, bench, looked)
    assert "too many calls" in held.status["notes"][-1]
    assert looks[-1] - looks[0] >= 14.0, "not asked again before it may be"
    assert routed(bench) == [("1", 1)]
    events = [one.type for one in world.store.events.list("deployment", row.id)]
    assert events.count("deployment.held") == 1
    away[0] = False
    assert settle(world, bench, live(2)).status["held"] is None


def test_an_endpoint_that_cannot_go_yet_is_asked_again_and_nobody_waits_for_it(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    row = settle(world, bench, live(1))
    delete, asked = endpoints.delete, list[float | None]()

    def busy(name: str, within_s: float | None = None) -> None:
        asked.append(within_s)
        if len(asked) < 3:
            raise PlatformAway("it is still being changed", after_s=5.0)
        delete(name, within_s)

    endpoints.delete = busy
    world.store.resources.set_spec("deployment", row.id, {**row.spec, "delete": True})
    settle(world, bench, lambda row: row.phase == "deleted")
    assert asked == [0.0, 0.0, 0.0]
    assert not endpoints.observe("m").replicas
    assert not [one for one in world.store.events.list("deployment", row.id) if one.type == "reconcile.failed"]
