"""Several gateway processes on one port: one sum of counts, one state, none lost for good."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil

from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of, wait_for


def ask(gateway: RunningGateway) -> int:
    body, headers = {"model": "echo", "prompt": "a", "max_tokens": 2}, {"authorization": f"Bearer {SECRET}"}
    return httpx.post(f"{gateway.url}/v1/completions", json=body, headers=headers, timeout=30, **PLAIN).status_code


def counted(gateway: RunningGateway) -> float:
    text = httpx.get(f"{gateway.url}/metrics", **PLAIN).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("penstock_requests_total"))


def test_workers_share_the_port_the_counts_and_the_snapshot(stage: Stage) -> None:
    replica = stage.replica("r1")
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica])), workers=2)
    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(lambda _: ask(gateway), range(60))) == {200: 60}
    wait_for(lambda: counted(gateway) == 60, 10, "all requests counted, whoever answered")
    gateway.apply(snapshot_of(2, ("1", 1.0, [replica])))
    assert all(b'"snapshot_version": 2' in file.read_bytes() for file in (gateway.folder / "workers").glob("*.json"))
    workers = psutil.Process(gateway.process.pid).children()
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    wait_for(lambda: len({p.pid for p in psutil.Process(gateway.process.pid).children()} - {workers[0].pid}) == 2, 15, "a new worker")
    assert ask(gateway) == 200
    assert gateway.stop() == 0
    assert not any(worker.is_running() for worker in workers[1:])


def test_workers_end_when_their_supervisor_is_killed(stage: Stage) -> None:
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [])), workers=2)
    workers = psutil.Process(gateway.process.pid).children()
    gateway.stop(signal.SIGKILL)
    wait_for(lambda: not any(worker.is_running() for worker in workers), 15, "no worker left")
