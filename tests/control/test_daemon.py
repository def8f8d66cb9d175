"""The background process for real: one per home, ports, a gateway that is killed, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from penstock.control.daemon import Address, control_state, down, ensure_up
from penstock.control.detached import lives, start_detached
from penstock.control.gateway import gateway_state
from penstock.core.errors import DiskFull, PenstockError
from penstock.core.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home.find(tmp_path, {})
    yield made
    down(made)


def test_up_is_idempotent_and_down_leaves_nothing(home: Home) -> None:
    first = ensure_up(home, Address(port=0))
    assert ensure_up(home, Address(port=0)) == first
    pids = [first["control"]["pid"], first["gateway"]["pid"]]
    assert all(lives(pid) for pid in pids)
    nothing = {"elsewhere": 0, "left": [], "unknown": []}
    assert down(home) == {"control": True, "gateway": True, "replicas": 0, **nothing}
    assert not any(lives(pid) for pid in pids)
    assert down(home) == {"control": False, "gateway": False, "replicas": 0, **nothing}


def test_a_taken_port_is_said_and_a_taken_default_gives_way(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PenstockError, match=f"{port} is taken"):
            ensure_up(home, Address(port=port))
        assert control_state(home) is None
    ensure_up(home)
    assert gateway_state(home.gateway) is not None


def test_a_full_disk_is_said_where_the_log_could_not_even_be_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.daemon.start_detached", lambda _, log, __: start_detached(["-c", ""], log))
    with pytest.raises(PenstockError, match="it said nothing"):
        ensure_up(home, Address(port=0))
    monkeypatch.setattr("penstock.control.daemon.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(DiskFull):
        ensure_up(home, Address(port=0))


def test_a_killed_gateway_comes_back_on_its_port(home: Home) -> None:
    before = ensure_up(home, Address(port=0))["gateway"]
    os.kill(before["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        now = gateway_state(home.gateway)
        if now is not None and now["pid"] != before["pid"]:
            break
        time.sleep(0.05)
    assert now is not None
    assert now["pid"] != before["pid"]
    assert now["port"] == before["port"]


def test_a_control_process_that_starts_again_adopts_the_gateway(home: Home) -> None:
    before = ensure_up(home, Address(port=0))
    os.kill(before["control"]["pid"], signal.SIGKILL)
    while lives(before["control"]["pid"]):
        time.sleep(0.01)
    assert gateway_state(home.gateway) == before["gateway"]
    after = ensure_up(home)
    assert after["gateway"]["pid"] == before["gateway"]["pid"]
    assert after["control"]["pid"] != before["control"]["pid"]


def test_several_that_start_at_once_end_as_one(home: Home) -> None:
    seen: list[int] = []

    def start() -> None:
        seen.append(int(ensure_up(home, Address(port=0))["control"]["pid"]))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 3
    assert len(set(seen)) == 1
