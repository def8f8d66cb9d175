"""A request's way: our gateway, a bridge, a dedicated endpoint, a replica in its container; and the endpoint called directly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.cloud.aiplatform_v1 import DeployedModel
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import PenstockError
from penstock.core.home import Home
from penstock.platforms.contract import EndpointSpec, ReplicaState, VersionSpec
from penstock.platforms.remote.retrying import Patience
from penstock.platforms.vertex.endpoints import VertexEndpoints
from penstock.platforms.vertex.google import Google
from penstock.platforms.vertex.hosting import fleet_of, shares
from penstock.platforms.vertex.invoking import fresh
from penstock.platforms.vertex.platform import VERTEX
from penstock.platforms.vertex.settings import settings_of
from penstock.serving.snapshot import ModelRoute, ReplicaRoute, Snapshot, VersionRoute
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.vertex import VertexAI, operations
from penstock.testing.emulators.vertex.endpoints import KIND
from penstock.testing.endpoints_suite import bundle, settled
from penstock.testing.jobs_suite import until
from penstock.testing.serving import ECHO, KEY, RunningGateway, Stage

NAME = "intents"
QUICK = Patience(attempts=4, first_s=0.01, longest_s=0.02)


@pytest.fixture
def endpoints(cloud: VertexAI, place: tuple[Home, Artifacts]) -> Iterator[VertexEndpoints]:
    made = VERTEX.endpoints(*place, cloud.section(drain_s=5.0, replica={"engine_class": ECHO}))
    made.google.patience = QUICK
    yield made
    made._here.bridges.delete(NAME)


def spec(*versions: VersionSpec, **settings: Any) -> EndpointSpec:
    return EndpointSpec(NAME, versions, settings)


def gateway_to(folder: Path, replicas: list[ReplicaState]) -> tuple[Stage, RunningGateway]:
    stage = Stage(folder)
    by_version: dict[str, list[ReplicaRoute]] = {}
    for replica in replicas:
        host, _, port = str(replica.address).rpartition(":")
        by_version.setdefault(replica.version, []).append(ReplicaRoute(replica.id, host, int(port)))
    routes = tuple(VersionRoute(v, "sha256:" + "0" * 64, 1 / len(by_version), tuple(found)) for v, found in by_version.items())
    return stage, stage.gateway(Snapshot(1, (ModelRoute(NAME, "text-generation", routes),), (KEY,)))


def split(cloud: VertexAI) -> dict[str, tuple[int, int]]:
    """By slot: share of the endpoint's traffic, replicas."""
    (endpoint,) = cloud.here.of(KIND).values()
    given = dict(endpoint.row.traffic_split)
    return {one.row.display_name: (given.get(id_, 0), one.wanted) for id_, one in endpoint.deployed.items() if one.settled}


def failed(endpoints: VertexEndpoints, wish: EndpointSpec) -> list[ReplicaState]:
    endpoints.apply(wish)
    return [r for r in endpoints.observe(NAME).replicas if r.phase == "failed"]


