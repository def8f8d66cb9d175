"""What is measured of a deployment, in CloudWatch (moto): metrics, a dashboard, alarms; nothing twice, nothing left."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.control.outside import bounds_of, send, wanting
from penstock.core.home import Home
from penstock.platforms.contract import EndpointSpec
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.platform import SAGEMAKER
from penstock.platforms.sagemaker.settings import settings_of
from penstock.store.signals import Signal
from penstock.store.store import Store
from penstock.testing.emulators.sagemaker import SageMaker

ALERTS = [
    {"when": "error_rate > 5% for 5m"},
    {"when": "latency.p95_ms >= 300"},
    {"when": "drift.input for 10m"},  # its own limit: only Penstock knows it
    {"when": "error_rate > 1% and latency.p95_ms > 100"},
]


@pytest.fixture
def store(cloud: SageMaker, tmp_path: Path) -> Iterator[tuple[Store, Home]]:
    home = Home.find(tmp_path, {"PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"})
    made = Store.open(home)
    yield made, home
    made.close()


def deployed(store: Store, config: dict[str, Any], alerts: list[dict[str, Any]] = ALERTS) -> Any:
    spec = {"platform": {"name": "aws", "config": config}, "model": "m", "deploy": {"alerts": alerts}}
    return store.resources.create("deployment", "intents", spec)


def test_signals_go_there_once_with_dashboard_and_alarms(cloud: SageMaker, store: tuple[Store, Home]) -> None:
    made, home = store
    config = cloud.section(metrics=True)
    row, now = deployed(made, config), datetime.datetime.now(datetime.UTC).timestamp()
    signals = [Signal("intents", "error_rate", now - 60 * n, 0.01 * n, 10) for n in (3, 2, 1)]
    made.signals.append([*signals, Signal("intents", "error_rate", now - 60, 0.5, 5, version="2")])
    made.signals.append([Signal("intents", "error_rate", now - 60, 0.9, 5, slice="channel=web")])
    assert wanting(made)
    assert send(made, home, now) == 4
    assert send(made, home, now) == 0, "nothing is new"
    aws = Aws(settings_of(config))
    metrics = list(aws.pages("cloudwatch:ListMetrics", "Metrics", Namespace="Penstock"))
    assert {len(row["Dimensions"]) for row in metrics if row["MetricName"] == "error_rate"} == {2, 3}
    alarms = {row["AlarmDescription"]: row for row in aws.pages("cloudwatch:DescribeAlarms", "MetricAlarms")}
    assert sorted(alarms) == ["error_rate > 5% for 5m (deployment intents)", "latency.p95_ms >= 300 (deployment intents)"]
    first = alarms["error_rate > 5% for 5m (deployment intents)"]
    assert (first["Threshold"], first["EvaluationPeriods"], first["ComparisonOperator"]) == (0.05, 5, "GreaterThanThreshold")
    (board,) = [row for row in SAGEMAKER.left(home, made.artifacts, config) if row.startswith("dashboard")]
    told = aws.call("cloudwatch:GetDashboard", DashboardName=board.removeprefix("dashboard "))
    assert told is not None
    assert "error_rate" in [widget["properties"]["title"] for widget in json.loads(told["DashboardBody"])["widgets"]]
    endpoints = SAGEMAKER.endpoints(home, made.artifacts, config)
    endpoints.delete("intents")
    assert SAGEMAKER.left(home, made.artifacts, config) == []
    assert not list(aws.pages("cloudwatch:DescribeAlarms", "MetricAlarms"))
    assert len(bounds_of(row)) == 2


def test_one_that_may_not_is_told_and_holds_nothing_up(
    cloud: SageMaker, store: tuple[Store, Home], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, home = store
    deployed(made, cloud.section(metrics=True))
    made.signals.append([Signal("intents", "error_rate", 1000.0, 0.1, 1)])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("penstock.platforms.remote.retrying.patiently", lambda call, *_, **__: call())
    assert send(made, home, 1001.0) == 0
    assert "AWS was not reached" in caplog.text


def test_only_what_asks_for_it_is_sent(cloud: SageMaker, store: tuple[Store, Home]) -> None:
    made, home = store
    deployed(made, cloud.section())
    assert not wanting(made)
    assert send(made, home, 1.0) == 0
    assert SAGEMAKER.measures(home, made.artifacts, cloud.section()) is None
    SAGEMAKER.endpoints(home, made.artifacts, cloud.section()).apply(EndpointSpec("intents", ()))
