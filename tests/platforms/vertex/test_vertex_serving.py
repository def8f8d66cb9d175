"""A request's way: our gateway, a bridge, a dedicated endpoint, a replica in its container; and the endpoint called directly."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import PenstockError
from penstock.core.home import Home
from penstock.platforms.contract import Endpoints, VersionSpec
from penstock.platforms.remote.sights import EAGER
from penstock.platforms.vertex.endpoints import VertexEndpoints
from penstock.platforms.vertex.google import Google, fresh
from penstock.platforms.vertex.hosting import fleet_of, shares
from penstock.platforms.vertex.platform import VERTEX
from penstock.platforms.vertex.settings import settings_of
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.instances import stop
from penstock.testing.emulators.vertex import VertexAI, operations
from penstock.testing.emulators.vertex.endpoints import KIND
from penstock.testing.emulators.vertex.messages import v1
from penstock.testing.emulators.vertex.project import Project
from penstock.testing.endpoints_suite import bundle, settled
from penstock.testing.hosted_suite import NAME, HostedConformance, brought, spec
from penstock.testing.jobs_suite import until
from penstock.testing.patience import PATIENT_S
from penstock.testing.serving import ECHO
from penstock.testing.wrong_jobs_suite import QUICK


@pytest.fixture
def endpoints(cloud: VertexAI, place: tuple[Home, Artifacts]) -> Iterator[VertexEndpoints]:
    made = VERTEX.endpoints(*place, cloud.section(drain_s=5.0, replica={"engine_class": ECHO}))
    made.google.patience, made.pace, made._sights.pace = QUICK, EAGER, EAGER
    yield made
    made._here.bridges.delete(NAME)


def split(cloud: VertexAI) -> dict[str, tuple[int, int]]:
    """By slot: share of the endpoint's traffic, replicas."""
    (endpoint,) = cloud.here.of(KIND).values()
    given = dict(endpoint.row.traffic_split)
    return {one.row.display_name: (given.get(id_, 0), one.wanted) for id_, one in endpoint.deployed.items() if one.settled}


class TestVertexHosting(HostedConformance):
    platform, machine, lags = VERTEX, "n1-standard-4", "GetEndpoint"
    creates = ("UploadModel", "CreateEndpoint", "DeployModel", "MutateDeployedModel")
    crashed_says, full_says = "Model server exited unexpectedly", "temporarily unavailable"
    internal_says, denied_says = "Internal error", "grant aiplatform.endpoints.predict"
    left = ("endpoint", "model")
    looks, limited = ("GetEndpoint",), ("DeployModel", 4.0)

    def state(self, cloud: VertexAI) -> Project:
        return cloud.here

    def split(self, cloud: VertexAI) -> list[tuple[int, int]]:
        return sorted(split(cloud).values())

    def one_of_each(self, cloud: VertexAI) -> None:
        assert [len(cloud.here.of(kind)) for kind in ("models", "endpoints")] == [1, 1]

    def delete_behind(self, cloud: VertexAI, endpoints: VertexEndpoints) -> None:  # noqa: ARG002
        (endpoint,) = cloud.here.of(KIND).values()
        for deployed in endpoint.deployed.values():
            stop(cloud.here.processes, deployed.replicas)
        cloud.here.of(KIND).clear()

    def deny(self, cloud: VertexAI) -> None:
        cloud.here.identities.denied.add("Invoke")

    def test_shares_and_counts_change_in_place(self, cloud: VertexAI, endpoints: Endpoints, bundles: tuple[str, str]) -> None:
        super().test_shares_and_counts_change_in_place(cloud, endpoints, bundles)
        until(lambda: endpoints.apply(spec(VersionSpec("2", bundles[1], 1, weight=1.0))) or len(cloud.here.of("models")) == 1)


