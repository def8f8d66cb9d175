"""Steps and endpoints on an attached Kubernetes cluster: a few of each suite, and what is otherwise there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from penstock.core.errors import BadInput, PlatformAway, PlatformDenied, PlatformLacks, UpstreamRefused
from penstock.core.home import Home
from penstock.platforms.azureml.arm import Arm
from penstock.platforms.azureml.bodies import Bodies
from penstock.platforms.azureml.computes import check
from penstock.platforms.azureml.endpoints import AzureEndpoints, machine_of
from penstock.platforms.azureml.errors import Refusal
from penstock.platforms.azureml.invoking import Token
from penstock.platforms.azureml.platform import AZUREML
from penstock.platforms.contract import VersionSpec
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.spec.platforms.azureml import AzureMLPlatform, Cluster
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.azure import Azure
from penstock.testing.emulators.azure.endpoints import Endpoint
from penstock.testing.emulators.azure.workspace import Workspace
from penstock.testing.endpoints_suite import bundle, settled
from penstock.testing.hosted_suite import NAME, HostedConformance, brought, spec
from penstock.testing.jobs_suite import ended, until, user_job
from penstock.testing.serving import ECHO
from penstock.testing.several_machines import job_of, value_of
from penstock.testing.wrong_jobs_suite import QUICK

TYPES: dict[str, Any] = {
    "small": {"cpus": 2, "memory": "4GiB"},
    "large": {"cpus": 8, "memory": "32GiB", "gpu": {"type": "t4", "count": 1}},
}
COMPUTE: dict[str, Any] = {"name": "aks", "instance_types": TYPES}
CLUSTER = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/models"
IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"


def attach(cloud: Azure, name: str = "aks") -> Arm:
    """As `az ml compute attach --type Kubernetes` does."""

    def type_(cpus: int, gib: int, **more: str) -> dict[str, Any]:
        limits = {"cpu": str(cpus), "memory": f"{gib}Gi"}
        return {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {**limits, **more}}}

    arm = Arm(AzureMLPlatform.model_validate(cloud.section()), QUICK)
    own = {"namespace": "models", "instanceTypes": {"small": type_(2, 4), "large": type_(8, 32, **{"nvidia.com/gpu": "1"})}}
    body = {"location": arm.settings.region, "properties": {"computeType": "Kubernetes", "resourceId": CLUSTER, "properties": own}}
    arm.call("PUT", f"computes/{name}", body)
    return arm


@pytest.fixture
def attached(cloud: Azure) -> Azure:
    attach(cloud)
    return cloud


def opened(cloud: Azure, place: tuple[Home, Artifacts], **more: Any) -> AzureEndpoints:
    arm = Arm(AzureMLPlatform.model_validate(cloud.section(**{"compute": COMPUTE, **more})), QUICK)
    return AzureEndpoints(*place, arm, drain_s=5.0, replica={"engine_class": ECHO})


@pytest.fixture
def endpoints(attached: Azure, place: tuple[Home, Artifacts]) -> Iterator[AzureEndpoints]:
    made = opened(attached, place)
    yield made
    made._here.bridges.delete(NAME)


@pytest.fixture
def bundles(place: tuple[Home, Artifacts], tmp_path: Path) -> tuple[str, str]:
    return bundle(place[1], tmp_path, "one"), bundle(place[1], tmp_path, "two")


def there(cloud: Azure) -> Endpoint:
    (endpoint,) = cloud.workspace.of("onlineEndpoints").values()
    assert isinstance(endpoint, Endpoint)
    return endpoint


class OnKubernetes(HostedConformance):
    """The hooks of the suite; the tests below name those of it that are run here."""

    platform, machine, lags = AZUREML, "small", "GET onlineEndpoints"
    full_says = "PodUnschedulable"
    left = ("online endpoint",)

    def state(self, cloud: Azure) -> Workspace:
        return cloud.workspace

    def split(self, cloud: Azure) -> list[tuple[int, int]]:
        one = there(cloud)
        return sorted((one.traffic.get(name, 0), found.wanted) for name, found in one.deployments.items() if found.state != "Deleting")


SUITE = OnKubernetes()


def test_a_request_goes_there_and_back(attached: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str], tmp_path: Path) -> None:
    SUITE.test_a_request_goes_there_and_back(attached, endpoints, bundles, tmp_path)
    one = next(iter(there(attached).deployments.values())).body["properties"]
    assert (one["endpointComputeType"], one["instanceType"], one["scaleSettings"]) == ("Kubernetes", "small", {"scaleType": "Default"})
    assert there(attached).compute.endswith("/computes/aks")
    assert "kind" not in there(attached).body


def test_faults_and_what_is_left(
    attached: Azure, endpoints: AzureEndpoints, place: tuple[Home, Artifacts], bundles: tuple[str, str]
) -> None:
    for operation in ("GET computes", "PUT onlineEndpoints", "PUT deployments"):
        attached.workspace.faults.plan("throttle", operation)
        attached.workspace.faults.plan("lose_answer", operation)
    SUITE.test_nothing_is_left(attached, endpoints, place, bundles)


def test_a_node_is_missing_and_then_it_is_not(attached: Azure, endpoints: AzureEndpoints, bundles: tuple[str, str]) -> None:
    attached.workspace.faults.plan("throttle", "POST onlineEndpoints/token")
    attached.workspace.faults.plan("lose_answer", "POST onlineEndpoints/token")
    SUITE.test_no_machine_is_free_and_then_one_is(attached, endpoints, bundles)


def test_who_may_have_no_token_is_told(attached: Azure) -> None:
    attached.workspace.identity.denied.add("Microsoft.MachineLearningServices/workspaces/onlineEndpoints/token/action")
    arm = Arm(AzureMLPlatform.model_validate(attached.section()))
    with pytest.raises(UpstreamRefused, match=r"does not have authorization .* grant onlineEndpoints/token/action") as told:
        Token(arm.token_url("one"))._asked()
    assert told.value.status == 401


def test_the_clusters_router_may_count(attached: Azure, place: tuple[Home, Artifacts], bundles: tuple[str, str]) -> None:
    """And the endpoint's own token is renewed when it is not taken."""
    endpoints = opened(attached, place, autoscale={"min": 2, "max": 3, "cpu": 60})
    wish = spec(VersionSpec("1", bundles[0], 1))
    settled(endpoints, wish)
    (one,) = there(attached).deployments.values()
    endpoints._hosting.look(there(attached).name)
    scale = {"scaleType": "TargetUtilization", "minInstances": 2, "maxInstances": 3, "targetUtilizationPercentage": 60}
    assert one.body["properties"]["scaleSettings"] == scale
    assert one.wanted == 2
    before = attached.workspace.faults.calls.copy()
    endpoints.apply(wish)
    assert not (attached.workspace.faults.calls - before)["PATCH deployments"], "the count is the router's"
    assert not attached.workspace.of("autoscaleSettings")
    name, (deployment,), tokens = there(attached).name, there(attached).deployments, attached.workspace.identity.tokens
    score = there(attached).shown(attached.workspace)["properties"]["scoringUri"]
    assert endpoints._hosting.ask(score, deployment) is not None
    for token in [token for token, (audience, _) in tokens.items() if audience == f"endpoint {name}"]:
        del tokens[token]  # as when an endpoint is made anew under its name
    with pytest.raises(PlatformDenied):
        endpoints._hosting.ask(score, deployment)
    assert endpoints._hosting.ask(score, deployment) is not None, "asked for another"
    endpoints._here.bridges.delete(NAME)


