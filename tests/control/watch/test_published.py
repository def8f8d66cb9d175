"""Signals at the gateway's `/metrics`: what the watcher writes, what the gateway tells of it, what Prometheus' parser says."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.control.watch import published
from penstock.control.watch.watcher import Watcher
from penstock.core.errors import DiskFull
from penstock.core.home import Home
from penstock.serving.signals_file import FILE, HEAD, STALE_S, SignalsFile
from penstock.store.signals import Signal
from penstock.store.store import Store
from penstock.testing.prometheus import NO_PROMETHEUS, PROMTOOL
from penstock.testing.watched import deployment, registered

WRITTEN = "penstock_signals_written_timestamp_seconds"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, f"sqlite:///{tmp_path / 'db'}", (tmp_path / "artifacts").as_uri())


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    with_ = Store.open(home)
    registered(with_, "m")
    yield with_
    with_.close()


def told(home: Home) -> dict[str, float]:
    """Series and values as the gateway would tell them now."""
    lines = SignalsFile(home.gateway / FILE).render().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def watched(home: Home, store: Store) -> Watcher:
    watcher = Watcher(home, store)
    watcher.following.refresh({"m"})
    return watcher


def write(watcher: Watcher) -> None:
    """At once, however short ago the last one was."""
    watcher.published._written = float("-inf")
    watcher.published.write(time.time(), time.monotonic(), watcher.following.known)


def signal(name: str, value: float, **more: object) -> Signal:
    return Signal("m", name, time.time() - 1, value, **more)  # type: ignore[arg-type]


def fires(store: Store, name: str, severity: str = "critical", version: str = "") -> None:
    store.resources.create("alert", "m", {"deployment": "m", "alert": name, "severity": severity, "version": version}, phase="firing")


def test_signals_limits_and_alerts_are_told(home: Home, store: Store) -> None:
    row = deployment(store, versions=(1, 2))
    alerts = [{"when": "error_rate > 2%", "name": "errors", "severity": "critical"}, {"when": "drift.words for 10m"}]
    store.resources.set_spec("deployment", row.id, {**row.spec, "deploy": {"monitor": {}, "alerts": alerts}})
    store.signals.append([signal("error_rate", 0.5, version="1"), signal("drift.words", 0.4, limit=0.25, version="2")])
    for version in ("1", "2"):
        fires(store, "errors", version=version)
    watcher = watched(home, store)
    write(watcher)
    watcher.published.take([signal("error_rate", 0.125), signal("requests", 7.0, slice="key=a"), signal("odd", float("nan"))])
    write(watcher)
    found = told(home)
    assert time.time() - found.pop(WRITTEN) < 5
    assert found == {
        'penstock_signal{model="m",version="",signal="error_rate"}': 0.125,
        'penstock_signal{model="m",version="1",signal="error_rate"}': 0.5,
        'penstock_signal{model="m",version="2",signal="drift.words"}': 0.4,
        'penstock_signal_limit{model="m",version="2",signal="drift.words"}': 0.25,
        'penstock_alerts_firing{model="m",alert="errors",severity="critical"}': 2,
        'penstock_alerts_firing{model="m",alert="drift.words for 10m",severity="warning"}': 0,
        "penstock_signals_left_out": 0,
    }


def test_what_stands_no_longer_is_not_told(home: Home, store: Store) -> None:
    deployment(store)
    store.signals.append([Signal("m", "error_rate", time.time() - 170, 0.5)])
    watcher = watched(home, store)
    write(watcher)
    assert any("error_rate" in name for name in told(home))
    watcher.published.write(time.time() + 20, 1e9, watcher.following.known)
    assert not any("error_rate" in name for name in told(home))


def test_there_are_never_too_many(home: Home, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "MOST_SERIES", 10)
    deployment(store)
    store.signals.append([signal("requests", 1.0, version=str(version)) for version in range(50)])
    store.signals.append([signal("requests", 50.0), signal("error_rate", 0.0)])
    write(watched(home, store))
    found = told(home)
    assert found["penstock_signals_left_out"] == 42
    assert found['penstock_signal{model="m",version="",signal="requests"}'] == 50, "the whole deployment comes before its versions"
    assert sum(name.startswith("penstock_signal{") for name in found) == 10


@pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMETHEUS)
def test_its_tool_finds_nothing_to_complain_of(home: Home, store: Store) -> None:
    row = deployment(store, versions=(1, 2))
    odd = {"when": "requests > 3", "name": 'a "quoted"\nname \\ of two lines'}
    store.resources.set_spec("deployment", row.id, {**row.spec, "deploy": {"monitor": {}, "alerts": [odd]}})
    store.signals.append([signal("latency.p95_ms", 12.5), signal("drift.words", 1e-9, limit=1e12, version="1"), signal("cost.day", -1.0)])
    write(watched(home, store))
    text = SignalsFile(home.gateway / FILE).render()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, (done.stdout + done.stderr).decode()) == (0, "")


def test_an_old_file_is_said_to_be_old_and_its_values_left_out(home: Home, store: Store) -> None:
    deployment(store)
    store.signals.append([signal("requests", 1.0)])
    write(watched(home, store))
    then = time.time() - STALE_S - 5
    os.utime(home.gateway / FILE, (then, then))
    assert told(home) == {WRITTEN: pytest.approx(then, abs=1)}


@pytest.mark.parametrize("text", [None, b"", b"# another file\n", HEAD + b"penstock_signal 1\npenstock_sig", HEAD + b"a 1\n" * 300_000])
def test_without_a_file_that_is_whole_it_says_never(tmp_path: Path, text: bytes | None) -> None:
    file = SignalsFile(tmp_path / FILE)
    assert file.render().endswith(f"{WRITTEN} 0\n".encode())
    if text is not None:
        file.path.write_bytes(text)
        assert file.render().endswith(f"{WRITTEN} 0\n".encode())
    file.path.write_bytes(HEAD + b"a 1\n")
    assert file.render().endswith(b"a 1\n")
    file.path.unlink()
    assert file.render().endswith(f"{WRITTEN} 0\n".encode())


def test_a_full_disk_is_told_once_and_stops_nothing(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    deployment(store)
    watcher = watched(home, store)

    def full(*_: object, **__: object) -> None:
        raise DiskFull("no space left while writing signals.prom")

    with monkeypatch.context() as patched:
        patched.setattr(published, "write_atomic", full)
        for _ in range(3):
            write(watcher)
    assert [record.message.startswith("no space left") for record in caplog.records] == [True]
    write(watcher)
    assert WRITTEN in told(home)


def test_a_file_of_another_release_costs_only_its_alerts(home: Home, store: Store) -> None:
    row = deployment(store)
    alerts = [{"when": "what is this", "tone": "loud"}]
    store.resources.set_spec("deployment", row.id, {**row.spec, "deploy": {"monitor": {}, "alerts": alerts}})
    store.signals.append([signal("requests", 1.0)])
    write(watched(home, store))
    assert set(told(home)) == {WRITTEN, 'penstock_signal{model="m",version="",signal="requests"}', "penstock_signals_left_out"}
