"""What a cluster's monitoring finds of a deployment: rules that Prometheus takes, monitors, dashboards; applied once, and nothing left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.control.leaving import leave_platforms
from penstock.control.outside import SHOWN_S, face_of, send, wanting
from penstock.core.errors import PlatformLacks
from penstock.core.home import Home
from penstock.platforms.kubernetes.endpoint_manifests import ENDPOINT
from penstock.platforms.kubernetes.platform import KUBERNETES
from penstock.spec.platforms.kubernetes import KubernetesPlatform
from penstock.store.store import Store
from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.emulators.kubernetes.schemas import MONITORING
from penstock.testing.endpoints_suite import bundle, desired
from penstock.testing.prometheus import NO_PROMETHEUS, PROMTOOL

ALERTS = [{"when": "error_rate > 5% for 5m"}, {"when": "drift.input for 10m"}, {"when": "error_rate > 1% and latency.p95_ms > 100"}]
METRICS = {"labels": {"release": "stack"}, "namespace": "monitoring"}
NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Store, Home]]:
    home = Home.find(tmp_path, {})
    made = Store.open(home)
    yield made, home
    made.close()


@pytest.fixture
def cluster(clusters: Callable[..., Cluster]) -> Cluster:
    return clusters(crds=MONITORING)


def deployed(store: Store, config: dict[str, Any], name: str = "intents") -> Any:
    deploy: dict[str, Any] = {"alerts": ALERTS, "strategy": {"canary": ["5%", "100%"], "hold": "2m"}}
    deploy["rollback_when"] = ["error_rate > 2%"]
    return store.resources.create("deployment", name, {"platform": {"name": "k8s", "config": config}, "model": "m", "deploy": deploy})


def there(cluster: Cluster, *kinds: str) -> dict[str, dict[str, Any]]:
    return {f"{kind} {row['metadata']['name']}": row for kind in kinds for row in cluster.world.all(kind)}


def changes(cluster: Cluster) -> int:
    return sum(method != "GET" for method, _ in cluster.api.seen)


ALL = ("PrometheusRule", "PodMonitor", "ConfigMap")


def test_rules_monitor_and_dashboards_are_there_once_and_nothing_stays(cluster: Cluster, store: tuple[Store, Home]) -> None:
    made, home = store
    config = cluster.settings(home.folder, metrics=METRICS)
    deployed(made, config)
    assert wanting(made)
    send(made, home, NOW)
    found = there(cluster, *ALL)
    own = next(value for name, value in found.items() if name.startswith("PrometheusRule penstock-intents-"))
    assert (
        own["metadata"]["labels"].items() >= {"release": "stack", ENDPOINT: "intents", "app.kubernetes.io/managed-by": "penstock"}.items()
    )
    (group,) = own["spec"]["groups"]
    alerts = {rule["alert"] for rule in group["rules"] if "alert" in rule}
    assert alerts == {*(rule["when"] for rule in ALERTS), "rollback: error_rate > 2%"}
    (monitor,) = [value for name, value in found.items() if name.startswith("PodMonitor")]
    assert monitor["spec"] == {
        "selector": {"matchLabels": {ENDPOINT: "intents"}},
        "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
    }
    (boards,) = [value for name, value in found.items() if name.startswith("ConfigMap")]
    assert boards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {json.loads(text)["uid"] for text in boards["data"].values()} == {"penstock-deployment", "penstock-signals"}
    assert len(found) == 4, "and the rules about Penstock itself"
    before = changes(cluster)
    send(made, home, NOW + 60)
    send(made, home, NOW + SHOWN_S + 1)
    assert changes(cluster) == before, "shown again and found as it should be"
    endpoints = KUBERNETES.endpoints(home, made.artifacts, config)
    assert {name.partition(" ")[0] for name in KUBERNETES.left(home, made.artifacts, config)} == set(ALL)
    endpoints.delete("intents")
    endpoints.close()
    assert there(cluster, *ALL) == {}
    assert KUBERNETES.left(home, made.artifacts, config) == []


@pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMETHEUS)
def test_prometheus_takes_the_rules(cluster: Cluster, store: tuple[Store, Home], tmp_path: Path) -> None:
    made, home = store
    deployed(made, cluster.settings(home.folder, metrics=True))
    send(made, home, NOW)
    rules = cluster.world.all("PrometheusRule")
    assert {group["name"] for rule in rules for group in rule["spec"]["groups"]} == {"penstock-intents", "penstock"}
    for number, rule in enumerate(rules):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump({"groups": rule["spec"]["groups"]}))
        done = subprocess.run([str(PROMTOOL), "check", "rules", str(file)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "SUCCESS" in done.stdout


def test_what_was_changed_or_deleted_by_hand_comes_back_and_a_changed_file_is_followed(cluster: Cluster, store: tuple[Store, Home]) -> None:
    made, home = store
    config = cluster.settings(home.folder, metrics=METRICS)
    row = deployed(made, config)
    send(made, home, NOW)
    measures = KUBERNETES.measures(home, made.artifacts, config)
    assert measures is not None
    kept = there(cluster, *ALL)
    name = next(name for name in kept if name.startswith("PrometheusRule penstock-intents-")).partition(" ")[2]
    measures.api.delete("PodMonitor", name)
    measures.api.merge("PrometheusRule", name, {"spec": {"groups": []}})
    send(made, home, NOW + SHOWN_S + 1)
    assert {key: value["spec"] for key, value in there(cluster, *ALL).items() if "spec" in value} == {
        key: value["spec"] for key, value in kept.items() if "spec" in value
    }
    plain = KUBERNETES.measures(home, made.artifacts, {**config, "metrics": {"labels": {}}})
    assert plain is not None
    plain.show("intents", replace(face_of(row), rules=[{"name": "one", "rules": []}]))
    assert there(cluster, "PodMonitor") == {}, "no namespace may read the replicas any more"
    assert there(cluster, "PrometheusRule")[f"PrometheusRule {name}"]["spec"] == {"groups": [{"name": "one", "rules": []}]}


def test_what_all_share_goes_with_the_last_and_comes_back_after_down(cluster: Cluster, store: tuple[Store, Home]) -> None:
    made, home = store
    config = cluster.settings(home.folder, metrics=METRICS)
    for name in ("intents", "answers"):
        deployed(made, config, name)
    send(made, home, NOW)
    assert len(there(cluster, *ALL)) == 6
    endpoints = KUBERNETES.endpoints(home, made.artifacts, config)
    endpoints.delete("answers")
    endpoints.close()
    assert len(there(cluster, *ALL)) == 4
    told = leave_platforms(home)
    assert (told["left"], told["unknown"]) == ([], [])
    assert there(cluster, *ALL) == {}
    send(made, home, NOW + 60)
    assert len(there(cluster, *ALL)) == 6, "both are deployments still, and are shown again where they come back"


def test_a_cluster_without_the_operator_refuses_at_once(
    clusters: Callable[..., Cluster], store: tuple[Store, Home], tmp_path: Path
) -> None:
    made, home = store
    config = clusters().settings(home.folder, metrics=True)
    endpoints = KUBERNETES.endpoints(home, made.artifacts, config)
    with pytest.raises(PlatformLacks, match="prometheus-operator is not installed in this cluster"):
        endpoints.apply(desired(("1", bundle(made.artifacts, tmp_path, "one"), 1)))
    deployed(made, config)
    assert send(made, home, NOW) == 0, "told in the log, and no harm to others"
    endpoints.delete("intents")
    endpoints.close()


@pytest.mark.parametrize(("asked", "read"), [(True, {"labels": {}, "namespace": None}), (False, None), (METRICS, METRICS)])
def test_what_may_be_written(asked: Any, read: Any) -> None:
    found = KubernetesPlatform.model_validate({"kind": "kubernetes", "image": "i", "metrics": asked}).metrics
    assert (None if found is None else found.model_dump()) == read


def test_prometheus_may_reach_replicas_from_where_it_runs(cluster: Cluster, store: tuple[Store, Home], tmp_path: Path) -> None:
    made, home = store
    settings = cluster.settings(home.folder, metrics=METRICS)
    endpoints = KUBERNETES.endpoints(home, made.artifacts, settings)
    endpoints.apply(desired(("1", bundle(made.artifacts, tmp_path, "one"), 0)))
    inwards = cluster.world.all("NetworkPolicy")[0]["spec"]["ingress"][0]["from"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}} in inwards
    endpoints.delete("intents")
    endpoints.close()
