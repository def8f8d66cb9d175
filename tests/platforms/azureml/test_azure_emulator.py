"""The emulator holds requests to the published schema and to Azure's rules, and answers as Resource Manager does."""

from __future__ import annotations

import copy
import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from penstock.platforms.azureml.arm import Arm
from penstock.platforms.azureml.environments import JOBS, SERVING, Environments
from penstock.platforms.azureml.errors import Refusal
from penstock.spec.platforms.azureml import AzureMLPlatform
from penstock.testing.emulators.azure import Azure
from penstock.testing.emulators.azure.errors import ArmError
from penstock.testing.emulators.azure.schemas import Schemas
from penstock.testing.patience import PATIENT_S

JOB: dict[str, Any] = {
    "properties": {
        "jobType": "Command",
        "command": "penstock exec x",
        "environmentId": "e",
        "environmentVariables": {"A": "1"},
        "limits": {"jobLimitsType": "Command", "timeout": "PT60S"},
        "resources": {"instanceCount": 1, "instanceType": "Standard_D2s_v3"},
        "queueSettings": {"jobTier": "Spot"},
        "distribution": {"distributionType": "PyTorch", "processCountPerInstance": 1},
        "identity": {"identityType": "Managed", "resourceId": "r"},
        "tags": {"a": "b"},
    }
}


def changed(path: str, value: Any) -> dict[str, Any]:
    body = copy.deepcopy(JOB)
    *way, last = path.split(".")
    place = body
    for name in way:
        place = place[name]
    place[last] = value
    return body


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("properties.comand", "x", "comand"),
        ("properties.jobType", "Comand", "properties.jobType"),
        ("properties.command", "", "properties.command"),
        ("properties.command", "[parameters('x')]x", ""),
        ("properties.environmentVariables", {"A": 1}, "properties.environmentVariables.A"),
        ("properties.resources.instanceCount", "2", "properties.resources.instanceCount"),
        ("properties.queueSettings.jobTier", "Cheap", "properties.queueSettings.jobTier"),
        ("properties.distribution.worldSize", 2, "worldSize"),
        ("properties.distribution.distributionType", "Mpi", "properties.distribution"),
        ("properties.limits", {"timeout": "PT1S"}, "jobLimitsType"),
        ("properties.identity.identityType", "Nobody", "properties.identity"),
        ("properties.identity", {"identityType": "UserIdentity", "resourceId": "r"}, "resourceId"),
        ("name", "x", "name"),
    ],
)
def test_bodies_are_held_to_the_published_schema(schema_folder: Path, path: str, value: Any, where: str) -> None:
    schemas = Schemas(schema_folder)
    schemas.check("workspaces_jobs", JOB)
    if not where:
        schemas.check("workspaces_jobs", changed(path, value))
        return
    if path.endswith("distributionType"):
        value, where = "Mpi", ""  # what PyTorch and MPI share is no mistake
        schemas.check("workspaces_jobs", changed(path, value))
        return
    with pytest.raises(ArmError, match=where.replace(".", r"\.")) as told:
        schemas.check("workspaces_jobs", changed(path, value))
    assert (told.value.status, told.value.code) == (400, "ValidationError")


@pytest.fixture
def arm(cloud: Azure) -> Arm:
    return Arm(AzureMLPlatform.model_validate(cloud.section()))


def refused(arm: Arm, method: str, below: str, body: Any = None) -> Refusal:
    seen: list[Refusal] = []
    assert arm.call(method, below, body, lambda refusal: not seen.append(refusal)) is None  # type: ignore[func-returns-value]
    return seen[0]


def deployment(arm: Arm, environment: str, **more: Any) -> dict[str, Any]:
    properties = {"endpointComputeType": "Managed", "environmentId": environment, "instanceType": "Standard_F2s_v2"}
    told = {"environmentVariables": {"PENSTOCK_SERVING": "{}"}, "scaleSettings": {"scaleType": "Default"}}
    sku = {"name": "Default", "capacity": 1}
    return {"location": arm.settings.region, "sku": sku, "properties": {**properties, **told}, **more}


def endpoint(arm: Arm, **more: Any) -> dict[str, Any]:
    return {"location": arm.settings.region, "properties": {"authMode": "AADToken", **more}}