def test_a_request_goes_there_and_back(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    one, two = bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")
    wish = spec(VersionSpec("1", one, 1, weight=0.95), VersionSpec("2", two, 1, weight=0.05))
    ready = settled(endpoints, wish)
    stage, gateway = gateway_to(tmp_path, ready)
    with stage:
        answer = gateway.ask(model=NAME, prompt="a b c", max_tokens=3)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["text"].split() == ["a", "b", "c"]
        for version in ("1", "2"):
            assert gateway.ask({"x-penstock-version": version}, model=NAME).headers["x-penstock-version"] == version
        events, whole = gateway.stream(model=NAME, max_tokens=20)
        assert whole
        assert events.count(b"data: ") >= 20
        wrong = gateway.ask(model=NAME, promt="a")
        assert (wrong.status_code, "promt" in wrong.text) == (400, True), "the replica's own refusal comes through"
        assert gateway.records(4)[0]["model"] == NAME
    until(lambda: endpoints.apply(wish) or sorted(split(cloud).values()) == [(5, 1), (95, 1)])


def test_the_endpoint_answers_others_too(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    one, two = bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")
    wish = spec(VersionSpec("1", one, 1, weight=0.0), VersionSpec("2", two, 1, weight=1.0))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or sorted(split(cloud).values()) == [(0, 1), (100, 1)])
    (name,) = cloud.here.of(KIND)
    url = f"http://{cloud.here.dns}/v1/{name}/invoke/v1/completions"
    headers = {"authorization": f"Bearer {fresh().token}"}
    answer = httpx.post(url, json={"model": NAME, "prompt": "a b", "max_tokens": 2}, headers=headers)
    assert answer.json()["choices"][0]["text"] == "a b "
    health = httpx.post(f"http://{cloud.here.dns}/v1/{name}/invoke/healthz", json={}, headers=headers)
    assert health.json()["digest"] == two, "the split is the endpoint's own too"
    assert httpx.post(url, json={}).status_code == 401
    nobody = httpx.post(f"http://{cloud.here.dns}/v1/{name}/deployedModels/7/invoke/healthz", json={}, headers=headers)
    assert (nobody.status_code, nobody.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_shares_and_counts_change_in_place(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    one, two = bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")
    settled(endpoints, spec(VersionSpec("1", one, 1, weight=0.95), VersionSpec("2", two, 1, weight=0.05)))
    wish = spec(VersionSpec("1", one, 1, weight=0.25), VersionSpec("2", two, 2, weight=0.75))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or sorted(split(cloud).values()) == [(25, 1), (75, 2)])
    wish = spec(VersionSpec("2", two, 1, weight=1.0))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or list(split(cloud).values()) == [(100, 1)])
    until(lambda: endpoints.apply(wish) or len(cloud.here.of("models")) == 1)


def test_a_version_that_cannot_start_leaves_the_old_one_alone(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    (old,) = settled(endpoints, spec(VersionSpec("1", one, 1)))
    wish = spec(VersionSpec("1", one, 1), VersionSpec("2", "sha256:" + "9" * 64, 1))
    (broken,) = until(lambda: failed(endpoints, wish))
    assert broken.version == "2"
    assert "Model server exited unexpectedly" in str(broken.error)
    assert [r.id for r in endpoints.observe(NAME).replicas if r.phase == "ready"] == [old.id]
    tried = cloud.here.processes.made.copy()
    for _ in range(5):
        endpoints.apply(wish)
    assert cloud.here.processes.made == tried, "not tried again at once"
    real = endpoints.clock
    endpoints.clock = lambda: real() + 60
    until(lambda: endpoints.apply(wish) or len(cloud.here.processes.made) > len(tried))
    assert list(split(cloud).values()) == [(100, 1)]


def test_no_machine_is_free_and_then_one_is(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    cloud.here.dry.add("n1-standard-4")
    wish = spec(VersionSpec("1", one, 1))
    (none,) = until(lambda: failed(endpoints, wish))
    assert "temporarily unavailable" in str(none.error)
    cloud.here.dry.clear()
    real = endpoints.clock
    endpoints.clock = lambda: real() + 60
    assert len(settled(endpoints, wish)) == 1
    assert endpoints.observe(NAME).replicas[0].error is None


def test_faults_between_the_calls_leave_one_of_each(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    one, two = bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")
    faults = cloud.here.faults
    for method in ("UploadModel", "CreateEndpoint", "DeployModel", "MutateDeployedModel", "UndeployModel", "UpdateEndpoint"):
        faults.plan("lose_answer", method)
        faults.plan("throttle", method)
    settled(endpoints, spec(VersionSpec("1", one, 1)))
    settled(endpoints, spec(VersionSpec("1", one, 2)))
    assert [len(cloud.here.of(kind)) for kind in ("models", "endpoints")] == [1, 1]
    wish = spec(VersionSpec("2", two, 1))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or list(split(cloud).values()) == [(100, 1)])
    faults.planned.clear()
    faults.plan("internal", times=1000)
    with pytest.raises(PenstockError, match="Internal error"):
        endpoints.apply(wish)
    faults.planned.clear()
    assert len(settled(endpoints, wish)) == 1


def test_an_answer_that_lags_behind_takes_nothing_away(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    wish = spec(VersionSpec("1", bundle(endpoints.artifacts, tmp_path, "one"), 1))
    (before,) = settled(endpoints, wish)
    cloud.here.faults.plan("unseen", "GetEndpoint")
    endpoints.apply(wish)
    assert [(r.id, r.phase) for r in endpoints.observe(NAME).replicas] == [(before.id, "ready")]


def test_an_endpoint_deleted_behind_our_back_comes_back(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    wish = spec(VersionSpec("1", one, 1))
    (before,) = settled(endpoints, wish)
    (endpoint,) = cloud.here.of(KIND).values()
    for deployed in endpoint.deployed.values():
        for replica in deployed.replicas:
            cloud.here.processes.stop(replica.container)
    cloud.here.of(KIND).clear()
    until(lambda: endpoints.apply(wish) or before.id not in {r.id for r in endpoints.observe(NAME).replicas if r.phase == "ready"})
    assert len(settled(endpoints, wish)) == 1


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


def test_nothing_is_left(cloud: VertexAI, endpoints: VertexEndpoints, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
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


def test_it_goes_while_it_is_being_made(cloud: VertexAI, endpoints: VertexEndpoints, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    wish = spec(VersionSpec("1", bundle(endpoints.artifacts, tmp_path, "one"), 1))
    until(lambda: endpoints.apply(wish) or any(one.deployed for one in cloud.here.of(KIND).values()))
    endpoints.delete(NAME)
    assert VERTEX.left(*place, cloud.section()) == []


def test_who_may_not_invoke_is_told(cloud: VertexAI, endpoints: VertexEndpoints, tmp_path: Path) -> None:
    cloud.here.identities.denied.add("Invoke")
    wish = spec(VersionSpec("1", bundle(endpoints.artifacts, tmp_path, "one"), 1))
    (told,) = until(lambda: failed(endpoints, wish))
    assert "grant aiplatform.endpoints.predict" in str(told.error)


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
    assert fleet_of(DeployedModel({"id": "1", "dedicated_resources": resources})).up == 2
    assert fleet_of(DeployedModel({"id": "1", "dedicated_resources": resources, "status": {"message": "none yet"}})).up == 0


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1e6), max_size=8))
def test_shares_are_whole_and_sum_to_100(weights: dict[str, float]) -> None:
    found = shares(weights)
    assert sum(found.values()) == (100 if weights else 0)
    total = sum(weights.values())
    assert total == 0 or all(abs(found[name] - 100 * weight / total) < 1 for name, weight in weights.items())
