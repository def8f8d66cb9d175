"""A request's way: our gateway, a bridge, Azure's endpoint, a replica in its container; and the endpoint called directly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.core.home import Home
from penstock.platforms.azureml.arm import Arm
from penstock.platforms.azureml.endpoints import AzureEndpoints
from penstock.platforms.azureml.hosting import Fleet, Seen, Step, Target, decide, split
from penstock.platforms.azureml.naming import deployment_name, endpoint_name
from penstock.platforms.azureml.platform import AZUREML
from penstock.platforms.contract import EndpointSpec, ReplicaState, VersionSpec
from penstock.platforms.remote.retrying import Patience
from penstock.spec.platforms.azureml import AzureAutoscale, AzureMLPlatform
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.azure import Azure
from penstock.testing.emulators.azure.endpoints import Endpoint
from penstock.testing.endpoints_suite import bundle, settled
from penstock.testing.jobs_suite import until
from penstock.testing.serving import ECHO, gateway_to

NAME, MACHINE = "intents", "Standard_F2s_v2"


def opened(cloud: Azure, place: tuple[Home, Artifacts], **more: Any) -> AzureEndpoints:
    arm = Arm(AzureMLPlatform.model_validate(cloud.section(**more)), Patience(attempts=4, first_s=0.01, longest_s=0.02))
    return AzureEndpoints(*place, arm, drain_s=5.0, replica={"engine_class": ECHO})


@pytest.fixture
def endpoints(cloud: Azure, place: tuple[Home, Artifacts]) -> Iterator[AzureEndpoints]:
    made = opened(cloud, place)
    yield made
    made._here.bridges.delete(NAME)


@pytest.fixture
def bundles(endpoints: AzureEndpoints, tmp_path: Path) -> tuple[str, str]:
    return bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")


def spec(*versions: VersionSpec, **settings: Any) -> EndpointSpec:
    return EndpointSpec(NAME, versions, settings)


def there(cloud: Azure) -> Endpoint:
    (endpoint,) = cloud.workspace.of("onlineEndpoints").values()
    assert isinstance(endpoint, Endpoint)
    return endpoint


def counts(cloud: Azure) -> dict[str, int]:
    return {name: one.wanted for name, one in there(cloud).deployments.items() if one.state != "Deleting"}


def failed(endpoints: AzureEndpoints, wish: EndpointSpec) -> ReplicaState:
    def look() -> list[ReplicaState]:
        endpoints.apply(wish)
        return [r for r in endpoints.observe(NAME).replicas if r.phase == "failed"]

    found: list[ReplicaState] = until(look)
    return found[0]


def test_a_request_goes_there_and_back(cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str], tmp_path: Path) -> None:
    wish = spec(VersionSpec("1", bundles[0], 1, weight=0.95), VersionSpec("2", bundles[1], 1, weight=0.05))
    ready = settled(endpoints, wish)
    stage, gateway = gateway_to(tmp_path, NAME, ready)
    with stage:
        answer = gateway.ask(model=NAME, prompt="a b c", max_tokens=3)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["text"].split() == ["a", "b", "c"]
        assert answer.json()["usage"]["completion_tokens"] == 3
        for version in ("1", "2"):
            assert gateway.ask({"x-penstock-version": version}, model=NAME).headers["x-penstock-version"] == version
        events, whole = gateway.stream(model=NAME, max_tokens=20)
        assert whole
        assert events.count(b"data: ") >= 20
        wrong = gateway.ask(model=NAME, promt="a")
        assert (wrong.status_code, "promt" in wrong.text) == (400, True), "the replica's own refusal comes through"
    until(lambda: endpoints.apply(wish) or sorted(there(cloud).traffic.values()) == [5, 95])


def asked(cloud: Azure, body: Any, **headers: str) -> httpx.Response:
    identity = cloud.workspace.identity
    query = {"api-version": "2019-08-01", "resource": "https://ml.azure.com"}
    token = identity.token(query, {"x-identity-header": identity.header}, 1e12)["access_token"]
    told = {"authorization": f"Bearer {token}", "content-type": "application/json", **headers}
    return httpx.post(f"{cloud.url}/serving/{there(cloud).name}/score", content=json.dumps(body), headers=told, timeout=30)


def test_the_endpoint_answers_others_too(cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str]) -> None:
    wish = spec(VersionSpec("1", bundles[0], 1))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or there(cloud).traffic)
    answer = asked(cloud, {"model": NAME, "prompt": "a b", "max_tokens": 2})
    assert answer.json()["choices"][0]["text"] == "a b "
    assert answer.headers["azureml-model-deployment"] == next(iter(counts(cloud)))
    chat = asked(cloud, {"model": NAME, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "stream": True})
    assert chat.text.rstrip().endswith("data: [DONE]")
    refused = asked(cloud, {"prompt": 1})
    assert (refused.status_code, refused.headers["ms-azureml-model-error-statuscode"]) == (424, "400")
    assert asked(cloud, {}, **{"azureml-model-deployment": "nobody"}).status_code == 404


def test_shares_and_counts_change_in_place(cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str]) -> None:
    one, two = bundles
    settled(endpoints, spec(VersionSpec("1", one, 1, weight=0.95), VersionSpec("2", two, 1, weight=0.05)))
    wish = spec(VersionSpec("1", one, 1, weight=0.25), VersionSpec("2", two, 2, weight=0.75))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or sorted(there(cloud).traffic.values()) == [25, 75])
    assert sorted(counts(cloud).values()) == [1, 2]
    wish = spec(VersionSpec("2", two, 1, weight=1.0))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or (list(counts(cloud).values()) == [1] and list(there(cloud).traffic.values()) == [100]))


def test_what_instances_are_made_of_is_rolled_over_in_place(cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str]) -> None:
    (before,) = settled(endpoints, spec(VersionSpec("1", bundles[0], 1)))
    tried = len(cloud.workspace.processes.made)
    wish = spec(VersionSpec("1", bundles[0], 1), threads=1)
    until(lambda: endpoints.apply(wish) or len(cloud.workspace.processes.made) > tried)
    assert endpoints.observe(NAME).replicas[0].id == before.id, "the bridge stays"
    (one,) = there(cloud).deployments.values()
    until(lambda: endpoints.apply(wish) or (one.state == "Succeeded" and len(one.instances) == 1 and not one.rolling))
    assert json.loads(one.body["properties"]["environmentVariables"]["PENSTOCK_SERVING"])["settings"] == {"threads": 1}


def test_a_version_without_a_share_gets_mirrored_requests(
    cloud: Azure, endpoints: AzureEndpoints, place: tuple[Home, Artifacts], bundles: tuple[str, str]
) -> None:
    mirroring = opened(cloud, place, mirror=50)
    wish = spec(VersionSpec("1", bundles[0], 1, weight=1.0), VersionSpec("2", bundles[1], 1, weight=0.0))
    settled(mirroring, wish)
    until(lambda: mirroring.apply(wish) or list(there(cloud).mirror.values()) == [50])
    assert list(there(cloud).traffic.values()) == [100]
    assert set(there(cloud).traffic) != set(there(cloud).mirror)
    for _ in range(5):
        assert asked(cloud, {"model": NAME, "prompt": "a", "max_tokens": 1}).status_code == 200
    del endpoints


def test_a_version_that_cannot_start_leaves_the_old_one_alone(cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str]) -> None:
    (old,) = settled(endpoints, spec(VersionSpec("1", bundles[0], 1)))
    wish = spec(VersionSpec("1", bundles[0], 1), VersionSpec("2", "sha256:" + "9" * 64, 1))
    broken = failed(endpoints, wish)
    assert broken.version == "2"
    assert "crashed or terminated" in str(broken.error)
    assert [r.id for r in endpoints.observe(NAME).replicas if r.phase == "ready"] == [old.id]
    until(lambda: endpoints.apply(wish) or len(counts(cloud)) == 1)
    tried = cloud.workspace.processes.made.copy()
    for _ in range(5):
        endpoints.apply(wish)
    assert cloud.workspace.processes.made == tried, "not tried again at once"
    real = endpoints.clock
    endpoints.clock = lambda: real() + 60
    until(lambda: endpoints.apply(wish) or len(cloud.workspace.processes.made) > len(tried))


@pytest.mark.parametrize(("short", "says"), [("dry", "OutOfCapacity"), ("quota", "OutOfQuota")])
def test_no_instance_is_to_be_had_and_then_one_is(
    cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str], short: str, says: str
) -> None:
    if short == "dry":
        cloud.workspace.dry.add(MACHINE)
    else:
        cloud.workspace.quotas[MACHINE] = 0
    wish = spec(VersionSpec("1", bundles[0], 1))
    assert says in str(failed(endpoints, wish).error)
    cloud.workspace.dry.clear()
    cloud.workspace.quotas.clear()
    real = endpoints.clock
    endpoints.clock = lambda: real() + 60
    assert len(settled(endpoints, wish)) == 1
    assert endpoints.observe(NAME).replicas[0].error is None


def test_faults_between_the_calls_leave_one_of_each(cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str]) -> None:
    faults = cloud.workspace.faults
    for operation in ("PUT environments", "PUT onlineEndpoints", "PUT deployments", "PATCH deployments"):
        faults.plan("lose_answer", operation)
        faults.plan("throttle", operation)
    settled(endpoints, spec(VersionSpec("1", bundles[0], 1)))
    settled(endpoints, spec(VersionSpec("1", bundles[0], 2)))
    assert counts(cloud) == {deployment_name("1", bundles[0]): 2}
    faults.plan("internal", times=1000)
    with pytest.raises(Exception, match="InternalServerError"):
        endpoints.apply(spec(VersionSpec("1", bundles[0], 1)))
    faults.planned.clear()
    assert len(settled(endpoints, spec(VersionSpec("1", bundles[0], 1)))) == 1


def test_what_is_deleted_behind_our_back_comes_back(cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str]) -> None:
    wish = spec(VersionSpec("1", bundles[0], 1))
    (before,) = settled(endpoints, wish)
    endpoints.arm.call("DELETE", f"onlineEndpoints/{there(cloud).name}")
    until(lambda: endpoints.apply(wish) or before.id not in {r.id for r in endpoints.observe(NAME).replicas if r.phase == "ready"})
    assert len(settled(endpoints, wish)) == 1


def test_a_copy_that_lags_behind_takes_nothing_away(cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str]) -> None:
    wish = spec(VersionSpec("1", bundles[0], 1))
    (before,) = settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or there(cloud).traffic)
    cloud.workspace.faults.plan("unseen", "GET onlineEndpoints")
    endpoints.apply(wish)
    assert [r.id for r in endpoints.observe(NAME).replicas if r.phase == "ready"] == [before.id]
    assert there(cloud).traffic


def test_azure_may_count_the_instances(cloud: Azure, place: tuple[Home, Artifacts], bundles: tuple[str, str]) -> None:
    endpoints = opened(cloud, place, autoscale={"min": 1, "max": 3, "cpu": 60})
    one, two = bundles
    wish = spec(VersionSpec("1", one, 1))
    settled(endpoints, wish)
    rows = cloud.workspace.of("autoscaleSettings")
    until(lambda: endpoints.apply(wish) or rows)
    ((name, setting),) = rows.items()
    assert name == f"{there(cloud).name}.{deployment_name('1', one)}"
    assert [rule["metricTrigger"]["threshold"] for rule in setting["properties"]["profiles"][0]["rules"]] == [60, 30.0]
    below = f"onlineEndpoints/{there(cloud).name}/deployments/{deployment_name('1', one)}"
    endpoints.arm.call("PATCH", below, {"sku": {"name": "Default", "capacity": 2}})  # as autoscale does it
    until(lambda: endpoints.apply(wish) or counts(cloud) == {deployment_name("1", one): 2})
    endpoints.apply(wish)
    assert list(counts(cloud).values()) == [2], "the count is Azure's"
    assert [row.rpartition(" ")[0] for row in endpoints_left(cloud, place)] == ["autoscale setting", "online endpoint"]
    wish = spec(VersionSpec("2", two, 1))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or list(rows) == [f"{there(cloud).name}.{deployment_name('2', two)}"])
    endpoints.delete(NAME)
    assert not rows


def endpoints_left(cloud: Azure, place: tuple[Home, Artifacts]) -> list[str]:
    return list(AZUREML.left(*place, cloud.section(autoscale={"max": 3})))


def test_nothing_is_left(cloud: Azure, endpoints: AzureEndpoints, place: tuple[Home, Artifacts], bundles: tuple[str, str]) -> None:
    wish = spec(VersionSpec("1", bundles[0], 1))
    until(lambda: endpoints.apply(wish) or counts(cloud))
    assert [row.rpartition(" ")[0] for row in endpoints_left(cloud, place)] == ["online endpoint"]
    endpoints.delete(NAME)  # while it is being made
    until(lambda: endpoints._hosting.look(endpoint_name(NAME, place[1].url)) is None)
    assert not endpoints_left(cloud, place)
    assert not endpoints.observe(NAME).replicas


def test_who_may_not_ask_is_told(cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str]) -> None:
    cloud.workspace.identity.denied.add("score")
    told = failed(endpoints, spec(VersionSpec("1", bundles[0], 1)))
    assert "onlineEndpoints/score/action" in str(told.error)


def target(weight: float, count: int = 1, shape: str = "s") -> Target:
    return Target(VersionSpec("1", "sha256:" + "0" * 64, count), count, weight, shape)


def test_shares_are_whole_percents_that_sum() -> None:
    for weights in ([1, 1, 1], [0.333, 0.333, 0.334], [0.005, 0.995], [0, 0], [1], [0.1, 0.2, 0.3, 0.4]):
        targets = {f"v{at}": target(weight) for at, weight in enumerate(weights)}
        shares, mirrored = split(targets, targets.keys(), 10)
        assert sum(shares.values()) == 100
        assert all(
            abs(shares.get(name, 0) - 100 * one.weight / (sum(weights) or 1)) < 1 or not sum(weights) for name, one in targets.items()
        )
        assert not set(mirrored) & set(shares)
    assert split({"a": target(1.0)}, ()) == ({}, {})


def test_what_is_next() -> None:
    ok = {"a": Fleet("Succeeded", 1, "s")}
    assert decide(None, {}, ()) == []
    assert decide(None, {"a": target(1)}, ()) == [Step("create")]
    assert decide(Seen("Deleting", {}), {"a": target(1)}, ()) == []
    assert decide(Seen("Succeeded", ok), {}, ()) == [Step("remove")]
    assert decide(Seen("Creating", {}), {"a": target(1)}, ()) == []
    assert decide(Seen("Succeeded", {}), {"a": target(1)}, ()) == [Step("deploy", "a")]
    assert decide(Seen("Succeeded", ok), {"a": target(1)}, ()) == [Step("split")]
    assert decide(Seen("Updating", ok), {"a": target(1)}, ()) == []
    assert decide(Seen("Succeeded", ok, {"a": 100}), {"a": target(1, 2)}, ()) == [Step("scale", "a")]
    assert decide(Seen("Succeeded", ok, {"a": 100}), {"a": target(1, 2)}, (), bounds=AzureAutoscale(max=3)) == []
    assert decide(Seen("Succeeded", ok, {"a": 100}), {"a": target(1, shape="t")}, ()) == [Step("deploy", "a")]
    both = {**ok, "b": Fleet("Succeeded", 1, "s")}
    assert decide(Seen("Succeeded", both, {"a": 100}), {"a": target(1)}, {"b"}) == [], "a bridge leads there yet"
    assert decide(Seen("Succeeded", both, {"a": 50, "b": 50}), {"a": target(1)}, ()) == [Step("split")], "not while it has a share"
    assert decide(Seen("Succeeded", both, {"a": 100}), {"a": target(1)}, ()) == [Step("drop", "b")]
