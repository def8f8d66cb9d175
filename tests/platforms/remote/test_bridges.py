"""Bridges of many endpoints in few processes: they start, drain and fail each by itself, and come back where their process ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.core.home import Home
from penstock.platforms.contract import ReplicaState, VersionSpec
from penstock.platforms.remote import bridges as module
from penstock.platforms.remote.bridge_hosts import hosts_in
from penstock.platforms.remote.bridges import Bridges, Crossing, stop_bridges
from penstock.platforms.remote.files import JsonFiles
from penstock.testing.jobs_suite import until

ENGINE = """
import os
from penstock.testing.echo import EchoEngine

def opened(folder, settings):
    address = settings["address"]
    if address.get("refuse"):
        raise ValueError("nobody is there")
    if address.get("fatal"):
        os._exit(3)
    return EchoEngine(folder, {})
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    (tmp_path / "engine_of_test.py").write_text(ENGINE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    found = Home.find(tmp_path, {})
    yield found
    stop_bridges(found, 5.0)


@pytest.fixture
def bridges(home: Home) -> Bridges:
    return Bridges(home, "vendor", "engine_of_test:opened", 3.0)


def crossing(number: int = 1, count: int = 1, **address: Any) -> Crossing:
    return Crossing(VersionSpec(str(number), "sha256:" + f"{number:064x}", count), count, {"host": "here", "number": number, **address})


def brought(bridges: Bridges, wanted: dict[str, list[Crossing]], there: Callable[[dict[str, list[ReplicaState]]], bool]) -> Any:
    """Applies all until the states by endpoint are `there`: these."""

    def look() -> dict[str, list[ReplicaState]] | None:
        for name, crossings in wanted.items():
            bridges.apply(name, crossings)
        seen = {name: list(bridges.observe(name)) for name in wanted}
        return seen if there(seen) else None

    return until(look)


def all_ready(seen: dict[str, list[ReplicaState]]) -> bool:
    return all(row.phase == "ready" for rows in seen.values() for row in rows) and all(seen.values())


def who(seen: dict[str, list[ReplicaState]], *but: str) -> dict[str, list[tuple[str, str | None]]]:
    return {name: [(row.id, row.address) for row in rows] for name, rows in seen.items() if name not in but}


def processes(home: Home) -> list[int]:
    return [host.pid for host in hosts_in(home.folder / module.HOSTS, JsonFiles()) if host.alive]


def test_many_endpoints_share_processes_and_one_version_has_them_apart(home: Home, bridges: Bridges) -> None:
    wanted = {f"model-{n}": [crossing(n, 2)] for n in range(20)}
    seen = brought(bridges, wanted, all_ready)
    assert len(processes(home)) == 2
    where = {id_: host.pid for host in hosts_in(home.folder / module.HOSTS, JsonFiles()) for id_ in host.wanted}
    assert all(len({where[row.id] for row in rows}) == 2 for rows in seen.values()), "a process that ends takes one of two"
    assert len({row.address for rows in seen.values() for row in rows}) == 40
    for row in seen["model-7"]:
        told = httpx.get(f"http://{row.address}/healthz").json()
        assert (told["id"], told["model"], told["digest"]) == (row.id, "model-7", row.bundle)
    bridges.delete("model-7")
    assert not bridges.observe("model-7")
    others = {name: crossings for name, crossings in wanted.items() if name != "model-7"}
    assert who(brought(bridges, others, all_ready)) == who(seen, "model-7")


def test_what_a_process_took_with_it_comes_back_elsewhere(home: Home, bridges: Bridges) -> None:
    wanted = {"a": [crossing(1, 2)], "b": [crossing(2, 1)]}
    before = brought(bridges, wanted, all_ready)
    os.kill(processes(home)[0], signal.SIGKILL)
    until(lambda: any(row.phase == "failed" for row in bridges.observe("a")))
    after = brought(bridges, wanted, all_ready)
    ids = [{row.id for row in rows} for seen in (before, after) for rows in seen.values()]
    assert (len(ids[0] & ids[2]), len(ids[1] & ids[3])) == (1, 0)


def test_another_address_is_another_bridge_and_the_old_one_drains(bridges: Bridges) -> None:
    before = brought(bridges, {"a": [crossing(1)]}, all_ready)["a"][0]
    after = brought(bridges, {"a": [crossing(1, host="there")]}, lambda seen: all_ready(seen) and len(seen["a"]) == 1)["a"][0]
    assert after.id != before.id


def test_one_that_cannot_open_says_why_and_harms_nobody(home: Home, bridges: Bridges) -> None:
    good = brought(bridges, {"good": [crossing(1)]}, all_ready)
    seen = brought(bridges, {"good": [crossing(1)], "bad": [crossing(2, refuse=True)]}, lambda s: s["bad"][0].phase == "failed")
    assert "nobody is there" in str(seen["bad"][0].error)
    assert who(seen, "bad") == who(good)
    for _ in range(5):
        bridges.apply("bad", [crossing(2, refuse=True)])
    assert [row.id for row in bridges.observe("bad")] == [seen["bad"][0].id], "not tried again at once"
    assert len(processes(home)) == 1


def test_the_one_that_ends_its_process_is_left_alone_with_it(home: Home, bridges: Bridges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER", 4)
    wanted = {f"model-{n}": [crossing(n)] for n in range(3)}
    everybody = {"fatal": [crossing(9, fatal=True)], **wanted}

    def apart(seen: dict[str, list[ReplicaState]]) -> bool:
        return all_ready({name: rows for name, rows in seen.items() if name != "fatal"})

    def settled(_: Any) -> bool:
        """Twice, so that its next end takes nobody along."""
        alone = [
            host for host in hosts_in(home.folder / module.HOSTS, JsonFiles()) if any(s["model"] == "fatal" for s in host.wanted.values())
        ]
        return len(alone) == 1 and len(alone[0].wanted) == 1

    brought(bridges, everybody, settled)
    before = brought(bridges, everybody, apart)
    after = brought(bridges, everybody, lambda seen: seen["fatal"][0].phase == "failed" and apart(seen))
    assert who(after, "fatal") == who(before, "fatal")
    newcomer = {"newcomer": [crossing(5)], **everybody}
    brought(bridges, newcomer, lambda seen: seen["newcomer"][0].phase == "ready")
    beside = [set(host.wanted) for host in hosts_in(home.folder / module.HOSTS, JsonFiles())]
    assert not any(len(ids) > 1 and ids & {row.id for row in bridges.observe("fatal")} for ids in beside)


def test_another_control_process_goes_on_with_them(home: Home, bridges: Bridges) -> None:
    before = brought(bridges, {"a": [crossing(1)]}, all_ready)
    other = Bridges(home, "vendor", "engine_of_test:opened", 3.0)
    assert who(brought(other, {"a": [crossing(1)]}, all_ready)) == who(before)
    assert stop_bridges(home, 5.0) == 1
    assert not processes(home)
    assert not other.observe("a")
