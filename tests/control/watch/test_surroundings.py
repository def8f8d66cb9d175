"""This machine and the replicas on it, as signals of a deployment's windows."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from penstock.control.watch import surroundings as module
from penstock.control.watch.followed import Followed, Following
from penstock.control.watch.surroundings import Surroundings
from penstock.monitoring.gpu import GpuReading, Gpus
from penstock.platforms.local.replicas import _write_pid
from penstock.store.store import Store
from penstock.testing.control import Bench
from penstock.testing.watched import by_name, deployment, registered

T = 1_700_000_000 // 60 * 60.0


class TwoGpus(Gpus):
    def read(self) -> list[GpuReading]:
        return [GpuReading(0.5, 0.25, 60.0, 200.0), GpuReading(0.1, 0.5, 70.0, 100.0)]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    made = Bench(tmp_path)
    registered(made.store)
    yield made
    made.close()


def followed(bench: Bench, store: Store) -> Followed:
    row = deployment(store, versions=(1, 2))
    ready = [
        {"id": f"m-{n}", "version": version, "phase": phase}
        for n, (version, phase) in enumerate([("1", "ready"), ("1", "ready"), ("2", "starting")])
    ]
    assert store.resources.take("deployment", row.id, "test", 5.0)
    store.resources.save("deployment", row.id, "test", status={**row.status, "replicas": ready}, phase="live", due_at=None)
    following = Following(bench.home, store, {})
    following.refresh({"m"})
    return following.known["m"]


def test_of_the_machine_and_of_replicas(bench: Bench) -> None:
    one, around = followed(bench, bench.store), Surroundings(bench.home, TwoGpus())
    assert around.signals(one, T + 5) == []
    for second in range(10, 70, 10):
        around.look(T + second, ["m"])
        time.sleep(0.01)
    assert around.signals(one, T + 30) == []
    made = around.signals(one, T + 61)
    assert around.signals(one, T + 62) == []
    found = by_name(made, T + 60)
    assert {"host.cpu", "host.memory", "host.disk", "host.network_bytes_per_s"} <= set(found)
    assert found["replicas.ready"].value == 2
    assert (found["gpu.use"].value, found["gpu.temperature_c"].value, found["gpu.power_w"].value) == (0.5, 70.0, 300.0)
    assert found["host.cpu"].count == 6
    assert by_name(made, T + 60, "1")["replicas.ready"].value == 2
    assert by_name(made, T + 60, "2")["replicas.ready"].value == 0
    assert "host.cpu" not in by_name(made, T + 60, "2")


def test_what_a_versions_replicas_take(bench: Bench) -> None:
    busy = "b = bytearray(80 << 20)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", busy])
    try:
        folder = bench.home.replicas / "m" / "m-1"
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text('{"version": "1", "digest": "d", "settings": {}}')
        _write_pid(folder, process.pid)
        one, around = followed(bench, bench.store), Surroundings(bench.home)
        around.signals(one, T + 5)
        began = time.process_time(), time.monotonic()
        for step in range(4):
            around.look(T + 10 + step, ["m"])
            time.sleep(0.3)
        around.look(T + 20, ["m"])
        made = by_name(around.signals(one, T + 60), T + 60, "1")
        assert time.process_time() - began[0] < time.monotonic() - began[1]
    finally:
        process.kill()
        process.wait()
    assert 0.02 < made["host.cpu"].value <= 1.0 / (psutil.cpu_count() or 1) + 0.05
    assert 0.8 * (80 << 20) < made["host.memory"].value * psutil.virtual_memory().total < 400 << 20


def test_a_clock_that_is_set_back_and_a_process_that_comes_late(bench: Bench) -> None:
    one, around = followed(bench, bench.store), Surroundings(bench.home)
    around.signals(one, T + 5)
    around.look(T + 50, ["m"])
    around.look(T - 50, ["m"])
    around.look(T - 40, ["m"])
    assert len(around._samples) == 2
    assert around.signals(one, T - 30) == []
    found = by_name(around.signals(one, T + 600), T + 600)
    assert set(found) == {"replicas.ready"}  # nothing of a window in which nobody looked
