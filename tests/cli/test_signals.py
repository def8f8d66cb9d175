"""`penstock signals`, `penstock monitor` and what `penstock status` says of the watcher."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import psutil
import pytest

from penstock.control.watch.contract import KEEP_S
from penstock.monitoring.windows.codec import Frame, Span
from penstock.monitoring.windows.files import WindowFiles
from penstock.store.signals import Signal
from penstock.store.store import Store
from penstock.testing.watched import deployment
from penstock.testing.windows import folded, row


@pytest.fixture
def measured(store: Store) -> float:
    """Deployment `desk` with an hour of signals; returns the end of the newest window."""
    deployment(store, "desk", versions=(1, 2))
    now = time.time() // 60 * 60
    made = []
    for minute in range(90):
        at = now - 60 * minute
        for version in ("", "1", "2"):
            made.append(Signal("desk", "requests", at, 100.0, 100.0, version))
            made.append(Signal("desk", "requests_per_s", at, 100 / 60, 100.0, version))
            made.append(Signal("desk", "error_rate", at, 0.01 * (minute < 5), 100.0, version, "", None, 0.002, 0.05))
            made.append(Signal("desk", "latency.p95_ms", at, 20.0 + minute, 99.0, version, "", None, 19.0, 22.0))
        made.append(Signal("desk", "host.cpu", at, 0.25, 12.0))
        made.append(Signal("desk", "cost.day", at, 3.5))
        made.append(Signal("desk", "requests", at, 60.0, 60.0, "", "channel=web"))
    made.append(Signal("desk", "drift.words", now, 0.4, 500.0, "", "", 0.3, evidence={"words": ["refund"]}))
    made.append(Signal("desk", "drift.length", now, 0.1, 500.0, "", "", 0.3))
    made.append(Signal("desk", "requests", now - 3000, 5.0, 5.0, "7"))
    store.signals.append(made)
    return now


def test_the_latest_of_each(call, measured: float) -> None:
    told = call("signals", "desk", "--json").json
    found = {s["name"]: s for s in told["signals"]}
    assert set(found) == {
        "requests",
        "requests_per_s",
        "error_rate",
        "latency.p95_ms",
        "host.cpu",
        "cost.day",
        "drift.words",
        "drift.length",
    }
    assert found["error_rate"]["at"] == measured
    assert found["drift.words"]["evidence"] == {"words": ["refund"]}
    assert 59 <= len(found["requests"]["values"]) <= 60
    lines = call("signals", "desk").out.splitlines()
    assert lines[0].split()[:3] == ["SIGNAL", "OF", "VALUE"]
    (errors,) = [line for line in lines if line.startswith("error_rate")]
    assert "1 %" in errors
    assert "0.2 % – 5 %" in errors
    assert "▁" in errors
    assert "█" in errors
    assert any(line.startswith("drift.words") and "0.3 over" in line for line in lines)


@pytest.mark.usefixtures("measured")
def test_of_a_version_a_slice_or_all(call) -> None:
    assert {s["version"] for s in call("signals", "desk", "--version", "2", "--json").json["signals"]} == {"2"}
    (web,) = call("signals", "desk", "--slice", "channel=web", "--json").json["signals"]
    assert (web["name"], web["value"]) == ("requests", 60.0)
    every = call("signals", "desk", "--all").out
    assert "version 1" in every
    assert "channel=web" in every
    assert call("signals", "desk", "--since", "10s", "--version", "9").out.startswith("no signals in the last 10s")


@pytest.mark.usefixtures("measured")
def test_one_over_time(call) -> None:
    told = call("signals", "desk", "--name", "latency.p95_ms", "--since", "10m", "--json").json["values"]
    assert [round(v["value"]) for v in told] == sorted((round(v["value"]) for v in told), reverse=True)
    assert 9 <= len(told) <= 10
    lines = call("signals", "desk", "--name", "error_rate", "--since", "30m").out.splitlines()
    assert lines[0].split() == ["AT", "OF", "ERROR_RATE", "BETWEEN", "ON"]
    assert set(lines[-1]) <= set("▁▂▃▄▅▆▇█")
    assert call("signals", "desk", "--name", "gone_rate").out == "no gone_rate in the last 1h\n"
    refused = call("signals", "desk", "--name", "eror_rate", "--json")
    assert refused.code == 2
    assert "did you mean 'error_rate'" in refused.error["message"]


def test_further_back_than_signals_are_kept_it_is_read_from_windows(call, measured: float, folder: Path) -> None:
    files, start = WindowFiles(folder / ".penstock" / "monitor" / "desk" / "windows"), measured // 3600 * 3600 - KEEP_S - 86_400
    for minute in range(120):
        files.append(Frame(Span(start + 60 * minute, 60.0), folded([row(n, total_ms=500.0) for n in range(10)])))
    told = call("signals", "desk", "--name", "requests", "--since", "30d", "--json").json["values"]
    assert sum(v["value"] for v in told) == 1200 + 90 * 100
    assert [v["at"] for v in told] == sorted(v["at"] for v in told)


def test_what_is_not_there(call, store: Store) -> None:
    assert call("signals", "nobody").code == 2
    deployment(store, "idle")
    assert "is the background process up" in call("signals", "idle").out
    assert call("signals", "idle", "--json").json == {"deployment": "idle", "signals": []}
    assert call("signals", "idle", "--since", "soon").code == 2


def test_nothing_has_run_here(call, folder: Path) -> None:
    assert call("signals", "desk").code == 2
    assert call("monitor").code == 2
    assert list(folder.iterdir()) == []


def watcher(folder: Path, **state: object) -> None:
    """As a watcher in this process would have told of itself."""
    told = {"pid": os.getpid(), "created": psutil.Process().create_time(), "lag_s": 1.6, "records_per_s": 12.5, "unread": 0, "errors": 0}
    path = folder / ".penstock" / "monitor" / "watch.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**told, "last_error": None, "waits_for": None, **state}))


@pytest.mark.usefixtures("measured")
def test_monitor_draws_once_where_there_is_no_terminal(call, folder: Path, store: Store) -> None:
    watcher(folder)
    slow = {"alert": "slow", "severity": "page", "version": "", "slice": ""}
    status = {"since": time.time() - 90, "message": "latency.p95_ms is 90 ms"}
    store.resources.create("alert", "desk", slow, phase="firing", status=status)
    store.resources.create("alert", "desk", {**slow, "alert": "over"}, phase="resolved", status=status)
    store.resources.create("alert", "elsewhere", {**slow, "alert": "other"}, phase="firing", status=status)
    told = call("monitor", "desk").out
    assert "watcher 1.6 s behind, 12.5 records/s" in told
    lines = told.splitlines()
    (heads,) = [line for line in lines if line.startswith("VERSION")]
    assert "P95" in heads
    first = next(line for line in lines if line.startswith("1 "))
    assert "50 %" in first
    assert "20 ms" in first
    assert not any(line.startswith("7 ") for line in lines)  # served before, and is told of no more
    assert any("host.cpu 25 %" in line and "cost.day 3.50 USD" in line for line in lines)
    assert any(line.startswith("! drift.words") and "0.4 of 0.3" in line for line in lines)
    assert any(line.startswith("  drift.length") for line in lines)
    assert any(line.startswith("ALERT page slow  for 1 min 30 s") and "90 ms" in line for line in lines)
    assert "other" not in told
    assert "over  for" not in told


@pytest.mark.usefixtures("measured")
def test_monitor_of_all(call, folder: Path, store: Store) -> None:
    assert "no watcher runs" in call("monitor").out
    deployment(store, "idle")
    told = call("monitor", "--once").out.splitlines()
    assert [line.split()[0] for line in told] == ["DEPLOYMENT", "desk", "idle"]
    data = call("monitor", "--json").json["deployments"]
    assert [board["deployment"] for board in data] == ["desk", "idle"]
    assert data[0]["shares"] == {"1": 0.5, "2": 0.5}
    watcher(folder, waits_for="the database is away")
    assert "the watcher waits: the database is away" in call("monitor", "idle").out
    assert "no signals yet" in call("monitor", "idle").out


def test_monitor_without_deployments(call, store: Store) -> None:
    store.signals.append([])
    assert call("monitor").out == "no deployments\n"


def test_monitor_redraws_until_the_keyboard_stops_it(call, measured: float, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from penstock.cli.output import Output

    del measured, folder
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Output, "lively", True)
    monkeypatch.setattr("penstock.cli.commands.monitor.time.sleep", nap)
    told = call("monitor", "desk", "--every", "0.5")
    assert told.code == 0
    assert naps == [0.5] * 3
    assert "desk" in told.out


def test_status_tells_of_the_watcher(call, folder: Path, store: Store) -> None:
    store.signals.append([])
    assert "watcher  not running" in call("status").out
    watcher(folder, unread=3, errors=2, last_error="measure x failed")
    assert "1.6 s behind, 12.5 records/s, 3 lines not readable, 2 errors, the last: measure x failed" in call("status").out
    assert call("status", "--json").json["watcher"]["runs"] is True
    watcher(folder, pid=1 << 22)
    assert "watcher  not running" in call("status").out
    (folder / ".penstock" / "monitor" / "watch.json").write_text("{")
    assert call("status", "--json").json["watcher"] is None


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_on_a_narrow_terminal_the_figures_that_matter_least_are_left_out(store: Store, measured: float, folder: Path, width: int) -> None:
    import io

    from rich.console import Console

    from penstock.cli.board import draw, overview
    from penstock.control.watch.board import board_of, watched_row
    from penstock.core.home import Home

    board = board_of(store, Home.find(folder, {}), watched_row(store, "desk"), measured + 5, 3600.0)
    for name, drawing in (("one", draw(board, "1h", width)), ("all", overview([board, board], width))):
        recorded = Console(file=io.StringIO(), width=width)
        recorded.print(drawing)
        assert isinstance(recorded.file, io.StringIO)
        told = recorded.file.getvalue()
        if (width, name) == (60, "all"):
            continue
        assert "REQ/S" in told
        assert "ERRORS" in told
        assert "…" not in told.split("cost.day")[0]
        assert ("USD/REQ" in told) is (width == 160 and name == "one")
