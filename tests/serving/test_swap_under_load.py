"""No request is lost while versions are swapped and replicas die, seen from a client process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of, wait_for

pytestmark = pytest.mark.load
GENERATE = {"model": "echo", "prompt": "a b c", "max_tokens": 5}


@contextmanager
def load_on(gateway: RunningGateway, folder: Path, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Fills the yielded dict with the client's summary once the block is left."""
    until, result = folder / "stop", {}
    target = ["--url", gateway.url, "--key", SECRET, "--path", "/v1/completions", "--body", json.dumps(body)]
    command = [sys.executable, "-m", "penstock.testing.load", *target, "--concurrency", "16", "--until", str(until)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        try:
            more(gateway)
            yield result
            more(gateway)
        finally:
            until.touch()
            output, _ = client.communicate(timeout=30)
    result.update(json.loads(output))


def more(gateway: RunningGateway, requests: int = 200) -> None:
    """Waits until so many more were answered, however busy the machine is."""
    before = gateway.metric("penstock_requests_total")
    wait_for(lambda: gateway.metric("penstock_requests_total") >= before + requests, 60, f"{requests} more requests")


@pytest.mark.parametrize("stream", [False, True])
def test_a_version_swap_loses_nothing(stage: Stage, tmp_path: Path, stream: bool) -> None:
    settings = {"step_s": 0.002}
    old = [stage.replica(f"old-{n}", settings=settings) for n in range(2)]
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, old)))
    with load_on(gateway, tmp_path, {**GENERATE, "stream": stream}) as seen:
        new = [stage.replica(f"new-{n}", version="2", settings=settings) for n in range(2)]
        gateway.apply(snapshot_of(2, ("1", 0.5, old), ("2", 0.5, new)))
        more(gateway)
        gateway.apply(snapshot_of(3, ("2", 1.0, new)))
        assert [replica.stop(signal.SIGTERM) for replica in old] == [0, 0]
    assert seen["failures"] == 0, seen
    assert seen["requests"] > 300
    assert min(seen["versions"]["1"], seen["versions"]["2"]) > 50


def test_replicas_told_to_stop_before_the_snapshot_changes_lose_nothing(stage: Stage, tmp_path: Path) -> None:
    old, new = stage.replica("old", settings={"step_s": 0.002}), stage.replica("new", version="2", settings={"step_s": 0.002})
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [old]), ("2", 1e-9, [new])))
    with load_on(gateway, tmp_path, GENERATE) as seen:
        assert old.stop(signal.SIGTERM) == 0
        more(gateway)
    assert seen["failures"] == 0, seen
    assert min(seen["versions"]["1"], seen["versions"]["2"]) > 50


def test_a_killed_replica_loses_nothing_while_another_lives(stage: Stage, tmp_path: Path) -> None:
    first, second = (stage.replica(f"r{n}", settings={"step_s": 0.002}) for n in range(2))
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [first, second])))
    with load_on(gateway, tmp_path, GENERATE) as seen:
        first.stop(signal.SIGKILL)
        more(gateway)
        third = stage.replica("r3", settings={"step_s": 0.002})
        gateway.apply(snapshot_of(2, ("1", 1.0, [second, third])))
        more(gateway)
        second.stop(signal.SIGKILL)
    assert seen["failures"] == 0, seen
    assert seen["requests"] > 300


def test_a_broken_snapshot_under_load_changes_nothing(stage: Stage, tmp_path: Path) -> None:
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [stage.replica("r1")])))
    with load_on(gateway, tmp_path, GENERATE) as seen:
        (gateway.folder / "snapshot.json").write_bytes(b'{"version": 2')
        time.sleep(0.4)
    assert seen["failures"] == 0, seen
