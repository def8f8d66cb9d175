"""The metrics page under Prometheus' own eyes: its tool finds nothing to complain of, and a real server scrapes it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from penstock.testing.serving import SECRET, RunningGateway, wait_for

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed: python tools/system.py prometheus")


def ask(gateway: RunningGateway, count: int) -> None:
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {SECRET}"}, trust_env=False) as client:
        for _ in range(count):
            asked = {"model": "echo", "prompt": "a b", "max_tokens": 3, "user": "prometheus"}
            assert client.post("/v1/completions", json=asked).status_code == 200


def metrics(gateway: RunningGateway) -> str:
    return httpx.get(f"{gateway.url}/metrics", trust_env=False).text


def test_its_tool_finds_nothing_to_complain_of(gateway: RunningGateway) -> None:
    ask(gateway, 1)
    wait_for(lambda: 'process="replica"' in metrics(gateway), 15, "process metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics(gateway), capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_server_scrapes_what_was_counted(gateway: RunningGateway, tmp_path: Path) -> None:
    ask(gateway, 5)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    target = gateway.url.removeprefix("http://")
    config = tmp_path / "prometheus.yml"
    config.write_text(f"scrape_configs: [{{job_name: penstock, scrape_interval: 500ms, static_configs: [{{targets: ['{target}']}}]}}]\n")
    arguments = [f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]

    def asked(query: str) -> float:
        try:
            told = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}, trust_env=False)
        except httpx.TransportError:
            return -1.0
        rows = told.json()["data"]["result"] if told.status_code == 200 else []
        return float(rows[0]["value"][1]) if rows else -1.0

    with (tmp_path / "log").open("wb") as log, subprocess.Popen(["prometheus", *arguments], stdout=log, stderr=log) as server:
        try:
            wait_for(lambda: asked('up{job="penstock"}') == 1, 30, "the scrape")
            wait_for(lambda: asked('sum(penstock_requests_total{model="echo",status="200"})') >= 5, 15, "the requests")
            wait_for(lambda: asked('count(penstock_process_resident_bytes{process="replica"})') == 3, 15, "the replicas")
            assert asked('histogram_quantile(0.5, sum by (le) (penstock_request_seconds_bucket{model="echo"}))') > 0
        finally:
            server.terminate()
