"""A deployment that goes to another place serves where it was until it can serve there; then nothing of it stays behind."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.control.deployments import desired_deployment, phase_of
from penstock.control.leaving import _where
from penstock.control.world import World
from penstock.core.errors import PlatformAway
from penstock.platforms.places import place_of
from penstock.store.resources import Resource
from penstock.testing.deployments import live, process, route, settle, want

THERE = {"kind": "kubernetes", "namespace": "models", "image": "x/penstock:1"}

AWS = {"kind": "sagemaker", "region": "eu-west-1", "role": "arn:aws:iam::111122223333:role/models"}
GOOGLE = {"kind": "vertex", "project": "one", "region": "europe-west4"}
AZURE = {"kind": "azureml", "subscription": "0-1", "resource_group": "models", "workspace": "one"}


@pytest.fixture
def both(served: Any) -> tuple[Any, World, Any, Any]:
    """A bench, a world, and the replicas here and there; version 1 serves here."""
    bench, here = served()
    _, there = served()
    world = process(bench, here)
    world._endpoints["there"] = there
    want(world, 1)
    settle(world, bench, live(1))
    return bench, world, here, there


def move(world: World, version: int, to: str = "there", config: dict[str, Any] | None = None) -> None:
    deploy = {"to": to, "scale": {"min": 1}}
    desired_deployment(world, "m", "m", version, deploy, {"there": config or THERE}, principal="test")


def ids(endpoints: Any) -> set[str]:
    return {replica.id for replica in endpoints.observe("m").replicas}


def at_rest(row: Resource) -> bool:
    return phase_of(row) == "live" and len(row.status["places"]) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_it_serves_all_the_way_and_leaves_nothing(both: Any, version: int) -> None:
    bench, world, here, there = both
    move(world, version)
    seen: list[set[str]] = []

    def watch(row: Resource) -> bool:
        seen.append({replica.id for one in route(bench).versions for replica in one.replicas})
        assert seen[-1] <= ids(here) | ids(there), "only what is there is routed to"
        return at_rest(row)

    settle(world, bench, watch)
    assert all(seen), "there is always one to route to"
    assert seen[-1] <= ids(there)
    assert not ids(here)
    told = [event.type for event in world.store.events.list("deployment", world.store.resources.find("deployment", "m").id)]
    assert told.count("deployment.left") == 1


def test_a_place_that_never_serves_is_left_when_the_wish_goes_back(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, world, here, there = both
    observe = there.observe
    monkeypatch.setattr(there, "observe", lambda name: _starting(observe(name)))
    move(world, 2)
    settle(world, bench, lambda _: bool(observe("m").replicas))
    assert {one.version for one in route(bench).versions} == {"1"}
    want(world, 1)
    settle(world, bench, at_rest)
    monkeypatch.setattr(there, "observe", observe)
    assert not ids(there)
    assert ids(here)


def test_a_place_that_does_not_answer_is_asked_again_and_holds_nothing_up(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, world, here, _ = both
    apply, refused = here.apply, [PlatformAway("503", after_s=0.1)] * 3

    def applied(spec: Any) -> None:
        if not spec.versions and refused:
            raise refused.pop()
        apply(spec)

    monkeypatch.setattr(here, "apply", applied)
    move(world, 2)
    settle(world, bench, live(2))
    settle(world, bench, at_rest)
    assert not refused
    assert not ids(here)


def test_one_that_is_deleted_on_its_way_goes_from_both(both: Any) -> None:
    bench, world, here, there = both
    move(world, 2)
    settle(world, bench, lambda _: bool(ids(there)))
    row = world.store.resources.find("deployment", "m")
    assert row is not None
    world.store.resources.set_spec("deployment", row.id, {**row.spec, "delete": True})
    settle(world, bench, lambda row: row.phase == "deleted")
    assert not ids(here)
    assert not ids(there)


@pytest.mark.parametrize("words", [{"image": "x/penstock:2"}, {"kubeconfig": "/elsewhere/config"}])
def test_other_words_for_the_same_place_are_no_move(both: Any, words: dict[str, str]) -> None:
    """Two kubeconfigs may lead to one cluster, which nobody can tell by their names."""
    bench, world, _, there = both
    move(world, 1)
    settle(world, bench, at_rest)
    before = ids(there)
    world._configs.clear()
    world._endpoints["other"] = there
    deploy = {"to": "other", "scale": {"min": 1}}
    desired_deployment(world, "m", "m", 1, deploy, {"other": {**THERE, **words}}, principal="test")
    settle(world, bench, lambda row: at_rest(row) and row.status["at"]["name"] == "other")
    assert ids(there) == before


def test_an_old_place_that_cannot_be_looked_at_holds_nothing_up(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, world, here, _ = both
    observe, refused = here.observe, [PlatformAway("503", after_s=0.1)] * 3

    def observed(name: str) -> Any:
        row = world.store.resources.find("deployment", "m")
        if refused and row is not None and row.status.get("at", {}).get("name") == "there":
            raise refused.pop()
        return observe(name)

    monkeypatch.setattr(here, "observe", observed)
    move(world, 2)
    settle(world, bench, live(2))
    settle(world, bench, at_rest)
    assert not refused
    assert not ids(here)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"kind": "local"}, {"kind": "local", "workers": 2}, True),
        ({"kind": "local"}, THERE, False),
        (THERE, {**THERE, "image": "x/penstock:2"}, True),
        (THERE, {**THERE, "namespace": "more"}, False),
        (THERE, AWS, False),
        (AWS, {**AWS, "machine": "ml.m5.large", "role": "arn:aws:iam::111122223333:role/other"}, True),
        (AWS, {**AWS, "region": "us-east-1"}, False),
        (AWS, {**AWS, "role": "arn:aws:iam::444455556666:role/models"}, False),
        (GOOGLE, {**GOOGLE, "service_account": "models@one.iam.gserviceaccount.com"}, True),
        (GOOGLE, {**GOOGLE, "project": "two"}, False),
        (AZURE, {**AZURE, "region": "westeurope", "resource_group": "MODELS"}, True),
        (AZURE, {**AZURE, "workspace": "two"}, False),
    ],
)
def test_what_is_the_same_place(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert (place_of(one) == place_of(other)) is same


def _starting(state: Any) -> Any:
    from dataclasses import replace

    return replace(state, replicas=tuple(replace(one, phase="starting", address=None) for one in state.replicas))


def test_who_leaves_everything_looks_in_both_places(both: Any) -> None:
    bench, world, _, there = both
    move(world, 2)
    settle(world, bench, lambda _: bool(ids(there)))
    row = world.store.resources.find("deployment", "m")
    assert row is not None
    assert [place["name"] for place in _where(row)] == ["there", "laptop"]
