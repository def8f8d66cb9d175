"""Process metrics of a gateway and its replicas as Prometheus reads them; energy in records."""

from __future__ import annotations

import time

import httpx

from penstock.serving.record_files import read_records
from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of, wait_for


def metrics(gateway: RunningGateway) -> str:
    return httpx.get(f"{gateway.url}/metrics", **PLAIN).text


def value(text: str, name: str, **labels: str) -> float:
    """Of the one series that has these labels."""
    wanted = [f'{key}="{word}"' for key, word in labels.items()]
    (found,) = [line for line in text.splitlines() if line.startswith(f"{name}{{") and all(each in line for each in wanted)]
    return float(found.rsplit(" ", 1)[1])


def ask(gateway: RunningGateway, seconds: float) -> None:
    end = time.monotonic() + seconds
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {SECRET}"}, trust_env=False) as client:
        while time.monotonic() < end:
            assert client.post("/v1/completions", json={"model": "echo", "prompt": "a b c", "max_tokens": 64}).status_code == 200


def test_cpu_memory_and_energy_of_gateway_and_replica_are_told_by_version(stage: Stage) -> None:
    gateway = stage.gateway(snapshot_of(1, ("7", 1.0, [stage.replica("r-1")])))
    wait_for(lambda: 'process="replica"' in metrics(gateway), 15, "the replica's metrics")
    before = metrics(gateway)
    ask(gateway, 1.5)
    time.sleep(1.5)
    after = metrics(gateway)
    of_replica = {"process": "replica", "id": "r-1", "model": "echo", "version": "7"}
    for labels in (of_replica, {"process": "gateway"}):
        assert value(after, "penstock_process_cpu_seconds_total", **labels) > value(before, "penstock_process_cpu_seconds_total", **labels)
        assert 10e6 < value(after, "penstock_process_resident_bytes", **labels) < 2e9
        assert value(after, "penstock_process_threads", **labels) >= 1
    drawn = value(after, "penstock_process_joules_total", **of_replica)
    assert drawn > 0
    given = sum(record["energy_wh"] for record in read_records(gateway.folder / "records")) * 3600
    assert drawn / 5 < given < drawn * 5  # an estimate; the two meet in the long run


def test_workers_tell_of_each_other(stage: Stage) -> None:
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [stage.replica("r-1")])), workers=2)
    wanted = [f'cpu_seconds_total{{process="gateway",id="{number}"' for number in (0, 1)]
    wait_for(lambda: all(each in metrics(gateway) for each in wanted), 15, "both workers")
