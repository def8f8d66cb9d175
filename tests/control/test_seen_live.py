"""A real Prometheus scrapes a real gateway with traffic: every panel has data, and an alert of the file arrives at a webhook."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from penstock.control.boards.contract import Board, Panel
from penstock.control.boards.table import BOARDS
from penstock.control.measures.promql import Scope, query
from penstock.control.rules.commands import rules_of_deployment
from penstock.testing.observed import MODELS, Observed, observed
from penstock.testing.prometheus import ALERTMANAGER, NO_ALERTMANAGER, NO_PROMETHEUS, PROMETHEUS, Prometheus, alertmanager, prometheus
from penstock.testing.receivers import Receiver, receiver
from penstock.testing.serving import wait_for

pytestmark = [
    pytest.mark.skipif(PROMETHEUS is None, reason=NO_PROMETHEUS),
    pytest.mark.skipif(ALERTMANAGER is None, reason=NO_ALERTMANAGER),
    pytest.mark.load,
]
ROUTES = """
route: {{receiver: all, group_by: [alertname, deployment], group_wait: 100ms, group_interval: 1s}}
receivers: [{{name: all, webhook_configs: [{{url: '{url}/alerts', send_resolved: true}}]}}]
"""
ECHO = {
    "price": {"prompt": 1.0, "completion": 2.0},
    "strategy": {"canary": [0.5, 1.0]},
    "rollback_when": ["error_rate > 10%", "worse_than(champion, latency, margin=20%)"],
    "monitor": {"window": 1, "capture": True, "drift": [{"input": "length", "window": 50, "false_alarms": 0.01}]},
    "alerts": [{"when": "error_rate > 10% and requests > 3 for 1s", "name": "errors", "severity": "critical"}],
}
INTENTS = {"price": {"request": 0.001}, "monitor": {"window": 1}, "alerts": [{"when": "live.accuracy < 1%"}]}


@dataclass(frozen=True, slots=True)
class Scene:
    live: Observed
    server: Prometheus
    hook: Receiver


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("seen")
    with receiver() as hook, alertmanager(folder, ROUTES.format(url=hook.url)) as manager, observed(folder, ECHO, INTENTS) as live:
        files = [folder / f"{name}.rules.yml" for name in MODELS]
        for name, file in zip(MODELS, files, strict=True):
            file.write_text(rules_of_deployment(live.store, name, 0.5).as_yaml())
        target = live.gateway.url.removeprefix("http://")
        with prometheus(folder, target, rules=files, alertmanager=manager) as server:
            yield Scene(live, server, hook)


@pytest.mark.parametrize(
    ("board", "panel"),
    [(board, panel) for board in BOARDS for row in board.rows for panel in row.panels],
    ids=lambda v: getattr(v, "title", ""),
)
def test_every_query_of_every_panel_has_data(scene: Scene, board: Board, panel: Panel) -> None:
    for series in panel.series:
        asked = [query(series.measure, Scope(name, "10s")) for name in MODELS]
        wait_for(lambda: any(scene.server.ask(one) for one in asked), 60, f"{board.title}, {panel.title}: {asked[0]}")  # noqa: B023


def test_what_is_seen_is_what_happened(scene: Scene) -> None:
    ask = scene.server.value
    wait_for(lambda: ask('penstock_signal{model="intents",version="",signal="live.accuracy"}') > 0, 30, "the accuracy")
    assert ask('model_version:penstock_requests_per_s:window{model="echo",version="2"}') > 1
    assert ask("time() - penstock_signals_written_timestamp_seconds") < 30
    assert ask('sum(penstock_traffic_weight{model="echo"})') == 1
    assert ask('penstock_signal{model="echo",version="",signal="cost.hour"}') > 0
    wait_for(
        lambda: 0 <= ask('max(model_version_signal:penstock_signal:limit_ratio{model="echo",signal="drift.length"})') < 20, 60, "the drift"
    )


def test_an_alert_arrives_and_ends(scene: Scene) -> None:
    def told(status: str) -> set[str]:
        return {
            alert["labels"]["alertname"]
            for got in scene.hook.got
            for alert in got.json["alerts"]
            if alert["status"] == status and alert["labels"].get("deployment") == "echo"
        }

    assert "errors" not in told("firing")
    scene.live.failing = 0.5
    wait_for(lambda: told("firing") >= {"errors"}, 60, "the alert")
    alert = next(a for got in scene.hook.got for a in got.json["alerts"] if a["labels"]["alertname"] == "errors")
    assert alert["labels"] == {"alertname": "errors", "deployment": "echo", "severity": "critical", "source": "prometheus"}
    assert alert["annotations"]["summary"].startswith("echo: error_rate > 10% and requests > 3 for 1s (now 0.")
    scene.live.failing = 0.0
    wait_for(lambda: told("resolved") >= {"errors"}, 60, "its end")
