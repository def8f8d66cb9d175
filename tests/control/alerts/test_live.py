"""The background process itself: a real deployment whose requests fail, its monitor killed and started again, a receiver that is told."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.control.daemon import control_state
from penstock.control.deployments import desired_deployment, get_deployment, phase_of
from penstock.control.world import open_world
from penstock.core.home import Home
from penstock.testing.receivers import Receiver
from penstock.testing.serving import Stage, wait_for


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    home = Home.find()
    yield home
    penstock("down")


def penstock(*words: str) -> Any:
    done = subprocess.run([sys.executable, "-m", "penstock", *words, "--json"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_requests_fail_and_somebody_is_told(home: Home, hook: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_HOOK", f"{hook.url}/hush")
    with Stage(tmp_path / "server") as stage:
        there = stage.replica("there", "echo")
        penstock("models", "import", "assistant", "--url", f"http://{there.route.host}:{there.route.port}/v1")
        url = penstock("up")["url"]
        world = open_world(home)
        alert = {"when": "error_rate > 5% for 2s", "name": "errors", "severity": "critical"}
        notify = {"receivers": {"ops": {"webhook": "${secret:HOOK}", "group_wait": 2}}}
        sections = {"scale": {"min": 1}, "alerts": [alert], "notify": notify, "monitor": {"window": 1}}
        desired_deployment(world, "assistant", "assistant", 1, sections, {}, principal="test")
        wait_for(lambda: phase_of(get_deployment(world, "assistant")) == "live", 30, "it to serve")
        headers = {"authorization": f"Bearer {penstock('keys', 'create', 'test')['key']}"}
        with asking(url, headers) as bad:
            time.sleep(4.0)
            began = time.time()
            bad.set()
            wait_for(lambda: noticed(world), 20, "the condition to be seen")
            state = control_state(home)
            assert state is not None
            os.kill(state["pid"], signal.SIGKILL)
            penstock("up")
            wait_for(lambda: bool(hook.got), 30, "the message")
            assert hook.got[0].path == "/hush"
            assert [(a["name"], a["status"], a["new"]) for a in hook.got[0].json["alerts"]] == [("errors", "firing", True)]
            assert hook.got[0].json["link"] == get_deployment(world, "assistant").status["url"]
            (listed,) = penstock("alerts")["alerts"]
            wait_for(lambda: penstock("alerts", "show", listed["id"])["alert"]["told"], 10, "that it was told")
            found = penstock("explain", "assistant", "--signal", "error_rate", "--since", f"{time.time() - began + 2.0:.1f}s")
            assert found["changed"], found
            assert sum(cause["requests"] for cause in found["causes"]) or "alike everywhere" in found["note"]
            bad.clear()
            wait_for(lambda: not penstock("alerts")["alerts"], 20, "the end")
            for path in home.folder.rglob("*"):
                assert not path.is_file() or b"/hush" not in path.read_bytes(), path
            world.store.close()


@contextlib.contextmanager
def asking(url: str, headers: Mapping[str, str]) -> Iterator[threading.Event]:
    """About forty requests a second, whatever becomes of them; while the event is set, every other one makes the engine fail."""
    bad, over = threading.Event(), threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
            for number in itertools.count():
                if over.wait(0.025):
                    return
                prompt = "boom" if bad.is_set() and number % 2 == 0 else f"one {number}"
                with contextlib.suppress(httpx.HTTPError):
                    client.post("/v1/completions", json={"model": "assistant", "prompt": prompt, "max_tokens": 2})

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield bad
    finally:
        over.set()
        thread.join()


def noticed(world: Any) -> bool:
    monitor = world.store.resources.find("monitor", "assistant")
    return monitor is not None and bool(monitor.status.get("states"))
