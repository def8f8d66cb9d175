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
from penstock.platforms.azureml.naming import deployment_name
from penstock.platforms.azureml.platform import AZUREML
from penstock.platforms.contract import VersionSpec
from penstock.platforms.remote.sights import EAGER
from penstock.platforms.remote.throttling import Throttle
from penstock.spec.platforms.azureml import AzureMLPlatform
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.azure import Azure
from penstock.testing.emulators.azure.endpoints import Endpoint
from penstock.testing.emulators.azure.workspace import Workspace
from penstock.testing.endpoints_suite import bundle, settled
from penstock.testing.hosted_suite import NAME, HostedConformance, failed, spec, stop_clock
from penstock.testing.jobs_suite import until
from penstock.testing.patience import PATIENT_S
from penstock.testing.serving import ECHO
from penstock.testing.wrong_jobs_suite import QUICK

MACHINE = "Standard_F2s_v2"


def opened(cloud: Azure, place: tuple[Home, Artifacts], **more: Any) -> AzureEndpoints:
    arm = Arm(AzureMLPlatform.model_validate(cloud.section(**more)), QUICK, Throttle())
    return AzureEndpoints(*place, arm, drain_s=5.0, replica={"engine_class": ECHO}, pace=EAGER)


@pytest.fixture
def endpoints(cloud: Azure, place: tuple[Home, Artifacts]) -> Iterator[AzureEndpoints]:
    made = opened(cloud, place)
    yield made
    made._here.bridges.delete(NAME)


@pytest.fixture
def bundles(endpoints: AzureEndpoints, tmp_path: Path) -> tuple[str, str]:
    return bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")


def there(cloud: Azure) -> Endpoint:
    (endpoint,) = cloud.workspace.of("onlineEndpoints").values()
    assert isinstance(endpoint, Endpoint)
    return endpoint


def counts(cloud: Azure) -> dict[str, int]:
    return {name: one.wanted for name, one in there(cloud).deployments.items() if one.state != "Deleting"}


class TestAzureHosting(HostedConformance):
    platform, machine, lags = AZUREML, MACHINE, "GET onlineEndpoints"
    creates = ("PUT environments", "PUT onlineEndpoints", "PUT deployments", "PATCH deployments")
    crashed_says, full_says = "crashed or terminated", "OutOfCapacity"
    internal_says, denied_says = "InternalServerError", "onlineEndpoints/score/action"
    left = ("online endpoint",)
    looks, limited = ("GET onlineEndpoints", "GET deployments/list"), ("PUT", 4.0)

    def state(self, cloud: Azure) -> Workspace:
        return cloud.workspace

    def split(self, cloud: Azure) -> list[tuple[int, int]]:
        traffic = there(cloud).traffic
        return sorted((traffic.get(name, 0), count) for name, count in counts(cloud).items())

    def one_of_each(self, cloud: Azure) -> None:
        assert list(counts(cloud).values()) == [2]

    def delete_behind(self, cloud: Azure, endpoints: AzureEndpoints) -> None:
        endpoints.arm.call("DELETE", f"onlineEndpoints/{there(cloud).name}")

    def deny(self, cloud: Azure) -> None:
        cloud.workspace.identity.denied.add("score")


def test_quota_is_short_and_then_it_is_not(cloud: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str]) -> None:
    cloud.workspace.quotas[MACHINE] = 0
    wish = spec(VersionSpec("1", bundles[0], 1))
    assert "OutOfQuota" in str(failed(endpoints, wish).error)
    cloud.workspace.quotas.clear()
    stop_clock(endpoints, 60.0)
    assert len(settled(endpoints, wish)) == 1
    assert endpoints.observe(NAME).replicas[0].error is None


def asked(cloud: Azure, body: Any, **headers: str) -> httpx.Response:
    identity = cloud.workspace.identity
    query = {"api-version": "2019-08-01", "resource": "https://ml.azure.com"}
    token = identity.token(query, {"x-identity-header": identity.header}, 1e12)["access_token"]
    told = {"authorization": f"Bearer {token}", "content-type": "application/json", **headers}
    return httpx.post(f"{cloud.url}/serving/{there(cloud).name}/score", content=json.dumps(body), headers=told, timeout=PATIENT_S)


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
    assert decide(Seen("Succeeded", ok, {"a": 100}), {"a": target(1, 2)}, (), bounds=range(1, 4)) == []
    assert decide(Seen("Succeeded", ok, {"a": 100}), {"a": target(1, shape="t")}, ()) == [Step("deploy", "a")]
    both = {**ok, "b": Fleet("Succeeded", 1, "s")}
    assert decide(Seen("Succeeded", both, {"a": 100}), {"a": target(1)}, {"b"}) == [], "a bridge leads there yet"
    assert decide(Seen("Succeeded", both, {"a": 50, "b": 50}), {"a": target(1)}, ()) == [Step("split")], "not while it has a share"
    assert decide(Seen("Succeeded", both, {"a": 100}), {"a": target(1)}, ()) == [Step("drop", "b")]
