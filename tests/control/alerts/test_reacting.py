"""A deployment's monitor does what its file declares: reactions begin while a condition holds, within their guard, once over crashes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control.reactions.reconciler import ReactionReconciler
from penstock.control.world import LEASE_S
from penstock.store.resources import Resource
from penstock.store.signals import Signal
from penstock.testing.alerts import Scene
from penstock.testing.control import Crash

Make = Callable[..., Scene]
RUN = {"when": "error_rate > 5% for 2m", "do": "ask", "name": "look", "cooldown": "1h"}


def reactions(found: Scene) -> list[Resource]:
    return list(reversed(found.bench.store.resources.list("reaction")))


def test_a_condition_that_holds_begins_a_reaction_once(scene: Make) -> None:
    found = scene(react=[RUN])
    found.measure(0.01, 0.09, 0.09)
    assert reactions(found) == []
    found.measure(0.09)
    (row,) = reactions(found)
    assert row.spec["cause"]["says"] == "error_rate is 9 % (limit 5 %), for 2 min 0 s"
    assert row.spec["cause"]["facts"][0]["value"] == 0.09
    assert row.spec["actions"] == ["ask"]
    assert found.alerts() == [], "a reaction is no alert"
    found.measure(*[0.09] * 20)
    assert len(reactions(found)) == 1, "one at a time"


def test_it_acts_again_after_its_rest_while_the_condition_lasts(scene: Make) -> None:
    found = scene(react=[{**RUN, "dry_run": True}])
    found.measure(*[0.09] * 4)
    (row,) = reactions(found)
    assert found.world.store.resources.take("reaction", row.id, found.world.owner, LEASE_S)
    ReactionReconciler().reconcile(row, found.world)
    found.measure(*[0.09] * 55)
    assert len(reactions(found)) == 1
    found.measure(*[0.09] * 8)
    assert len(reactions(found)) == 2


def test_what_holds_on_a_slice_alone_moves_nothing_on_a_version_it_does(scene: Make) -> None:
    found = scene(react=[{**RUN, "when": "error_rate > 5%"}])
    now = found.bench.clock.now() + 30
    found.bench.store.signals.append(
        [Signal("m", "error_rate", now, 0.5, 400.0, slice="key=a"), Signal("m", "error_rate", now, 0.0, 400.0)]
    )
    found.wait(60)
    assert reactions(found) == []
    found.bench.store.signals.append([Signal("m", "error_rate", found.bench.clock.now(), 0.5, 400.0, version="3")])
    found.wait(60)
    (row,) = reactions(found)
    assert row.spec["cause"]["version"] == "3"
    assert "of version 3" in row.spec["cause"]["says"]


def test_an_alert_that_a_reaction_raised_ends_with_its_condition(scene: Make) -> None:
    found = scene(react=[{"when": "error_rate > 5%", "do": "alert", "name": "errors"}])
    found.measure(0.09)
    (row,) = reactions(found)
    assert found.world.store.resources.take("reaction", row.id, found.world.owner, LEASE_S)
    ReactionReconciler().reconcile(row, found.world)
    (alert,) = found.alerts("firing")
    assert alert.status["message"] == "error_rate > 5%: error_rate is 9 % (limit 5 %)"
    found.measure(0.01, 0.01, 0.01)
    assert found.alerts("firing") == []


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_crashes_anywhere_begin_it_once(scene: Make, crashes: list[int]) -> None:
    found = scene(react=[{**RUN, "when": "error_rate > 5%"}])
    for point in crashes:
        found.restart(crash_at=point)
        with contextlib.suppress(Crash):
            found.measure(0.09)
        found.bench.clock.sleep(LEASE_S + 1)
    found.restart()
    found.measure(0.09)
    rows: Any = reactions(found)
    assert len(rows) == 1
    assert [e.type for e in found.bench.store.events.list("reaction", rows[0].id)] == ["reaction.caused"]
