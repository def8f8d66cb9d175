"""A real Prometheus and a real Alertmanager on free ports, for as long as a block lasts."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from penstock.testing.plain import PLAIN
from penstock.testing.ports import free_port
from penstock.testing.serving import wait_for

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
NO_PROMETHEUS = "Prometheus is not installed: python tools/system.py prometheus"
NO_ALERTMANAGER = "it is not installed: python tools/system.py prometheus-alertmanager"


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The vector now: `metric` and `value` each; empty while it does not listen. Raises AssertionError for a query that is wrong."""
        try:
            told = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, **PLAIN, timeout=10)
        except httpx.TransportError:
            return []
        assert told.status_code != 400, f"{query}: {told.text}"
        found: list[dict[str, Any]] = told.json()["data"]["result"] if told.status_code == 200 else []
        return found

    def value(self, query: str) -> float:
        """Of the first series; -1 where there is none."""
        rows = self.ask(query)
        return float(rows[0]["value"][1]) if rows else -1.0


@contextmanager
def prometheus(
    folder: Path, target: str, *, every: str = "500ms", rules: Sequence[Path] = (), alertmanager: str | None = None
) -> Iterator[Prometheus]:
    """Scrapes `target` (host:port) as job penstock. `alertmanager`: its URL."""
    assert PROMETHEUS is not None
    config: dict[str, Any] = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [{"job_name": "penstock", "static_configs": [{"targets": [target]}]}],
    }
    if alertmanager is not None:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.removeprefix("http://")]}]}]}
    path, port = folder / "prometheus.yml", free_port()
    path.write_text(json.dumps(config))  # YAML takes JSON
    command = [
        PROMETHEUS,
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _running(command, folder / "prometheus.log"):
        found = Prometheus(f"http://127.0.0.1:{port}")
        wait_for(lambda: found.value('up{job="penstock"}') == 1, 30, "the scrape")
        yield found


@contextmanager
def alertmanager(folder: Path, config: str) -> Iterator[str]:
    """Its URL."""
    assert ALERTMANAGER is not None
    path, port = folder / "alertmanager.yml", free_port()
    path.write_text(config)
    url = f"http://127.0.0.1:{port}"
    command = [ALERTMANAGER, f"--config.file={path}", f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address=127.0.0.1:{port}"]
    with _running([*command, "--cluster.listen-address="], folder / "alertmanager.log"):
        wait_for(lambda: _ready(url), 20, "Alertmanager")
        yield url


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield
        finally:
            process.terminate()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", **PLAIN).status_code == 200
    except httpx.TransportError:
        return False
