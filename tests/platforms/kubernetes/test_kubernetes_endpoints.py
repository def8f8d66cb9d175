"""Endpoints on an emulated cluster: the whole Endpoints suite, with pods that run `penstock replica`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import PlatformLacks
from penstock.core.home import Home
from penstock.platforms.contract import Endpoints, EndpointSpec, VersionSpec
from penstock.platforms.kubernetes.api import Api
from penstock.platforms.kubernetes.endpoints import KubernetesEndpoints
from penstock.platforms.kubernetes.platform import KUBERNETES
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.emulators.kubernetes.rules import unrestricted
from penstock.testing.endpoints_suite import EndpointsConformance, bundle, desired, settled
from penstock.testing.jobs_suite import until
from penstock.testing.serving import ECHO

REPLICA = {"PENSTOCK_REPLICA": json.dumps({"engine_class": ECHO})}


class TestKubernetesEndpoints(EndpointsConformance):
    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:
        return KUBERNETES.endpoints(home, artifacts, self.cluster.settings(home.folder, environment=REPLICA))

    def kill(self, endpoints: Endpoints, home: Home, name: str, id_: str) -> None:  # noqa: ARG002 (as the suite has it)
        self.cluster.crash(id_.partition(".")[0])


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[Cluster, KubernetesEndpoints, Home, str]]:
    home = Home.find(tmp_path, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    made = KUBERNETES.endpoints(home, artifacts, cluster.settings(home.folder, environment=REPLICA))
    yield cluster, made, home, bundle(artifacts, tmp_path, "one")
    made.close()


Placed = tuple[Cluster, KubernetesEndpoints, Home, str]


def test_what_is_as_it_should_be_asks_the_cluster_nothing(place: Placed) -> None:
    cluster, endpoints, _, one = place
    spec = desired(("1", one, 1))
    settled(endpoints, spec)
    time.sleep(0.5)
    asked = len(cluster.api.seen)
    for _ in range(50):
        endpoints.apply(spec)
        endpoints.observe(spec.name)
    assert len(cluster.api.seen) == asked
    endpoints.delete(spec.name)


def test_an_endpoint_has_all_that_keeps_it_and_leaves_nothing(place: Placed) -> None:
    cluster, endpoints, home, one = place
    settled(endpoints, desired(("1", one, 1)))
    artifacts = Artifacts(home.artifacts_url, home.cache)
    settings = cluster.settings(home.folder)
    kinds = [name.partition(" ")[0] for name in KUBERNETES.left(home, artifacts, settings)]
    assert sorted(kinds) == ["Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"]
    pod = cluster.pods()[0]
    assert unrestricted(pod["spec"]) == []
    container = pod["spec"]["containers"][0]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    assert container["resources"]["requests"] == {"cpu": "1000m", "memory": str(2 << 30)}
    policy = cluster.world.all("NetworkPolicy")[0]["spec"]
    assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 8080}]
    endpoints.delete("intents")
    assert KUBERNETES.left(home, artifacts, settings) == []
    until(lambda: not any(cluster.world.all(kind) for kind in ("Pod", "ReplicaSet")))


def test_parts_that_were_deleted_or_changed_behind_our_back_are_put_right(place: Placed) -> None:
    cluster, endpoints, _, one = place
    spec = desired(("1", one, 1))
    settled(endpoints, spec)
    name = cluster.world.all("Deployment")[0]["metadata"]["name"]
    api = Api("default", str(cluster.kubeconfig))
    api.merge("Deployment", name, {"spec": {"replicas": 0}})
    until(lambda: not cluster.pods())
    settled(endpoints, spec)
    api.delete("Deployment", name)
    api.delete("NetworkPolicy", cluster.world.all("NetworkPolicy")[0]["metadata"]["name"])
    until(lambda: not cluster.pods())
    settled(endpoints, spec)
    assert cluster.world.all("NetworkPolicy")
    endpoints.delete(spec.name)


def test_a_replica_that_cannot_serve_says_why(place: Placed) -> None:
    _, endpoints, _, _ = place
    spec = desired(("1", "sha256:" + "0" * 64, 1))
    endpoints.apply(spec)
    failed = until(lambda: next((r for r in endpoints.observe(spec.name).replicas if r.phase == "failed"), None))
    assert "artifact" in str(failed.error)
    assert failed.version == "1"
    endpoints.delete(spec.name)


def test_a_spot_node_that_goes_takes_no_endpoint_down(place: Placed) -> None:
    cluster, endpoints, _, one = place
    spec = desired(("1", one, 2))
    before = {replica.id for replica in settled(endpoints, spec)}
    cluster.add_node("general-2")
    cluster.take_node("general-1")
    until(lambda: not before & {r.id for r in endpoints.observe(spec.name).replicas})
    after = settled(endpoints, spec)
    assert all(pod["spec"]["nodeName"] == "general-2" for pod in cluster.pods())
    assert len(after) == 2
    endpoints.delete(spec.name)


def test_settings_of_the_engine_roll_pod_by_pod(place: Placed) -> None:
    _, endpoints, _, one = place
    first = settled(endpoints, desired(("1", one, 1)))
    changed = EndpointSpec("intents", (VersionSpec("1", one, 1),), {"threads": 1})
    endpoints.apply(changed)
    ready = [True]

    def rolled() -> bool:
        replicas = endpoints.observe("intents").replicas
        ready.append(any(r.phase == "ready" for r in replicas))
        return first[0].id not in {r.id for r in replicas if r.phase == "ready"}

    until(rolled)
    assert all(ready), "there was always one that served"
    endpoints.delete("intents")


def test_a_store_on_this_machine_needs_a_volume(cluster: Cluster, tmp_path: Path) -> None:
    home = Home.find(tmp_path, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    settings = {k: v for k, v in cluster.settings(home.folder).items() if k != "volume"}
    with pytest.raises(PlatformLacks, match="pods cannot reach the artifact store"):
        KUBERNETES.endpoints(home, artifacts, settings).apply(desired(("1", "sha256:" + "0" * 64, 1)))


@pytest.mark.thorough
class TestKServeEndpoints(EndpointsConformance):
    """The same through InferenceServices, where KServe is installed."""

    @pytest.fixture(autouse=True)
    def _cluster(self, clusters: Callable[..., Cluster], crd_folder: Path) -> None:
        self.cluster = clusters(crds=crd_folder)

    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:
        return KUBERNETES.endpoints(home, artifacts, self.cluster.settings(home.folder, environment=REPLICA, serve="kserve"))

    def kill(self, endpoints: Endpoints, home: Home, name: str, id_: str) -> None:  # noqa: ARG002 (as the suite has it)
        self.cluster.crash(id_.partition(".")[0])


@pytest.mark.parametrize(
    ("autoscale", "kind"),
    [
        ("hpa", "HorizontalPodAutoscaler"),
        ("keda", "ScaledObject"),
        ({"by": "keda", "prometheus": "http://prometheus:9090", "most": 3}, "ScaledObject"),
    ],
)
def test_others_may_count_the_replicas(
    autoscale: Any, kind: str, clusters: Callable[..., Cluster], crd_folder: Path, tmp_path: Path
) -> None:
    cluster, home = clusters(crds=crd_folder), Home.find(tmp_path, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    settings = cluster.settings(home.folder, environment=REPLICA, autoscale=autoscale)
    endpoints = KUBERNETES.endpoints(home, artifacts, settings)
    spec = desired(("1", bundle(artifacts, tmp_path, "one"), 1))
    settled(endpoints, spec)
    counter = cluster.world.all(kind)[0]
    name = counter["spec"]["scaleTargetRef"]["name"]
    assert name == cluster.world.all("Deployment")[0]["metadata"]["name"]
    Api("default", str(cluster.kubeconfig)).merge("Deployment", name, {"spec": {"replicas": 2}})
    until(lambda: len([r for r in endpoints.observe("intents").replicas if r.phase == "ready"]) == 2)
    endpoints.apply(spec)
    time.sleep(0.3)
    assert len(cluster.pods()) == 2, "what the autoscaler counted stays"
    assert endpoints.observe("intents").counted
    endpoints.delete("intents")
    assert KUBERNETES.left(home, artifacts, settings) == []
    endpoints.close()


def test_what_is_not_installed_is_told(cluster: Cluster, tmp_path: Path) -> None:
    home = Home.find(tmp_path, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    for more, what in (({"serve": "kserve"}, "KServe"), ({"autoscale": "keda"}, "KEDA")):
        endpoints = KUBERNETES.endpoints(home, artifacts, cluster.settings(home.folder, **more))
        with pytest.raises(PlatformLacks, match=f"{what} is not installed"):
            endpoints.apply(desired(("1", "sha256:" + "0" * 64, 1)))
        endpoints.close()