def jobs_of(cloud: Azure, place: tuple[Home, Artifacts], **more: Any) -> RemoteJobs:
    made = AZUREML.jobs(*place, cloud.section(**{"compute": COMPUTE, **more}))
    made.poll_s = 0.05
    return made


def test_steps_run_there(attached: Azure, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    jobs = jobs_of(attached, place)
    job = user_job(tmp_path / "code", "double", {"number": 4})
    assert ended(jobs, jobs.submit(job)).phase == "succeeded"
    (made,) = attached.workspace.of("jobs").values()
    assert made.properties["computeId"].endswith("/computes/aks")
    assert made.properties["resources"] == {"instanceCount": 1, "instanceType": "small"}
    assert "queueSettings" not in made.properties
    several = job_of(tmp_path / "meet", "meet", 2)
    assert ended(jobs, jobs.submit(several)).phase == "succeeded"
    assert value_of(jobs.artifacts, several) == b"21"
    attached.workspace.dry.add("small")
    waiting = jobs.submit(user_job(tmp_path / "code", "double", {"number": 5}))
    assert jobs.observe(waiting).phase == "pending", "no node has room"
    attached.workspace.dry.clear()
    assert ended(jobs, waiting).phase == "succeeded"


def test_a_plan_shows_it(cloud: Azure, tmp_path: Path) -> None:
    section = cloud.section(compute=COMPUTE, usd_per_hour={"small": 0.1})
    job = user_job(tmp_path / "code", "double", {"number": 1})
    quote = AZUREML.quote(replace(job, nodes=2), section)
    assert (quote.machine, quote.nodes, quote.usd_per_h, quote.prices_of) == ("small", 2, 0.2, None)
    assert quote.calls == ("PUT jobs double: 2 × small, Kubernetes cluster aks, at most 24 h 0 min, in penstock (westeurope)",)
    assert AZUREML.quote(replace(job, gpus=1, gpu_type="t4"), section).machine == "large"
    wrong = (({"spot": True}, "taken away"), ({"cpus": 16}, "no machine of Kubernetes cluster 'aks'"), ({"machine": "tiny"}, "known: "))
    for more, says in wrong:
        with pytest.raises(PlatformLacks, match=says):
            AZUREML.quote(replace(job, **more), section)
    with pytest.raises(PlatformLacks) as told:
        AZUREML.quote(replace(job, spot=True), section)
    assert "kind: kubernetes" in told.value.way_out


def test_a_compute_that_is_not_there_or_another(
    cloud: Azure, place: tuple[Home, Artifacts], bundles: tuple[str, str], tmp_path: Path
) -> None:
    job = user_job(tmp_path / "code", "double", {"number": 6})
    with pytest.raises(BadInput, match="no compute 'aks'") as told:
        jobs_of(cloud, place).submit(job)
    assert "az ml compute attach --type Kubernetes --name aks" in told.value.way_out
    with pytest.raises(BadInput, match="no compute 'aks'"):
        opened(cloud, place).apply(spec(VersionSpec("1", bundles[0], 1)))
    assert not cloud.workspace.of("onlineEndpoints")
    cloud.workspace.clusters["aks"] = "Standard_D4s_v3"
    with pytest.raises(BadInput, match="of kind AmlCompute, not Kubernetes") as told:
        jobs_of(cloud, place).submit(job)
    assert "Say `machine` of it" in told.value.way_out
    cloud.workspace.clusters.clear()
    attach(cloud)
    with pytest.raises(BadInput, match=r"no instance type 'tiny' \(it has: defaultinstancetype, large, small\)"):
        jobs_of(cloud, place, compute={"name": "aks", "instance_types": {"tiny": {"cpus": 4, "memory": "8GiB"}}}).submit(job)


def test_a_compute_that_is_attached_just_now_or_failed() -> None:
    cluster = Cluster.model_validate(COMPUTE)
    with pytest.raises(PlatformAway, match="still creating"):
        check(cluster, "w", {"computeType": "Kubernetes", "provisioningState": "Creating"})
    with pytest.raises(BadInput, match="in state Failed"):
        check(cluster, "w", {"computeType": "Kubernetes", "provisioningState": "Failed"})
    with pytest.raises(BadInput, match="of kind VirtualMachine") as told:
        check(cluster, "w", {"computeType": "VirtualMachine"})
    assert "Name another" in told.value.way_out
    check(cluster, "w", {"computeType": "Kubernetes"})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"compute": {"name": "x"}}, "either `machine`"),
        ({"compute": {**COMPUTE, "machine": "Standard_D2s_v3"}}, "either `machine`"),
        ({"compute": {**COMPUTE, "low_priority": True}}, "no low priority"),
        ({"compute": {"name": "x", "machine": "m", "replica": {"cpus": 1, "memory": "1GiB"}}}, "is for an attached"),
        ({"compute": COMPUTE, "mirror": 10}, "does not mirror"),
        ({"compute": COMPUTE, "machine": "tiny"}, "none of `instance_types`"),
        ({"compute": COMPUTE, "autoscale": {"max": 2, "pause": "5m"}}, "knows no `pause`"),
        ({"compute": COMPUTE, "identity": IDENTITY}, "compute's"),
    ],
)
def test_what_does_not_go_together(cloud: Azure, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        AzureMLPlatform.model_validate(cloud.section(**more))


def test_a_replica_may_ask_for_less_than_its_instance_type(attached: Azure, place: tuple[Home, Artifacts]) -> None:
    endpoints = opened(attached, place, compute={**COMPUTE, "replica": {"cpus": 0.5, "memory": "1GiB"}}, machine="large")
    wish = spec(VersionSpec("1", "sha256:" + "9" * 64, 1))
    brought(endpoints, wish, lambda: attached.workspace.of("onlineEndpoints") and there(attached).deployments)
    settings = endpoints.arm.settings
    found = Bodies(settings, "w", "s", "large", "e").deployment(wish, wish.versions[0], 1)["properties"]["containerResourceRequirements"]
    assert found["containerResourceRequests"] == {"cpu": "0.5", "memory": "1024Mi"}
    assert found["containerResourceLimits"] == {"cpu": "0.5", "memory": "1024Mi", "gpu": "1"}
    with pytest.raises(PlatformLacks, match="all of instance type 'small'"):
        machine_of(AzureMLPlatform.model_validate(attached.section(compute={**COMPUTE, "replica": {"cpus": 2, "memory": "1GiB"}})))
    endpoints._here.bridges.delete(NAME)


def test_rules_of_endpoints_there(attached: Azure) -> None:
    arm = attach(attached, "other")

    def refused(below: str, body: Any) -> Refusal:
        seen: list[Refusal] = []
        assert arm.call("PUT", below, body, lambda refusal: not seen.append(refusal)) is None  # type: ignore[func-returns-value]
        return seen[0]

    def endpoint(**more: Any) -> dict[str, Any]:
        compute = f"{arm.workspace}/computes/aks"
        return {"location": arm.settings.region, "properties": {"authMode": "AMLToken", "compute": compute, **more}}

    assert "only supported for managed" in refused("onlineEndpoints/one", endpoint(authMode="AADToken")).message
    assert refused("onlineEndpoints/one", endpoint(compute=f"{arm.workspace}/computes/nobody")).code == "ComputeNotFound"
    arm.call("PUT", "onlineEndpoints/one", endpoint())
    until(lambda: arm.call("GET", "onlineEndpoints/one").body["properties"]["provisioningState"] == "Succeeded")  # type: ignore[union-attr]
    assert "Compute cannot be changed" in refused("onlineEndpoints/one", endpoint(compute=f"{arm.workspace}/computes/other")).message
    properties = {"endpointComputeType": "Managed", "environmentId": "e", "instanceType": "small"}
    body = {"location": arm.settings.region, "sku": {"name": "Default", "capacity": 1}, "properties": properties}
    assert "on Kubernetes" in refused("onlineEndpoints/one/deployments/blue", body).message
    properties["endpointComputeType"], properties["instanceType"] = "Kubernetes", "huge"
    assert "huge was not found" in refused("onlineEndpoints/one/deployments/blue", body).message
    properties["instanceType"] = "small"
    most = {"containerResourceRequests": {"cpu": "1", "memory": "1Gi"}, "containerResourceLimits": {"cpu": "2", "memory": "2Gi"}}
    asked = {**body, "properties": {**properties, "containerResourceRequirements": most}}
    assert "must be less" in refused("onlineEndpoints/one/deployments/blue", asked).message
