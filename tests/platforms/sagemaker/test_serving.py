"""A request's way: our gateway, a bridge, SageMaker's runtime, a replica in its container; and the endpoint called directly."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from penstock.core.home import Home
from penstock.platforms.contract import Endpoints, VersionSpec
from penstock.platforms.remote.sights import EAGER
from penstock.platforms.sagemaker.endpoints import SageMakerEndpoints
from penstock.platforms.sagemaker.platform import SAGEMAKER
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.emulators.sagemaker.account import Account
from penstock.testing.endpoints_suite import adapter, bundle, settled
from penstock.testing.hosted_suite import NAME, HostedConformance, brought, spec
from penstock.testing.jobs_suite import until
from penstock.testing.serving import ECHO, gateway_to
from penstock.testing.wrong_jobs_suite import QUICK


@pytest.fixture
def endpoints(cloud: SageMaker, place: tuple[Home, Artifacts]) -> Iterator[SageMakerEndpoints]:
    made = SAGEMAKER.endpoints(*place, cloud.section(drain_s=5.0, replica={"engine_class": ECHO}))
    made.aws.patience, made._sights.pace = QUICK, EAGER
    yield made
    made._here.bridges.delete(NAME)


@pytest.fixture
def runtime(cloud: SageMaker) -> Iterator[Any]:  # noqa: ARG001 (its environment)
    with contextlib.closing(boto3.client("sagemaker-runtime")) as client:
        yield client


def variants(cloud: SageMaker) -> dict[str, tuple[float, int]]:
    (endpoint,) = cloud.account.of("endpoint").values()
    return {name: (variant.weight, variant.wanted) for name, variant in endpoint.variants.items()}


class TestSageMakerHosting(HostedConformance):
    platform, machine, lags = SAGEMAKER, "ml.m5.large", "DescribeEndpoint"
    creates = ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "UpdateEndpointWeightsAndCapacities")
    crashed_says, full_says = "did not pass the ping health check", "InsufficientInstanceCapacity"
    internal_says, denied_says = "InternalFailure", "grant sagemaker:InvokeEndpoint"
    left = ("endpoint configuration", "endpoint", "model")
    looks, limited = ("DescribeEndpoint",), ("CreateEndpoint", 4.0)

    def state(self, cloud: SageMaker) -> Account:
        return cloud.account

    def split(self, cloud: SageMaker) -> list[tuple[int, int]]:
        found = variants(cloud).values()
        return sorted((round(100 * weight / sum(one for one, _ in found)), wanted) for weight, wanted in found)

    def one_of_each(self, cloud: SageMaker) -> None:
        assert [len(cloud.account.of(kind)) for kind in ("model", "endpoint-config", "endpoint")] == [1, 1, 1]

    def delete_behind(self, cloud: SageMaker, endpoints: SageMakerEndpoints) -> None:
        (name,) = cloud.account.of("endpoint")
        endpoints.aws.call("sagemaker:DeleteEndpoint", EndpointName=name)

    def deny(self, cloud: SageMaker) -> None:
        cloud.account.identities.denied.add("InvokeEndpoint")

    def test_shares_and_counts_change_in_place(self, cloud: SageMaker, endpoints: Endpoints, bundles: tuple[str, str]) -> None:
        one, two = bundles
        settled(endpoints, spec(VersionSpec("1", one, 1, weight=0.95), VersionSpec("2", two, 1, weight=0.05)))
        before = list(cloud.account.of("endpoint-config"))
        settled(endpoints, spec(VersionSpec("1", one, 1, weight=0.25), VersionSpec("2", two, 2, weight=0.75)))
        until(lambda: sorted(variants(cloud).values()) == [(0.25, 1), (0.75, 2)])
        assert list(cloud.account.of("endpoint-config")) == before
        wish = spec(VersionSpec("2", two, 1, weight=1.0))
        settled(endpoints, wish)
        until(lambda: endpoints.apply(wish) or len(variants(cloud)) == 1)
        until(lambda: endpoints.apply(wish) or len(cloud.account.of("model")) == 1)
        assert len(cloud.account.of("endpoint-config")) == 1, "what is no longer used is taken away"


@pytest.mark.thorough
class TestAsynchronousHosting(TestSageMakerHosting):
    """Each version in an endpoint of its own; the shares are the gateway's alone."""

    denied_says = "grant sagemaker:InvokeEndpointAsync"

    @pytest.fixture
    def endpoints(self, cloud: SageMaker, place: tuple[Home, Artifacts]) -> Iterator[SageMakerEndpoints]:
        section = {"drain_s": 5.0, "replica": {"engine_class": ECHO}, "asynchronous": {"timeout": 60.0, "wait": 60.0}}
        made = SAGEMAKER.endpoints(*place, cloud.section(**section))
        made.aws.patience, made._sights.pace = QUICK, EAGER
        yield made
        made._here.bridges.delete(NAME)

    def split(self, cloud: SageMaker) -> list[tuple[int, int]]:
        found = [variant for endpoint in cloud.account.of("endpoint").values() for variant in endpoint.variants.values()]
        return sorted((round(100 * one.weight / sum(each.weight for each in found)), one.wanted) for one in found)

    def deny(self, cloud: SageMaker) -> None:
        cloud.account.identities.denied.add("InvokeEndpointAsync")

    def test_a_request_goes_there_and_back(self, cloud: Any, endpoints: Endpoints, bundles: tuple[str, str], tmp_path: Path) -> None:
        wish = spec(VersionSpec("1", bundles[0], 1, weight=0.95), VersionSpec("2", bundles[1], 1, weight=0.05))
        stage, gateway = gateway_to(tmp_path, NAME, settled(endpoints, wish))
        with stage:
            for version in ("1", "2"):
                answer = gateway.ask({"x-penstock-version": version}, model=NAME, prompt="a b", max_tokens=2)
                assert (answer.headers["x-penstock-version"], answer.json()["choices"][0]["text"].split()) == (version, ["a", "b"])
        assert len(cloud.account.of("endpoint")) == 2

    def test_shares_and_counts_change_in_place(self, cloud: SageMaker, endpoints: Endpoints, bundles: tuple[str, str]) -> None:
        settled(endpoints, spec(VersionSpec("1", bundles[0], 1)))
        before = list(cloud.account.of("endpoint-config"))
        settled(endpoints, spec(VersionSpec("1", bundles[0], 2)))
        assert list(cloud.account.of("endpoint-config")) == before
        wish = spec(VersionSpec("2", bundles[1], 1))
        settled(endpoints, wish)
        brought(endpoints, wish, lambda: len(cloud.account.of("endpoint")) == len(cloud.account.of("model")) == 1)