def test_rules_of_endpoints(cloud: Azure, arm: Arm) -> None:
    serving, jobs = Environments(arm).of(SERVING), Environments(arm).of(JOBS)
    assert "3 to 32" in refused(arm, "PUT", "onlineEndpoints/no", endpoint(arm)).message
    assert "location" in refused(arm, "PUT", "onlineEndpoints/one", {**endpoint(arm), "location": "eastus"}).message
    assert "Traffic" in refused(arm, "PUT", "onlineEndpoints/one", endpoint(arm, traffic={"blue": 100})).message
    made = arm.call("PUT", "onlineEndpoints/one", endpoint(arm))
    assert made is not None
    assert made.body["properties"]["provisioningState"] == "Creating"
    assert (arm.operation(made.operation) or {})["status"] == "Succeeded"
    below = "onlineEndpoints/one/deployments"
    assert "inferenceConfig" in refused(arm, "PUT", f"{below}/blue", deployment(arm, jobs)).message
    assert "capacity" in refused(arm, "PUT", f"{below}/blue", deployment(arm, serving, sku={"name": "Default"})).message
    assert "Unknown environment" in refused(arm, "PUT", f"{below}/blue", deployment(arm, "nowhere")).message
    cloud.workspace.start_s = 1000.0
    arm.call("PUT", f"{below}/blue", deployment(arm, serving))
    assert refused(arm, "PUT", f"{below}/blue", deployment(arm, serving)).status == 409
    assert refused(arm, "DELETE", "onlineEndpoints/one").status == 409
    assert "state Creating" in refused(arm, "PUT", "onlineEndpoints/one", endpoint(arm, traffic={"blue": 100})).message
    for one in cloud.workspace.of("onlineEndpoints")["one"].deployments.values():
        one.state = "Succeeded"
    for traffic, mirror, says in (
        ({"blue": 60}, {}, "sum to 0 or 100"),
        ({"green": 100}, {}, "has not"),
        ({"blue": 100}, {"blue": 10}, "live traffic"),
        ({}, {"blue": 60}, "at most 50"),
    ):
        assert says in refused(arm, "PUT", "onlineEndpoints/one", endpoint(arm, traffic=traffic, mirrorTraffic=mirror)).message
    cloud.workspace.start_s = 0.0
    arm.call("PUT", "onlineEndpoints/one", endpoint(arm, traffic={"blue": 100}))
    assert "gets traffic" in refused(arm, "DELETE", f"{below}/blue").message
    assert "AuthMode" in refused(arm, "PUT", "onlineEndpoints/one", endpoint(arm, authMode="Key")).message


def test_rules_of_jobs_and_environments(cloud: Azure, arm: Arm) -> None:
    environment = Environments(arm).of(JOBS)
    body = {"properties": {**JOB["properties"], "environmentId": environment}}
    cloud.workspace.start_s = 1000.0
    assert "terminal" not in str(arm.call("PUT", "jobs/one", body))
    assert arm.call("PUT", "jobs/one", body) is not None, "the same again is the same job"
    other = {"properties": {**body["properties"], "command": "penstock exec y"}}
    assert "command cannot be changed" in refused(arm, "PUT", "jobs/one", other).message
    assert refused(arm, "DELETE", "jobs/one").status == 409
    arm.call("POST", "jobs/one/cancel")
    arm.call("GET", "jobs/one")
    assert "terminal state" in refused(arm, "POST", "jobs/one/cancel").message
    arm.call("DELETE", "jobs/one")
    assert refused(arm, "GET", "jobs/one").status == 404
    assert "not valid" in refused(arm, "PUT", "jobs/-", body).message
    below = environment.removeprefix(f"{arm.workspace}/")
    assert "immutable" in refused(arm, "PUT", below, {"properties": {"image": "other"}}).message


def test_who_asks_and_which_version(cloud: Azure) -> None:
    def asked(path: str, **headers: str) -> tuple[int, str]:
        try:
            urllib.request.urlopen(urllib.request.Request(f"{cloud.url}{path}", headers=headers), timeout=PATIENT_S)
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())["error"]["code"]
        return 200, ""

    jobs = f"{Arm(AzureMLPlatform.model_validate(cloud.section())).workspace}/jobs"
    assert asked(f"{jobs}?api-version=2026-05-01") == (401, "AuthenticationFailed")
    token = cloud.workspace.identity.token(
        {"api-version": "2019-08-01", "resource": "https://ml.azure.com"}, {"x-identity-header": cloud.workspace.identity.header}, 1e12
    )["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert asked(f"{jobs}?api-version=2026-05-01", **bearer) == (401, "InvalidAuthenticationTokenAudience")
    cloud.workspace.identity.tokens[token] = ("https://management.azure.com", 1e12)
    assert asked(f"{jobs}?api-version=2019-05-01", **bearer) == (400, "NoRegisteredProviderFound")
    assert asked(f"{jobs}?api-version=2026-05-01", **bearer) == (200, "")
    assert asked("/subscriptions/x?api-version=2026-05-01", **bearer) == (404, "InvalidResourceType")
