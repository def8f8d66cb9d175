"""Ten times what a replica can do, and then peace again; and snapshots that change while every feature is on."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock.serving.snapshot import Capture, Guard, HeaderRule, Price, Protection, Shadow, Snapshot
from penstock.testing.faults import faulty
from penstock.testing.serving import SECRET, Routed, RunningGateway, Stage, snapshot_of

pytestmark = pytest.mark.load
STEP_S, ROOM, QUEUE = 0.05, 4, 16
CAPACITY = ROOM / (2 * STEP_S)  # requests/s of one replica, two tokens each


@contextmanager
def load_on(gateway: RunningGateway, folder: Path, concurrency: int, **fields: object) -> Iterator[dict[str, Any]]:
    """Fills the yielded dict with the client's summary once the block is left."""
    until, result = folder / f"stop-{time.monotonic_ns()}", {}
    body = json.dumps({"model": "echo", "prompt": "a b", "max_tokens": 2, **fields})
    target = ["--url", gateway.url, "--key", SECRET, "--path", "/v1/completions", "--body", body]
    command = [sys.executable, "-m", "penstock.testing.load", *target, "--concurrency", str(concurrency), "--until", str(until)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        try:
            yield result
        finally:
            until.touch()
            output, _ = client.communicate(timeout=30)
    result.update(json.loads(output))


def test_overload_is_answered_in_time_or_at_once_and_leaves_nothing_behind(stage: Stage, tmp_path: Path) -> None:
    replica = stage.replica("r1", settings={"step_s": STEP_S})
    snapshot = snapshot_of(1, ("1", 1.0, [replica]))
    protection = Protection(concurrency=ROOM, queue=QUEUE)
    gateway = stage.gateway(replace(snapshot, models=(replace(snapshot.models[0], protection=protection),)))
    before = _latency(gateway)
    process = psutil.Process(gateway.process.pid)
    with load_on(gateway, tmp_path, 10 * (ROOM + QUEUE) // 2) as seen:
        time.sleep(4.0)
        waits = [_asked(gateway) for _ in range(5)]
    assert set(seen["statuses"]) == {"200", "503"}, seen
    assert seen["requests"] > 10 * CAPACITY * 3
    assert seen["statuses"]["200"] > CAPACITY * 3 * 0.5
    assert seen["max_ms"] < 1000 * (QUEUE + ROOM) / CAPACITY * 4
    assert all(1 <= wait <= 3 for wait in waits if wait is not None), waits
    assert any(wait is not None for wait in waits)
    time.sleep(0.5)
    assert _latency(gateway) < 2 * before + 0.1
    assert (gateway.metric("penstock_waiting"), gateway.metric("penstock_in_flight")) == (0, 0)
    assert process.memory_info().rss < 150 << 20
    assert process.num_threads() < 40


def _latency(gateway: RunningGateway) -> float:
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        assert gateway.ask().status_code == 200
        seconds.append(time.monotonic() - began)
    return statistics.median(seconds)


def _asked(gateway: RunningGateway) -> int | None:
    """Seconds to come back after, where one request more was refused."""
    answer = gateway.ask()
    return int(answer.headers["retry-after"]) if answer.status_code == 503 else None


def everything(number: int, one: list[Routed], two: list[Routed], shadow: list[Routed]) -> Snapshot:
    share = (number % 5) / 4
    snapshot = snapshot_of(number, ("1", 1.0 - share, one), ("2", share, two), ("3", 0.0, shadow))
    route = replace(
        snapshot.models[0],
        protection=Protection(first_byte_s=5.0, hedge_s=0.1, concurrency=16, queue=256, fallback=("other",), hold_s=5.0),
        guards=(Guard("personal_data", "mask", "both"),),
        headers=(HeaderRule("x-team", "blue", "2"),),
        shadow=Shadow("3", 0.5),
        price=Price(1.0, 1.0, 0.0),
        capture=Capture(0.5, True),
        experiment=f"exp-{number}",
    )
    return replace(snapshot, models=(route,))


@pytest.mark.parametrize("stream", [False, True])
def test_snapshots_change_under_load_with_everything_on_and_nothing_is_lost(stage: Stage, tmp_path: Path, stream: bool) -> None:
    one, two = ([stage.replica(f"v{v}-{n}", version=str(v), settings={"step_s": 0.002}) for n in range(2)] for v in (1, 2))
    shadow = faulty(stage, "shadow", "ok")
    gateway = stage.gateway(everything(1, one, two, [shadow]))
    with load_on(gateway, tmp_path, 16, stream=stream) as seen:
        time.sleep(1.0)
        for number in range(2, 16):
            shadow.be(("ok", "hang", "garbage", "close")[number % 4])
            gateway.apply(everything(number, one[: 1 + number % 2], two[number % 2 :], [shadow]))
            time.sleep(0.1)
        gateway.apply(everything(16, [], [], []))  # for a moment no replica at all: requests are held
        time.sleep(0.3)
        gateway.apply(everything(17, one, two, [shadow]))
        time.sleep(0.5)
    assert seen["failures"] == 0, seen
    assert seen["requests"] > 200
    assert set(seen["versions"]) == {"1", "2"}
    assert gateway.metric("penstock_shadow_sent_total") > 20


@pytest.mark.parametrize("stream", [False, True])
def test_under_any_mix_of_faults_every_request_ends_and_says_how(stage: Stage, tmp_path: Path, stream: bool) -> None:
    bad = [faulty(stage, f"bad-{n}", "ok") for n in range(3)]
    snapshot = snapshot_of(1, ("1", 0.7, bad[:2]), ("2", 0.3, bad[2:]))
    protection = Protection(timeout_s=2.0, first_byte_s=0.3, hedge_s=0.1, concurrency=8, queue=64, retry_budget=0.5)
    gateway = stage.gateway(replace(snapshot, models=(replace(snapshot.models[0], protection=protection),)))
    faults = ("ok", "slow:0.05", "hang", "garbage", "html", "error", "busy", "close", "hang-later", "garbage-later", "close-later")
    draw = random.Random(7)
    with load_on(gateway, tmp_path, 24, stream=stream) as seen:
        for _ in range(25):
            draw.choice(bad).be(draw.choice(faults))
            time.sleep(0.12)
        for replica in bad:
            replica.be("ok")
        time.sleep(3.0)  # longer than any pause that so few failures lead to, or a request may take
    told = set(seen["statuses"]) - {"lost"}
    assert told <= {"200", "500", "503", "504"}, seen
    assert "lost" not in seen["statuses"] or stream, seen  # a stream that breaks is cut, a whole answer never is
    assert seen["statuses"]["200"] > 100
    assert {gateway.ask().status_code for _ in range(10)} == {200}
    for name in ("penstock_in_flight", "penstock_waiting", "penstock_shadow_in_flight"):
        assert gateway.metric(name) == 0
    assert "Traceback" not in gateway.log.read_text()