def test_faults_while_one_version_follows_another(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    one, two = bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")
    settled(endpoints, spec(VersionSpec("1", one, 1)))
    for method in ("UploadModel", "DeployModel", "UndeployModel", "UpdateEndpoint"):
        cloud.here.faults.plan("lose_answer", method)
        cloud.here.faults.plan("throttle", method)
    wish = spec(VersionSpec("2", two, 1))
    settled(endpoints, wish)
    brought(endpoints, wish, lambda: list(split(cloud).values()) == [(100, 1)])
    assert cloud.here.faults.next("UndeployModel") is None, "all of them were met"


def test_the_endpoint_answers_others_too(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    one, two = bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")
    wish = spec(VersionSpec("1", one, 1, weight=0.0), VersionSpec("2", two, 1, weight=1.0))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or sorted(split(cloud).values()) == [(0, 1), (100, 1)])
    (name,) = cloud.here.of(KIND)
    url = f"http://{cloud.here.dns}/v1/{name}/invoke/v1/completions"
    headers = {"authorization": f"Bearer {fresh().token}"}
    asked = partial(httpx.post, timeout=PATIENT_S)
    answer = asked(url, json={"model": NAME, "prompt": "a b", "max_tokens": 2}, headers=headers)
    assert answer.json()["choices"][0]["text"] == "a b "
    health = asked(f"http://{cloud.here.dns}/v1/{name}/invoke/healthz", json={}, headers=headers)
    assert health.json()["digest"] == two, "the split is the endpoint's own too"
    assert asked(url, json={}).status_code == 401
    nobody = asked(f"http://{cloud.here.dns}/v1/{name}/deployedModels/7/invoke/healthz", json={}, headers=headers)
    assert (nobody.status_code, nobody.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_vertex_may_count_the_replicas(cloud: VertexAI, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    bounds = {"min": 1, "max": 3, "cpu": 70}
    endpoints = VERTEX.endpoints(*place, cloud.section(drain_s=5.0, replica={"engine_class": ECHO}, autoscale=bounds))
    settled(endpoints, spec(VersionSpec("1", bundle(endpoints.artifacts, tmp_path, "one"), 1)))
    (endpoint,) = cloud.here.of(KIND).values()
    (deployed,) = endpoint.deployed.values()
    resources = deployed.row.dedicated_resources
    assert (resources.min_replica_count, resources.max_replica_count) == (1, 3)
    assert [(m.metric_name.rpartition("online/")[2], m.target) for m in resources.autoscaling_metric_specs] == [("cpu/utilization", 70)]
    endpoints.delete(NAME)


def test_of_two_versions_nothing_is_left(
    cloud: VertexAI, endpoints: VertexEndpoints, place: tuple[Home, Artifacts], tmp_path: Path
) -> None:
    one, two = bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")
    settled(endpoints, spec(VersionSpec("1", one, 1)))
    wish = spec(VersionSpec("1", one, 1), VersionSpec("2", two, 1))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or sorted(split(cloud).values()) == [(50, 1), (50, 1)])
    left = VERTEX.left(*place, cloud.section())
    assert [row.rpartition(" ")[0] for row in left] == ["endpoint", "model", "model"]
    endpoints.delete(NAME)
    assert VERTEX.left(*place, cloud.section()) == []
    assert endpoints.observe(NAME).replicas == ()
    until(lambda: not cloud.here.processes.left())


def test_the_emulator_is_strict(cloud: VertexAI, monkeypatch: pytest.MonkeyPatch) -> None:
    google = Google(settings_of(cloud.section()), QUICK)
    parent, image = cloud.here.parent, cloud.section()["image"]
    google.call("EndpointService.CreateEndpoint", {"parent": parent, "endpoint_id": "e1", "endpoint": {"display_name": "e"}})
    with pytest.raises(PenstockError, match="already exists"):
        google.call("EndpointService.CreateEndpoint", {"parent": parent, "endpoint_id": "e1", "endpoint": {"display_name": "e"}})
    container = {"image_uri": image, "invoke_route_prefix": "/*"}
    model = {"parent": parent, "model_id": "m1", "model": {"display_name": "m", "container_spec": container}}
    google.call("ModelService.UploadModel", model)
    both = {"display_name": "m", "container_spec": {**container, "predict_route": "/predict"}}
    with pytest.raises(PenstockError, match="Only one of predict_route and invoke_route_prefix"):
        google.call("ModelService.UploadModel", {"parent": parent, "model_id": "m2", "model": both})
    resources = {"machine_spec": {"machine_type": "n1-standard-4"}, "min_replica_count": 1}
    deployed = {"id": "1234", "model": f"{parent}/models/m1", "dedicated_resources": resources}
    ask = {"endpoint": f"{parent}/endpoints/e1", "deployed_model": deployed, "traffic_split": {"0": 100}}
    with pytest.raises(PenstockError, match="can only be deployed to a dedicated endpoint"):
        google.call("EndpointService.DeployModel", ask)
    dedicated = {"display_name": "e", "dedicated_endpoint_enabled": True}
    google.call("EndpointService.CreateEndpoint", {"parent": parent, "endpoint_id": "e2", "endpoint": dedicated})
    there = {**ask, "endpoint": f"{parent}/endpoints/e2"}
    with pytest.raises(PenstockError, match="must sum to 100, not 90"):
        google.call("EndpointService.DeployModel", {**there, "traffic_split": {"0": 90}})
    none = {**deployed, "dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-4"}}}
    with pytest.raises(PenstockError, match="min_replica_count; Message: Required"):
        google.call("EndpointService.DeployModel", {**there, "deployed_model": none})
    with monkeypatch.context() as still:  # the container has no bundle and ends soon: not before this was asked
        still.setattr(operations, "settle_all", lambda _: None)
        operation = google.call("EndpointService.DeployModel", there).operation.name
        with pytest.raises(PenstockError, match="is deployed or being deployed"):
            google.call("ModelService.DeleteModel", {"name": f"{parent}/models/m1"})
        with pytest.raises(PenstockError, match="still has deployed models"):
            google.call("EndpointService.DeleteEndpoint", {"name": f"{parent}/endpoints/e2"})
    over = until(lambda: (found := google.call("EndpointService.GetOperation", {"name": operation})).done and found)
    assert "exited unexpectedly" in over.error.message, "the model has no bundle"
    google.call("EndpointService.DeleteEndpoint", {"name": f"{parent}/endpoints/e2"})


def test_a_deployed_model_without_a_status_is_whole() -> None:
    resources = {"min_replica_count": 2, "max_replica_count": 3}
    assert fleet_of(v1.DeployedModel({"id": "1", "dedicated_resources": resources})).up == 2
    assert fleet_of(v1.DeployedModel({"id": "1", "dedicated_resources": resources, "status": {"message": "none yet"}})).up == 0


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1e6), max_size=8))
def test_shares_are_whole_and_sum_to_100(weights: dict[str, float]) -> None:
    found = shares(weights)
    assert sum(found.values()) == (100 if weights else 0)
    total = sum(weights.values())
    assert total == 0 or all(abs(found[name] - 100 * weight / total) < 1 for name, weight in weights.items())
