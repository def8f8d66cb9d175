"""The whole way with processes: control, gateway, echo replicas of three versions, clients that ask and rate. No request may fail."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.control.daemon import Address, control_state, down, ensure_up
from penstock.control.deployments import desired_deployment, get_deployment, phase_of
from penstock.control.gateway import acknowledged, gateway_url, publish
from penstock.control.movers import bandit_row, experiment_row, start_mover
from penstock.control.shadows import compare_shadow
from penstock.control.split import live_of
from penstock.control.traffic import set_header, set_shadow, set_traffic
from penstock.control.world import World, open_world
from penstock.core.home import Home
from penstock.serving.record_files import read_records
from penstock.spec.deploy import Bandit, Experiment, Shadow
from penstock.testing.serving import wait_for
from penstock.testing.versioned import VERSIONED

pytestmark = [pytest.mark.load, pytest.mark.timeout(240)]
GOOD = {"1": 0.3, "2": 0.85, "3": 0.3}  # share of thumbs up by version
HUNG_S = 600.0


@dataclass(slots=True)
class Clients:
    """Ask one after the other, each time as somebody else, and rate what they got; in a thread of their own."""

    url: str
    secret: str
    beta: bool = False
    answers: list[tuple[float, str | None, float, int]] = field(default_factory=list)  # (when, version, seconds, status)
    stopping: bool = False

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        async with httpx.AsyncClient(base_url=self.url, headers={"authorization": f"Bearer {self.secret}"}, timeout=20) as client:
            await asyncio.gather(*(self._one(client, random.Random(n)) for n in range(6)))

    async def _one(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        while not self.stopping:
            headers = {"x-penstock-session": str(chance.random())} | ({"x-beta": "1"} if self.beta and chance.random() < 0.3 else {})
            began = time.monotonic()
            body = {"model": "m", "prompt": "one two", "max_tokens": 2}
            answer = await client.post("/v1/completions", json=body, headers=headers)
            version = answer.headers.get("x-penstock-version")
            self.answers.append(
                (time.time(), version if "x-beta" not in headers else f"beta {version}", time.monotonic() - began, answer.status_code)
            )
            if answer.status_code == 200:
                thumbs = "up" if chance.random() < GOOD[str(version)] else "down"
                said = await client.post("/v1/feedback", json={"id": answer.headers["x-request-id"], "thumbs": thumbs})
                self.answers.append((time.time(), None, 0.0, said.status_code))
            await asyncio.sleep(0.02)

    def since(self, at: float) -> list[tuple[float, str | None, float, int]]:
        return [one for one in self.answers if one[0] >= at]

    def shares(self, at: float) -> dict[str, float]:
        found = [version for _, version, _, _ in self.since(at) if version is not None]
        return {version: found.count(version) / len(found) for version in set(found)}


@dataclass(frozen=True, slots=True)
class System:
    home: Home
    world: World
    clients: Clients

    def settle(self) -> None:
        wait_for(lambda: phase_of(get_deployment(self.world, "m")) == "live", 60, "a live deployment")

    def watch(self, seconds: float = 1.5) -> float:
        """Lets the clients ask; returns since when."""
        at = time.time()
        time.sleep(seconds)
        return at


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("traffic")
    home = Home.find(folder, {})
    world = open_world(home)
    for number, settings in enumerate(({}, {}, {"step_s": HUNG_S}), 1):
        _register(world, folder / f"made-{number}", {**settings, "number": number})
    world.store.registry.set_alias("m", "champion", 1, "test")
    _, secret = world.store.keys.create("test")
    try:
        ensure_up(home, Address(port=0))
        platforms = {"here": {"kind": "local", "replica": {"engine_class": VERSIONED}, "drain_s": 2}}
        desired_deployment(world, "m", "m", 1, {"to": "here"}, platforms, principal="test")
        wait_for(lambda: phase_of(get_deployment(world, "m")) == "live", 60, "a live deployment")
        wait_for(lambda: acknowledged(home, publish(world.store, home)), 10, "the key's way to the gateway")
        url = gateway_url(home)
        assert url is not None
        clients = Clients(url, secret)
        thread = threading.Thread(target=clients.run)
        thread.start()
        yield System(home, world, clients)
        clients.stopping = True
        thread.join(30)
        failed = [one for one in clients.answers if one[3] != 200]
        assert not failed, f"{len(failed)} of {len(clients.answers)} failed, such as {failed[:3]}"
        assert len(clients.answers) > 500
    finally:
        down(home)
        world.close()
        world.store.close()


def _register(world: World, folder: Path, settings: dict[str, Any]) -> None:
    folder.mkdir()
    (folder / "engine.json").write_text(json.dumps(settings))
    digest = world.store.artifacts.commit(folder, "bundle", {}).digest
    world.store.registry.register("m", digest, run="run-1", task="text-generation", metrics={}, gates=[], facts={})


def test_a_header_leads_to_its_version_and_nobody_else_goes_there(system: System) -> None:
    set_header(system.world, "m", "x-beta", "1", 2, principal="test")
    wait_for(lambda: 2 in {p.version for p in live_of(get_deployment(system.world, "m").status)}, 60, "version 2 beside")
    system.clients.beta = True
    time.sleep(0.3)
    found = system.clients.shares(system.watch())
    assert set(found) == {"1", "beta 2"}
    system.clients.beta = False


def test_a_shadow_that_hangs_neither_delays_nor_fails_anybody(system: System) -> None:
    before = sorted(s for _, v, s, _ in system.clients.since(system.watch()) if v is not None)
    set_shadow(system.world, "m", Shadow(version=3), principal="test")
    wait_for(lambda: get_deployment(system.world, "m").status.get("shadow") == "3", 60, "the wish for a shadow")
    wait_for(lambda: 3 in {p.version for p in live_of(get_deployment(system.world, "m").status)}, 60, "the shadow")
    during = sorted(s for _, v, s, _ in system.clients.since(system.watch(3.0)) if v is not None)
    assert during[len(during) // 2] < 2 * before[len(before) // 2] + 0.05
    assert during[-1] < HUNG_S / 100
    # One that answers is compared; version 2 says what version 1 says.
    set_shadow(system.world, "m", Shadow(version=2), principal="test")
    wait_for(lambda: get_deployment(system.world, "m").status.get("shadow") == "2", 60, "the other shadow")
    at = system.watch(2.0)
    wait_for(lambda: compare_shadow(read_records(system.home.gateway / "records", at), "m", "2")["pairs"] > 10, 60, "pairs")
    found = compare_shadow(read_records(system.home.gateway / "records", at), "m", "2")
    assert found["same_status"] == found["pairs"] == found["same_tokens"]
    set_shadow(system.world, "m", None, principal="test")


def test_the_commands_set_show_and_undo(system: System) -> None:
    def penstock(*arguments: str) -> Any:
        environment = {**os.environ, "PENSTOCK_HOME": str(system.home.folder)}
        command = [sys.executable, "-m", "penstock", "traffic", *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
        return json.loads(done.stdout or done.stderr)

    found = penstock("set", "m", "1=75", "previous=25")
    assert "never served another version" in found["error"]["message"]
    found = penstock("set", "m", "1=75", "2=25")
    assert [(v["version"], v["share"]) for v in found["versions"]] == [(1, 0.75), (2, 0.25)]
    assert found["versions"][0]["requests"] > 50
    shares = system.clients.shares(system.watch())
    assert shares["2"] == pytest.approx(0.25, abs=0.12)
    assert penstock("shadow", "m", "3", "--sample", "10%")["shadow"]["resolved"] == 3
    assert penstock("shadow", "m", "--off")["shadow"] is None
    assert penstock("header", "m", "x-beta=1", "--off")["headers"] == []
    assert [(v["version"], v["share"]) for v in penstock("undo", "m")["versions"]] == [(1, 1.0)]


def test_an_experiment_ends_with_a_verdict_though_control_was_killed(system: System) -> None:
    world = system.world
    world.store.registry.set_alias("m", "challenger", 2, "test")
    deployment = get_deployment(world, "m")
    row = start_mover(world, deployment, "experiment", experiment_row(world, deployment, Experiment(then="switch"), principal="test"))

    def seen() -> int:
        return sum((world.store.resources.get("experiment", row.id).status.get("outcomes") or {}).values())

    wait_for(lambda: seen() > 0, 60, "first outcomes")
    state = control_state(system.home)
    assert state is not None
    os.kill(int(state["pid"]), signal.SIGKILL)
    time.sleep(1.0)
    ensure_up(system.home)
    wait_for(lambda: world.store.resources.get("experiment", row.id).phase == "decided", 90, "the verdict")
    found = world.store.resources.get("experiment", row.id).status
    assert found["verdict"] == "better"
    assert found["reading"]["low"] <= 0.55 <= found["reading"]["high"]
    assert not found["ratio"]["mismatch"]
    assert world.store.registry.aliases("m") == {"champion": 2}
    system.settle()
    assert system.clients.shares(system.watch()) == {"2": 1.0}


def test_a_bandit_moves_traffic_to_what_is_liked_and_nobody_below_the_floor(system: System) -> None:
    world = system.world
    set_traffic(world, "m", {1: 1.0}, principal="test")
    system.settle()
    deployment = get_deployment(world, "m")
    wish = Bandit(versions=(1, 2), explore=0.1, every=1.0)
    row = start_mover(world, deployment, "bandit", bandit_row(world, deployment, wish, principal="test"))

    def share() -> float:
        return next((p.weight for p in live_of(get_deployment(world, "m").status) if p.version == 2), 0.0)

    wait_for(lambda: share() >= 0.85, 60, "traffic on version 2")
    assert share() <= 0.9 + 1e-6
    found = system.clients.shares(system.watch(2.0))
    assert found["2"] > 0.7
    assert found.get("1", 0.0) > 0.01
    assert world.store.resources.get("bandit", row.id).status["means"]["2"] == pytest.approx(0.85, abs=0.12)
