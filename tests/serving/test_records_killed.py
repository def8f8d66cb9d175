"""A gateway killed under load loses the records of the last moments only."""

from __future__ import annotations

import signal
import threading
import time

import httpx

from penstock.serving.record_files import read_records
from penstock.serving.records import FLUSH_S
from penstock.testing.serving import SECRET, Stage, snapshot_of

WINDOW_S = FLUSH_S + 0.4  # one write, on a machine that does other things too


def test_kill_9_under_load_loses_at_most_the_last_moments(stage: Stage) -> None:
    replica = stage.replica("r-1")
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica])))
    answered: list[tuple[float, str]] = []

    def ask() -> None:
        with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {SECRET}"}, trust_env=False) as client:
            while True:
                try:
                    answer = client.post("/v1/completions", json={"model": "echo", "prompt": "one two", "max_tokens": 1})
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    answered.append((time.monotonic(), answer.headers["x-request-id"]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    killed = time.monotonic()
    gateway.stop(signal.SIGKILL)
    for thread in threads:
        thread.join(20)
    recorded = {record["id"] for record in read_records(gateway.folder / "records")}
    safe = [ident for at, ident in answered if at < killed - WINDOW_S]
    assert len(safe) > 50
    assert [ident for ident in safe if ident not in recorded] == []
    lost = [ident for _, ident in answered if ident not in recorded]
    assert len(lost) < len(answered) / 2
