"""What people do with deployments, as far as it needs no replica: refusals in plain words, and rows that say what is so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.control.api import while_served
from penstock.control.asking import post
from penstock.control.delivery import delete_deployment, deploy_version, deployment_rows, deployment_story, live_versions
from penstock.control.deployments import desired_deployment
from penstock.control.gateway import ensure_gateway, stop_gateway
from penstock.control.keys import differences
from penstock.control.world import World, open_world, principal
from penstock.core.errors import BadInput, NotFound, PenstockError
from penstock.core.home import Home

DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Version 1 of model `m`, made by a run whose file describes the platform `lab`."""
    for name in ("PENSTOCK_DATABASE", "PENSTOCK_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    made = open_world(Home.find())
    run = made.store.resources.create("run", "m", {"platforms": {"lab": {"kind": "local"}}}, phase="succeeded")
    made.store.registry.register("m", DIGEST, run=run.id, task="text-classification", metrics={}, gates=[], facts={})
    yield made
    made.close()
    made.store.close()


def test_a_platform_that_nobody_described_is_refused(world: World) -> None:
    with pytest.raises(BadInput, match="no platform is called 'mars'"):
        deploy_version("m", "m", "1", replicas=1, platform="mars", force=False)
    assert world.store.resources.list("deployment") == []


@pytest.mark.usefixtures("world")
def test_another_version_keeps_replicas_and_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.delivery.ensure_up", lambda _: {})
    monkeypatch.setattr("penstock.control.delivery.wait_live", lambda w, name, _: w.store.resources.find("deployment", name).spec)
    first = deploy_version("m", "m", "1", replicas=None, platform=None, force=False)
    assert (first["replicas"], first["platform"]["name"]) == (1, "laptop")
    deploy_version("m", "m", "1", replicas=3, platform="lab", force=False)
    again = deploy_version("m", "m", "1", replicas=None, platform=None, force=False)
    assert (again["replicas"], again["platform"]["name"]) == (3, "lab")


def test_what_was_never_deployed_was_never_live(world: World) -> None:
    with pytest.raises(NotFound):
        live_versions("m", "now")
    desired_deployment(world, "m", "m", 1, {}, {}, principal="test")
    assert live_versions("m", "now")["live"] == []


def test_without_gateway_and_control_process_nothing_is_live(world: World) -> None:
    row = desired_deployment(world, "m", "m", 1, {}, {}, principal="test")
    world.store.resources.take("deployment", row.id, "test", 10)
    status = {"generation": row.generation, "url": "http://127.0.0.1:1", "replicas": [{"id": "r", "phase": "ready"}]}
    world.store.resources.save("deployment", row.id, "test", status=status, phase="live", due_at=None)
    for seen in (deployment_rows(world.store, world.home)[0], deployment_story("m")["deployment"]):
        assert (seen["phase"], seen["replicas"], seen["url"]) == ("stopped", [], None)


def test_who_deletes_stands_in_the_audit_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    desired_deployment(world, "m", "m", 1, {}, {}, principal="test")
    monkeypatch.setattr("penstock.control.delivery.ensure_up", lambda _: {})
    delete_deployment("m")
    assert [e.principal for e in world.store.audit.list()][-1] == principal()


def test_what_the_gateway_refuses_is_bad_input_and_silence_is_said(world: World) -> None:
    gateway = ensure_gateway(world.home, "127.0.0.1", 0)
    url = f"http://{gateway['host']}:{gateway['port']}/v1/classify"
    with pytest.raises(BadInput, match="401") as refused:
        post(url, "psk-unknown", {"model": "m", "input": ["x"]})
    assert "penstock keys create" in refused.value.way_out
    stop_gateway(world.home)
    with pytest.raises(PenstockError, match="does not answer") as silent:
        post(url, "psk-unknown", {"model": "m", "input": ["x"]})
    assert "penstock status" in silent.value.way_out


def test_a_run_does_not_wait_for_a_deployment_that_nobody_makes(world: World) -> None:
    run = world.store.resources.create("run", "m", {}, phase="deploying")
    phases: list[str] = []
    with pytest.raises(PenstockError, match=run.id) as ended:
        while_served(lambda row: phases.append(row.phase), world.home)(run)
    assert phases == ["deploying"]
    assert "penstock up" in ended.value.way_out
    while_served(lambda _: None, world.home)(world.store.resources.create("run", "n", {}, phase="running"))


def test_what_an_earlier_gateway_said_is_not_why_this_one_ended(world: World) -> None:
    (world.home.gateway).mkdir(parents=True)
    (world.home.gateway / "log").write_text("127.0.0.1:80 is taken\n")
    with pytest.raises(PenstockError, match="cannot be listened on") as refused:
        ensure_gateway(world.home, "192.0.2.1", 0)
    assert "is taken" not in str(refused.value)


def test_a_changed_argument_of_a_step_is_named_as_in_the_file() -> None:
    old, new = ({"config": {"values": {"count": n}}} for n in (10, 12))
    assert differences(old, new) == ["with.count changed: 10 → 12"]
