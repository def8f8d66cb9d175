"""What is measured of a deployment, in Cloud Monitoring: series in order, a dashboard, alert policies; nothing twice, nothing left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.control.outside import send, wanting
from penstock.core.errors import PenstockError
from penstock.core.home import Home
from penstock.platforms.measures import Bound, Face, Measured
from penstock.platforms.vertex.google import Google
from penstock.platforms.vertex.metrics import MOST, CloudMonitoring, batches
from penstock.platforms.vertex.platform import VERTEX
from penstock.platforms.vertex.settings import settings_of
from penstock.store.signals import Signal
from penstock.store.store import Store
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.emulators.vertex.monitoring import BOARDS, POLICIES, SERIES

ALERTS = [
    {"when": "error_rate > 5% for 5m"},
    {"when": "latency.p95_ms >= 300"},
    {"when": "drift.input for 10m"},  # its own limit: only Penstock knows it
]


@pytest.fixture
def store(cloud: VertexAI, tmp_path: Path) -> Iterator[tuple[Store, Home]]:
    home = Home.find(tmp_path, {"PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"})
    made = Store.open(home)
    yield made, home
    made.close()


def deployed(store: Store, config: dict[str, Any]) -> None:
    spec = {"platform": {"name": "gcp", "config": config}, "model": "m", "deploy": {"alerts": ALERTS}}
    store.resources.create("deployment", "intents", spec)


def test_signals_go_there_once_with_dashboard_and_policies(cloud: VertexAI, store: tuple[Store, Home]) -> None:
    made, home = store
    config, now = cloud.section(metrics=True), time.time()
    deployed(made, config)
    signals = [Signal("intents", "error_rate", now - 60 * n, 0.01 * n, 10) for n in (3, 2, 1)]
    made.signals.append([*signals, Signal("intents", "error_rate", now - 60, 0.5, 5, version="2")])
    assert wanting(made)
    assert send(made, home, now) == 4
    assert send(made, home, now) == 0, "nothing is new"
    series = {dict(key[1])["version"]: points for key, points in cloud.here.of(SERIES).items()}
    assert [round(value, 4) for _, value in series[""]] == [0.03, 0.02, 0.01]
    assert [value for _, value in series["2"]] == [0.5]
    policies = sorted(cloud.here.of(POLICIES).values(), key=lambda row: row.display_name)
    assert [row.display_name for row in policies] == [
        "error_rate > 5% for 5m (deployment intents)",
        "latency.p95_ms >= 300 (deployment intents)",
    ]
    threshold = policies[0].conditions[0].condition_threshold
    assert (threshold.threshold_value, threshold.duration.total_seconds(), threshold.comparison.name) == (0.05, 300.0, "COMPARISON_GT")
    (board,) = cloud.here.of(BOARDS).values()
    assert "error_rate" in [widget.title for widget in board.grid_layout.widgets]
    assert sorted(row.partition(" ")[0] for row in VERTEX.left(home, made.artifacts, config)) == ["alert", "alert", "dashboard"]
    VERTEX.endpoints(home, made.artifacts, config).delete("intents")
    assert VERTEX.left(home, made.artifacts, config) == []


def test_rules_that_changed_replace_their_policies(cloud: VertexAI) -> None:
    made = CloudMonitoring(Google(settings_of(cloud.section())), "gs://a/b")
    old, new = Bound("a > 1", "a", ">", 1.0, 90.0), Bound("a > 2", "a", ">", 2.0, 0.0)
    for bounds in ([old], [old], [new, old], [new]):
        made.show("intents", Face(["a"], bounds))
        assert sorted(row.conditions[0].display_name for row in cloud.here.of(POLICIES).values()) == sorted(b.key for b in bounds)
    made.remove("intents")
    made.remove("intents")
    assert not cloud.here.of(POLICIES)
    assert not cloud.here.of(BOARDS)


def test_points_that_were_sent_before_are_no_error(cloud: VertexAI) -> None:
    made, now = CloudMonitoring(Google(settings_of(cloud.section())), "gs://a/b"), time.time()
    made.put("intents", [Measured("a", 1.0, now)])
    made.put("intents", [Measured("a", 1.0, now), Measured("b", 2.0, now)])
    assert sorted((key[0].rpartition("/")[2], len(points)) for key, points in cloud.here.of(SERIES).items()) == [("a", 1), ("b", 1)]


def test_calls_hold_one_point_of_a_series_the_older_first() -> None:
    points = [Measured("a", 1.0, 3.0), Measured("a", 2.0, 1.0), Measured("b", 3.0, 2.0), Measured("a", 4.0, 2.0, "7")]
    assert [[(p.name, p.version, p.at) for p in batch] for batch in batches(points)] == [
        [("a", "", 1.0), ("b", "", 2.0), ("a", "7", 2.0)],
        [("a", "", 3.0)],
    ]
    assert [len(batch) for batch in batches([Measured(str(n), 0.0, 1.0) for n in range(MOST + 3)])] == [MOST, 3]
    assert list(batches([])) == []


def test_the_emulator_is_strict(cloud: VertexAI) -> None:
    google = Google(settings_of(cloud.section()))
    row = {"metric": {"type": "compute.googleapis.com/x"}, "resource": {"type": "global"}, "points": [{"value": {"double_value": 1.0}}]}
    with pytest.raises(PenstockError, match="no type of a user-defined metric"):
        google.call("Monitoring.CreateTimeSeries", {"name": "projects/penstock-emulated", "time_series": [row]})
    policy = {"display_name": "x", "combiner": "OR", "conditions": [{"display_name": "c", "condition_threshold": {"filter": "x"}}]}
    with pytest.raises(PenstockError, match=r"must name a metric\.type"):
        google.call("Alerts.CreateAlertPolicy", {"name": "projects/penstock-emulated", "alert_policy": policy})
