"""The loop: due rows one by one, and a row that breaks its reconciler does not stop the others."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.control.contract import Again, Done, Outcome
from penstock.control.loop import RETRY_S, tick
from penstock.control.world import World
from penstock.core.errors import DatabaseUnavailable, StepFailed
from penstock.store.resources import Resource
from penstock.testing.control import Bench


class Recording:
    kind = "thing"

    def __init__(self, outcomes: dict[str, Any]) -> None:
        self.outcomes, self.seen = outcomes, list[str]()

    def reconcile(self, resource: Resource, world: World) -> Outcome:  # noqa: ARG002 (the contract's signature)
        self.seen.append(resource.name)
        outcome = self.outcomes[resource.name]
        if isinstance(outcome, Exception):
            raise outcome
        found: Outcome = outcome
        return found


def test_each_due_row_is_acted_on_and_looked_at_again_when_it_said(bench: Bench) -> None:
    world, things = bench.world(), Recording({"once": Done(), "again": Again(10.0)})
    for name in things.outcomes:
        bench.store.resources.create("thing", name, {})
        bench.clock.sleep(0.01)
    assert [tick(world, {"thing": things}) for _ in range(3)][:2] == [0.0, 0.0]
    assert things.seen == ["once", "again"]
    bench.clock.sleep(11)
    tick(world, {"thing": things})
    assert things.seen == ["once", "again", "again"]


@pytest.mark.parametrize("error", [StepFailed("a known one"), KeyError("a bug")])
def test_a_row_that_breaks_is_told_and_tried_later(bench: Bench, error: Exception, capfd: pytest.CaptureFixture[str]) -> None:
    world, things = bench.world(), Recording({"broken": error, "fine": Done()})
    broken = bench.store.resources.create("thing", "broken", {})
    bench.clock.sleep(0.01)
    bench.store.resources.create("thing", "fine", {})
    for _ in range(4):
        tick(world, {"thing": things})
    assert things.seen == ["broken", "fine"]
    assert [e.type for e in bench.store.events.list("thing", broken.id)] == ["reconcile.failed"]
    assert type(error).__name__ in capfd.readouterr().err
    bench.clock.sleep(RETRY_S + 1)
    tick(world, {"thing": things})
    assert things.seen == ["broken", "fine", "broken"]


def test_a_database_that_is_away_is_the_callers_to_wait_for(bench: Bench) -> None:
    bench.store.resources.create("thing", "any", {})
    with pytest.raises(DatabaseUnavailable):
        tick(bench.world(), {"thing": Recording({"any": DatabaseUnavailable("gone")})})
