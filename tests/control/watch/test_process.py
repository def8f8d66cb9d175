"""The watcher as a process: one a home, killed in the middle of the work, beside the background process; on PostgreSQL too."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from penstock.control.beside import watcher
from penstock.control.daemon import Address, down, ensure_up
from penstock.control.detached import lives
from penstock.control.watch.health import watcher_state
from penstock.core.home import Home
from penstock.monitoring.windows.files import WindowFiles
from penstock.monitoring.windows.window import whole
from penstock.serving.snapshot import ModelRoute, Snapshot, write_snapshot
from penstock.store.store import Store
from penstock.testing.serving import living_children, wait_for
from penstock.testing.watched import Notes, deployment, record, registered, said


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.find(tmp_path, {})


def prepared(home: Home) -> Store:
    """A store with deployment `m`, whose windows are a second long."""
    store = Store.open(home)
    registered(store)
    deployment(store, window=1)
    write_snapshot(home.gateway / "snapshot.json", Snapshot(1, (ModelRoute("m", "text-classification", ()),)))
    return store


def started(home: Home) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PENSTOCK_DATABASE": home.database_url, "PENSTOCK_ARTIFACTS": home.artifacts_url}
    with (home.folder / "test.log").open("ab") as log:
        command = [sys.executable, "-m", "penstock.control.watch", "--home", str(home.folder)]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environ)


def counted(home: Home) -> dict[str, float]:
    """Over all windows on disk."""
    frames = WindowFiles(home.folder / "monitor" / "m" / "windows").read(0.0, time.time() + 60)
    every = [whole(frame.cells) for frame in frames]
    names = ("requests", "cost_usd", "rated", "withdrawn_rated", "right", "withdrawn_right")
    return {name: sum(window[name] for window in every) for name in names}


def told(store: Store) -> float:
    return sum(s.value for s in store.signals.read("m", name="requests") if not s.version)


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_killed_again_and_again_no_request_is_lost_or_counted_twice(home: Home, database: str, request: pytest.FixtureRequest) -> None:
    if database == "postgres":
        home = Home(home.folder, request.getfixturevalue("postgres_url"), home.artifacts_url)
    store = prepared(home)
    stop, sent, last = threading.Event(), Counter[str](), dict[int, str]()

    def serve() -> None:
        draw, number = random.Random(3), 0
        notes = [Notes(home.gateway, process) for process in (101, 102)]
        while not stop.is_set():
            for writer in notes:
                writer.records([record(number, time.time(), label="a", cost_usd=0.5)], segment=number // 200)
                if draw.random() < 0.3:
                    last[number] = "a"
                    writer.feedback(said(number, time.time(), label="b"), said(number, time.time(), label="a"))
                number += 1
            sent["requests"] = number
            time.sleep(0.002)

    writer = threading.Thread(target=serve)
    writer.start()
    process, draw = started(home), random.Random(5)
    try:
        for _ in range(5):
            time.sleep(draw.uniform(0.8, 1.8))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = started(home)
        stop.set()
        writer.join()
        wait_for(lambda: counted(home)["requests"] == sent["requests"] and told(store) == sent["requests"], 30, "all that was sent")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        stop.set()
        process.kill()
        process.wait()
        store.close()
    found = counted(home)
    assert found["cost_usd"] == sent["requests"] / 2
    assert found["rated"] - found["withdrawn_rated"] == len(last)
    assert found["right"] - found["withdrawn_right"] == len(last)


def test_one_a_home_and_the_next_takes_over(home: Home) -> None:
    prepared(home).close()
    first, second = started(home), started(home)
    try:
        wait_for(lambda: watcher_state(home.folder) is not None, 20, "one at work")
        state = watcher_state(home.folder)
        assert state is not None
        assert state["runs"]
        assert state["deployments"] == ["m"]
        busy, idle = (first, second) if state["pid"] == first.pid else (second, first)
        assert psutil.Process(busy.pid).nice() > psutil.Process().nice()
        busy.kill()
        busy.wait()
        wait_for(lambda: (watcher_state(home.folder) or {}).get("pid") == idle.pid, 20, "the other at work")
        idle.send_signal(signal.SIGTERM)
        assert idle.wait(20) == 0
        assert (watcher_state(home.folder) or {})["runs"] is False
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


def test_a_second_one_gives_up_in_the_end(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.control.watch import __main__ as module

    prepared(home).close()
    monkeypatch.setattr(module, "TAKE_OVER_S", 0.5)
    with module._alone(home, threading.Event()):
        assert module.main(["--home", str(home.folder)]) == 1


def test_a_home_without_anything_is_watched_in_peace(home: Home) -> None:
    home.folder.mkdir()
    process = started(home)
    try:
        wait_for(lambda: watcher_state(home.folder) is not None, 20, "it at work")
        assert (watcher_state(home.folder) or {})["errors"] == 0
    finally:
        process.terminate()
        assert process.wait(20) == 0


def children(home: Home) -> list[psutil.Process]:
    return living_children("penstock.control.watch", str(home.folder))


def test_it_is_started_and_after_a_rest_started_again(home: Home) -> None:
    prepared(home).close()
    watching = watcher(home)
    try:
        assert watching.look(100.0)
        (running,) = children(home)
        wait_for(lambda: (watcher_state(home.folder) or {}).get("pid") == running.pid, 20, "it at work")
        running.kill()
        wait_for(lambda: watching.look(101.0) is False, 10, "its end")
        assert watching.look(100.0 + watching.rest_s)
        assert len(children(home)) == 1
    finally:
        watching.close()
    assert children(home) == []


def test_a_disk_that_takes_no_log_ends_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.folder.mkdir()
    (home.folder / "monitor").write_text("in the way")
    watching = watcher(home)
    assert watching.look(100.0) is False
    assert "penstock.control.watch: " in capsys.readouterr().err
    (home.folder / "monitor").unlink()
    assert watching.look(100.0 + watching.rest_s)
    watching.close()


@pytest.fixture
def up(home: Home) -> Iterator[Home]:
    yield home
    down(home)


def test_it_ends_with_the_background_process_even_when_that_is_killed(up: Home) -> None:
    state = ensure_up(up, Address(port=0))
    wait_for(lambda: (watcher_state(up.folder) or {}).get("runs") is True, 20, "the watcher")
    first = (watcher_state(up.folder) or {})["pid"]
    os.kill(state["control"]["pid"], signal.SIGKILL)
    wait_for(lambda: not lives(first), 10, "its end")
    ensure_up(up, Address(port=0))
    wait_for(lambda: (watcher_state(up.folder) or {}).get("pid") != first, 20, "another")
    second = (watcher_state(up.folder) or {})["pid"]
    down(up)
    assert not lives(second)
