"""`penstock traffic`, as far as it needs no replica: what is asked is understood or refused, and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from penstock.control.deployments import desired_deployment, get_deployment
from penstock.control.movers import experiment_row, start_mover
from penstock.control.traffic import set_traffic
from penstock.control.world import World
from penstock.core.home import Home
from penstock.spec.deploy import Experiment

if TYPE_CHECKING:
    from penstock.store.store import Store


@pytest.fixture
def world(store: Store) -> World:
    for n in (1, 2):
        digest = "sha256:" + str(n) * 64
        store.registry.register("m", digest, run=f"run-{n}", task="text-classification", metrics={}, gates=[], facts={})
    made = World(store, Home.find(), "test")
    desired_deployment(made, "m", "m", 1, {"traffic": {"shadow": {"sample": "10%"}}}, {}, principal="test")
    return made


def test_show_tells_shares_rules_and_the_way_back(call: Any, world: World) -> None:
    set_traffic(world, "m", {1: 90, 2: 10}, principal="test")
    found = call("traffic", "show", "m", "--json").json
    assert [(v["version"], v["share"], v["wanted"], v["requests"]) for v in found["versions"]] == [(1, 0.0, 0.9, 0), (2, 0.0, 0.1, 0)]
    assert found["before"] == [{"version": 1, "share": 1.0}]
    assert found["shadow"] == {"version": "challenger", "sample": 0.1}
    lines = call("traffic", "show", "m").out
    assert "a copy of 10 % goes to version challenger" in lines
    assert "before: version 1 100 %" in lines


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("set", "m", "1=90"), "sum to 90 %"),
        (("set", "m", "1=50", "1=50"), "stands twice"),
        (("set", "m", "1"), "VERSION=PERCENT"),
        (("set", "m", "best=100"), "is not a version"),
        (("shadow", "m"), "--off"),
        (("shadow", "m", "2", "--sample", "110%"), "110%"),
        (("shadow", "m", "2", "--sample", "much"), "not a fraction"),
        (("header", "m", "x-beta", "2"), "HEADER=VALUE"),
        (("header", "m", "x-beta=1"), "--off"),
        (("experiment", "m", "--share", "0"), "share"),
        (("experiment", "m", "--metric", "mood"), "metric"),
        (("experiment", "m", "--challenger", "best"), "is not a version"),
        (("bandit", "m", "1"), "versions"),
        (("bandit", "m", "1", "2", "--explore", "60%"), "explore"),
    ],
)
def test_what_is_no_wish_is_refused_before_anything_starts(call: Any, folder: Any, arguments: tuple[str, ...], told: str) -> None:
    done = call("traffic", *arguments, "--json")
    assert done.code == 2
    assert told in done.error["message"]
    assert not (folder / ".penstock" / "up.json").exists()


def test_what_an_experiment_and_a_shadow_found_is_told_in_lines(call: Any, world: World) -> None:
    row = get_deployment(world, "m")
    spec = experiment_row(world, row, Experiment(challenger=2), principal="test")
    made = start_mover(world, row, "experiment", spec)
    reading = {"verdict": "better", "effect": 0.1, "low": 0.05, "high": 0.2, "metric": "reward"}
    ratio = {"mismatch": True, "observed": 0.7, "p": 1e-9, "expected": 0.5}
    found = {"requests": {"1": 10, "2": 11}, "outcomes": {"1": 9, "2": 8}, "reading": reading, "ratio": ratio, "reason": "done"}
    world.store.resources.take("experiment", made.id, world.owner, 10)
    world.store.resources.save("experiment", made.id, world.owner, status=found, phase="decided", due_at=None)
    lines = call("traffic", "show", "m").out
    assert "experiment by reward: decided (done)" in lines
    assert "version 1: 10 requests, 9 outcomes" in lines
    assert "challenger +0.100 (+0.050 to +0.200): better" in lines
    assert "do not trust the verdict" in lines
    assert call("traffic", "show", "m", "--json").json["mover"]["found"]["reading"]["effect"] == 0.1
