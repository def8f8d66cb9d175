"""The exporter is started where a collector is named, rests after it ended, and ends with the background process."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from penstock.control.beside import exporter, sender
from penstock.core.home import Home
from penstock.store.store import Store
from penstock.testing.serving import living_children, wait_for


def test_nothing_is_started_without_a_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert exporter(tmp_path).look(1e6) is False
    assert list(tmp_path.iterdir()) == []


def test_one_runs_and_another_after_a_rest_when_it_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    exporting = exporter(tmp_path)
    try:
        assert exporting.look(100.0) is True
        (running,) = living_children(str(tmp_path))
        running.kill()
        wait_for(lambda: exporting.look(101.0) is False, 10, "its end")
        assert exporting.look(100.0 + exporting.rest_s) is True
        assert len(living_children(str(tmp_path))) == 1
    finally:
        exporting.close()
    assert living_children(str(tmp_path)) == []


def test_the_sender_waits_until_a_platform_asks_for_it(tmp_path: Path) -> None:
    home = Home.find(tmp_path, {})
    with contextlib.closing(Store.open(home)) as store:
        kept = sender(home, store)
        assert not kept.look(100.0)
        config = {"kind": "local", "metrics": True}
        store.resources.create("deployment", "m", {"platform": {"name": "x", "config": config}, "deploy": {}})
        assert not kept.look(101.0), "it was asked a moment ago"
        assert kept.look(200.0)
        kept.close()
