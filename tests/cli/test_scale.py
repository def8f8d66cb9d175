"""`penstock scale`: what it shows, what it changes and takes back, and a simulation of a small trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.control.deployments import desired_deployment
from penstock.control.world import World
from penstock.core.home import Home

if TYPE_CHECKING:
    from penstock.store.store import Store


@pytest.fixture
def world(store: Store) -> World:
    store.registry.register("m", "sha256:" + "1" * 64, run="run-1", task="text-classification", metrics={}, gates=[], facts={})
    made = World(store, Home.find(), "test")
    deploy = {"scale": {"min": 1, "max": 4, "down_after": "90s", "schedule": [{"start": "00:00", "end": "00:00", "min": 2}]}}
    desired_deployment(made, "m", "m", 1, deploy, {}, principal="test")
    return made


@pytest.mark.usefixtures("world")
def test_show_tells_the_bounds_that_hold_now(call: Any) -> None:
    found = call("scale", "show", "m", "--json").json
    assert (found["min"], found["max"], found["bounds_by"]) == (2, 4, "00:00–00:00 UTC")
    assert (found["load"], found["runs"], found["scale"]["down_after"]) == (None, False, 90.0)
    assert "the gateway does not say" in call("scale", "show", "m").out


def test_set_is_audited_and_undo_goes_back(call: Any, world: World) -> None:
    found = call("scale", "set", "m", "--min", "6", "--down-after", "5m", "--predict", "--json").json
    assert (found["scale"]["min"], found["scale"]["max"], found["scale"]["down_after"], found["scale"]["predict"]) == (6, 6, 300.0, True)
    assert found["before"]["max"] == 4
    assert "min 1 → 6" in found["events"][-1]["message"] or "default → 6" in found["events"][-1]["message"]
    entry = world.store.audit.list()[-1]
    assert (entry.action, entry.subject, entry.detail["scale"]["min"]) == ("deployment.scale", "m", 6)
    row = world.store.resources.find("deployment", "m")
    assert row is not None
    assert row.generation == 2
    back = call("scale", "undo", "m", "--json").json
    assert (back["scale"]["min"], back["scale"]["max"], back["scale"]["predict"]) == (1, 4, False)
    assert call("scale", "undo", "m", "--json").json["scale"]["min"] == 6, "undone twice, it is as it was"


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("set", "m"), "nothing to change"),
        (("set", "m", "--min", "5", "--max", "2"), "scale.max 2 is below scale.min 5"),
        (("set", "m", "--down-after", "soon"), "down_after"),
        (("undo", "m"), "nothing to go back to"),
        (("simulate", "--target-concurrency", "9", "--trace", "small.csv"), "does not fit into 8 slots"),
        (("simulate", "--min", "5", "--max", "2"), "below scale.min"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, folder: Path, arguments: tuple[str, ...], told: str) -> None:
    _small(folder / "small.csv")
    done = call("scale", *arguments, "--json")
    assert done.code == 2
    assert told in done.error["message"]


def test_an_unknown_deployment_is_named(call: Any) -> None:
    assert call("scale", "show", "nobody", "--json").code == 2


def test_simulate_compares_policies_and_draws(call: Any, folder: Path) -> None:
    _small(folder / "small.csv")
    found = call("scale", "simulate", "--trace", "small.csv", "--max", "5", "--plot", "a.svg", "--json").json
    assert found["requests"] == 600
    assert [row["answered"] for row in found["policies"]] == [600] * 5
    assert (folder / "a.svg").read_text().startswith("<svg")
    lines = call("scale", "simulate", "--trace", "small.csv").out
    assert "by load, predicted" in lines
    assert "replica-hours" in lines


def _small(path: Path) -> None:
    rows = [f"2026-11-20 10:{n // 60 % 60:02}:{n % 60:02}.0000000,{100 + n % 700},{n % 300}" for n in range(600)]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
