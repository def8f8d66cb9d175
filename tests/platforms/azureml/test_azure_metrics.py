"""What is measured of a deployment, in Azure Monitor: values, a dashboard, alert rules; nothing twice, nothing left."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.control.outside import send, wanting
from penstock.core.errors import BadInput
from penstock.core.home import Home
from penstock.platforms.azureml.arm import Arm
from penstock.platforms.azureml.metrics import AzureMonitor
from penstock.platforms.azureml.platform import AZUREML
from penstock.platforms.measures import Bound, Face, Measured
from penstock.spec.platforms.azureml import AzureMLPlatform
from penstock.store.signals import Signal
from penstock.store.store import Store
from penstock.testing.emulators.azure import Azure, monitor

ALERTS = [{"when": "error_rate > 5% for 5m"}, {"when": "latency.p95_ms >= 300"}, {"when": "drift.input for 10m"}]


@pytest.fixture
def store(cloud: Azure, tmp_path: Path) -> Iterator[tuple[Store, Home]]:  # noqa: ARG001 (its environment)
    home = Home.find(tmp_path, {})
    made = Store.open(home)
    yield made, home
    made.close()


def deployed(store: Store, config: dict[str, Any], alerts: list[dict[str, Any]]) -> Any:
    spec = {"platform": {"name": "azure", "config": config}, "model": "m", "deploy": {"alerts": alerts}}
    return store.resources.create("deployment", "intents", spec)


def test_signals_go_there_once_with_dashboard_and_rules(cloud: Azure, store: tuple[Store, Home]) -> None:
    made, home = store
    config = cloud.section(metrics=True)
    deployed(made, config, ALERTS)
    now = datetime.datetime.now(datetime.UTC).timestamp()
    made.signals.append([Signal("intents", "error_rate", now - 60 * n, 0.01 * n, 10) for n in (3, 2, 1)])
    made.signals.append([Signal("intents", "error_rate", now - 60, 0.5, 5, version="2")])
    assert wanting(made)
    assert send(made, home, now) == 4
    assert send(made, home, now) == 0, "nothing is new"
    values = list(cloud.workspace.of(monitor.METRICS).values())
    assert sorted((one.dimensions["version"], one.value) for one in values) == [("2", 0.5), ("all", 0.01), ("all", 0.02), ("all", 0.03)]
    rules = {row["properties"]["description"]: row["properties"] for row in cloud.workspace.of(monitor.ALARMS).values()}
    assert sorted(rules) == ["error_rate > 5% for 5m (deployment intents)", "latency.p95_ms >= 300 (deployment intents)"]
    first = rules["error_rate > 5% for 5m (deployment intents)"]
    (criterion,) = first["criteria"]["allOf"]
    assert (first["windowSize"], criterion["threshold"], criterion["operator"]) == ("PT5M", 0.05, "GreaterThan")
    left = AZUREML.left(home, made.artifacts, config)
    assert [row.rpartition(" ")[0] for row in left] == ["alert rule", "alert rule", "dashboard"]
    AZUREML.endpoints(home, made.artifacts, config).delete("intents")
    assert AZUREML.left(home, made.artifacts, config) == []


def test_rules_that_are_no_more_go_and_old_values_stay_here(cloud: Azure) -> None:
    arm = Arm(AzureMLPlatform.model_validate(cloud.section(metrics=True)))
    service = AzureMonitor(arm, "store")
    bounds = [Bound(f"a > {n}", "a", ">", float(n), for_s) for n, for_s in ((1, 0.0), (2, 400.0), (3, 1e9))]
    service.show("intents", Face(["a", "b", "c"], bounds))
    assert sorted(row["properties"]["windowSize"] for row in cloud.workspace.of(monitor.ALARMS).values()) == ["P1D", "PT15M", "PT1M"]
    service.show("intents", Face(["a"], bounds[:1]))
    assert len(cloud.workspace.of(monitor.ALARMS)) == 1
    now = cloud.workspace.clock()
    service.put("intents", [Measured("a", 1.0, now), Measured("a", 2.0, now - 3600)])
    assert [one.value for one in cloud.workspace.of(monitor.METRICS).values()] == [1.0]
    with pytest.raises(BadInput, match="within 20 minutes"):
        AzureMonitor(arm, "store", clock=lambda: 0.0).put("intents", [Measured("a", 2.0, now - 3600)])
