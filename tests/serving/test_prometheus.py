"""The metrics page under Prometheus' own eyes: its tool finds nothing to complain of, and a real server scrapes it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from penstock.testing.plain import PLAIN
from penstock.testing.prometheus import NO_PROMETHEUS, PROMTOOL, prometheus
from penstock.testing.serving import SECRET, RunningGateway, wait_for

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMETHEUS)


def ask(gateway: RunningGateway, count: int) -> None:
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {SECRET}"}, trust_env=False) as client:
        for _ in range(count):
            asked = {"model": "echo", "prompt": "a b", "max_tokens": 3, "user": "prometheus"}
            assert client.post("/v1/completions", json=asked).status_code == 200


def metrics(gateway: RunningGateway) -> str:
    return httpx.get(f"{gateway.url}/metrics", **PLAIN).text


def test_its_tool_finds_nothing_to_complain_of(gateway: RunningGateway) -> None:
    ask(gateway, 1)
    wait_for(lambda: 'process="replica"' in metrics(gateway), 15, "process metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics(gateway), capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_server_scrapes_what_was_counted(gateway: RunningGateway, tmp_path: Path) -> None:
    ask(gateway, 5)
    with prometheus(tmp_path, gateway.url.removeprefix("http://")) as server:
        wait_for(lambda: server.value('sum(penstock_requests_total{model="echo",status="200"})') >= 5, 15, "the requests")
        wait_for(lambda: server.value('count(penstock_process_resident_bytes{process="replica"})') == 3, 15, "the replicas")
        assert server.value('histogram_quantile(0.5, sum by (le) (penstock_request_seconds_bucket{model="echo"}))') > 0
        assert server.value('penstock_traffic_weight{model="echo",version="1"}') == 1
        assert server.value('sum(penstock_failed_total{model="intents"})') == 0, "told before the first failure"
        assert server.value("penstock_signals_written_timestamp_seconds") == 0, "nobody measures signals here"