def test_an_adapter_is_asked_for_by_name(cloud: SageMaker, endpoints: SageMakerEndpoints, tmp_path: Path) -> None:  # noqa: ARG001
    one, legal = bundle(endpoints.artifacts, tmp_path, "one"), adapter(endpoints.artifacts, tmp_path, "legal")
    ready = settled(endpoints, spec(VersionSpec("1", one, 1, {"legal": legal})))
    stage, gateway = gateway_to(tmp_path, NAME, ready)
    with stage:
        answer = gateway.ask(model=f"{NAME}:legal", prompt="a b")
        assert answer.json()["choices"][0]["text"].split() == ["legal:a", "legal:b"]
        assert answer.json()["model"] == f"{NAME}:legal"
        assert gateway.ask(model=f"{NAME}:poems").status_code == 404


def test_the_endpoint_answers_others_too(cloud: SageMaker, endpoints: SageMakerEndpoints, runtime: Any, tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    settled(endpoints, spec(VersionSpec("1", one, 1)))
    (name,) = cloud.account.of("endpoint")
    asked = {"EndpointName": name, "ContentType": "application/json"}
    answer = runtime.invoke_endpoint(**asked, Body=json.dumps({"model": NAME, "prompt": "a b", "max_tokens": 2}))
    assert json.loads(answer["Body"].read())["choices"][0]["text"] == "a b "
    assert answer["InvokedProductionVariant"] == next(iter(variants(cloud)))
    chat = {"model": NAME, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "stream": True}
    stream = runtime.invoke_endpoint_with_response_stream(**asked, Body=json.dumps(chat))
    text = b"".join(event["PayloadPart"]["Bytes"] for event in stream["Body"])
    assert b"chat.completion.chunk" in text
    assert text.rstrip().endswith(b"data: [DONE]")
    with pytest.raises(ClientError) as refused:
        runtime.invoke_endpoint(**asked, Body=b"{")
    assert refused.value.response["OriginalStatusCode"] == 400  # type: ignore[typeddict-item]
    with pytest.raises(ClientError, match="Variant nobody not found"):
        runtime.invoke_endpoint(**asked, Body=b"{}", TargetVariant="nobody")


def followed(endpoints: SageMakerEndpoints) -> dict[str, tuple[int, int]]:
    rows = endpoints.aws.pages("application-autoscaling:DescribeScalableTargets", "ScalableTargets", ServiceNamespace="sagemaker")
    return {row["ResourceId"]: (row["MinCapacity"], row["MaxCapacity"]) for row in rows}


def test_aws_may_count_the_instances(cloud: SageMaker, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    bounds = {"min": 1, "max": 3, "invocations": 100.0}
    endpoints = SAGEMAKER.endpoints(*place, cloud.section(drain_s=5.0, replica={"engine_class": ECHO}, autoscale=bounds))
    one, two = bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")
    wish = spec(VersionSpec("1", one, 1))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or list(followed(endpoints).values()) == [(1, 3)])
    (resource,), (name,) = followed(endpoints), cloud.account.of("endpoint")
    mine = {"ServiceNamespace": "sagemaker", "ResourceId": resource}  # moto keeps those of targets that were taken off
    (policy,) = endpoints.aws.pages("application-autoscaling:DescribeScalingPolicies", "ScalingPolicies", **mine)  # type: ignore[arg-type]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 100.0
    grown = [{"VariantName": resource.rpartition("/")[2], "DesiredInstanceCount": 2}]  # as autoscaling does it
    endpoints.aws.call("sagemaker:UpdateEndpointWeightsAndCapacities", EndpointName=name, DesiredWeightsAndCapacities=grown)
    until(lambda: endpoints.apply(wish) or [count for _, count in variants(cloud).values()] == [2])
    endpoints.apply(wish)
    assert [count for _, count in variants(cloud).values()] == [2], "the count is AWS's"
    wish = spec(VersionSpec("2", two, 1))
    settled(endpoints, wish)
    until(lambda: endpoints.apply(wish) or (len(variants(cloud)) == 1 and list(followed(endpoints)) not in ([], [resource])))
    endpoints.delete(NAME)
    assert followed(endpoints) == {}
