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
from penstock.platforms.contract import EndpointSpec, ReplicaState, VersionSpec
from penstock.platforms.remote.retrying import Patience
from penstock.platforms.sagemaker.endpoints import SageMakerEndpoints
from penstock.platforms.sagemaker.platform import SAGEMAKER
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.endpoints_suite import adapter, bundle, settled
from penstock.testing.jobs_suite import until
from penstock.testing.serving import ECHO, gateway_to

NAME = "intents"


@pytest.fixture
def endpoints(cloud: SageMaker, place: tuple[Home, Artifacts]) -> Iterator[SageMakerEndpoints]:
    made = SAGEMAKER.endpoints(*place, cloud.section(drain_s=5.0, replica={"engine_class": ECHO}))
    made.aws.patience = Patience(attempts=4, first_s=0.01, longest_s=0.02)
    yield made
    made._here.bridges.delete(NAME)


@pytest.fixture
def runtime(cloud: SageMaker) -> Iterator[Any]:  # noqa: ARG001 (its environment)
    with contextlib.closing(boto3.client("sagemaker-runtime")) as client:
        yield client


def spec(*versions: VersionSpec, **settings: Any) -> EndpointSpec:
    return EndpointSpec(NAME, versions, settings)


def variants(cloud: SageMaker) -> dict[str, tuple[float, int]]:
    (endpoint,) = cloud.account.of("endpoint").values()
    return {name: (variant.weight, variant.wanted) for name, variant in endpoint.variants.items()}


def test_a_request_goes_there_and_back(cloud: SageMaker, endpoints: SageMakerEndpoints, tmp_path: Path) -> None:
    one, two = bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")
    ready = settled(endpoints, spec(VersionSpec("1", one, 1, weight=0.95), VersionSpec("2", two, 1, weight=0.05)))
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
        assert gateway.records(4)[0]["model"] == NAME
    assert sorted(variants(cloud).values()) == [(0.05, 1), (0.95, 1)], "the split is the endpoint's own too"


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


def test_weights_and_counts_change_in_place(cloud: SageMaker, endpoints: SageMakerEndpoints, tmp_path: Path) -> None:
    one, two = bundle(endpoints.artifacts, tmp_path, "one"), bundle(endpoints.artifacts, tmp_path, "two")
    settled(endpoints, spec(VersionSpec("1", one, 1, weight=0.95), VersionSpec("2", two, 1, weight=0.05)))
    before = list(cloud.account.of("endpoint-config"))
    settled(endpoints, spec(VersionSpec("1", one, 1, weight=0.25), VersionSpec("2", two, 2, weight=0.75)))
    until(lambda: sorted(variants(cloud).values()) == [(0.25, 1), (0.75, 2)])
    assert list(cloud.account.of("endpoint-config")) == before
    settled(endpoints, spec(VersionSpec("2", two, 1, weight=1.0)))
    until(lambda: endpoints.apply(spec(VersionSpec("2", two, 1, weight=1.0))) or len(variants(cloud)) == 1)
    until(lambda: endpoints.apply(spec(VersionSpec("2", two, 1, weight=1.0))) or len(cloud.account.of("model")) == 1)
    assert len(cloud.account.of("endpoint-config")) == 1, "what is no longer used is taken away"


def test_a_version_that_cannot_start_leaves_the_old_one_alone(cloud: SageMaker, endpoints: SageMakerEndpoints, tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    (old,) = settled(endpoints, spec(VersionSpec("1", one, 1)))
    wish = spec(VersionSpec("1", one, 1), VersionSpec("2", "sha256:" + "9" * 64, 1))

    def failed() -> list[ReplicaState]:
        endpoints.apply(wish)
        return [r for r in endpoints.observe(NAME).replicas if r.phase == "failed"]

    (broken,) = until(failed)
    assert broken.version == "2"
    assert "did not pass the ping health check" in str(broken.error)
    assert [r.id for r in endpoints.observe(NAME).replicas if r.phase == "ready"] == [old.id]
    tried = cloud.account.processes.made.copy()
    for _ in range(5):
        endpoints.apply(wish)
    assert cloud.account.processes.made == tried, "not tried again at once"
    real = endpoints.clock
    endpoints.clock = lambda: real() + 60
    endpoints.apply(wish)
    until(lambda: endpoints.apply(wish) or len(cloud.account.processes.made) > len(tried))


def test_no_instance_is_free_and_then_one_is(cloud: SageMaker, endpoints: SageMakerEndpoints, tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    cloud.account.dry.add("ml.m5.large")
    wish = spec(VersionSpec("1", one, 1))

    def failed() -> list[ReplicaState]:
        endpoints.apply(wish)
        return [r for r in endpoints.observe(NAME).replicas if r.phase == "failed"]

    (none,) = until(failed)
    assert "InsufficientInstanceCapacity" in str(none.error)
    cloud.account.dry.clear()
    real = endpoints.clock
    endpoints.clock = lambda: real() + 60
    assert len(settled(endpoints, wish)) == 1
    assert endpoints.observe(NAME).replicas[0].error is None


def test_faults_between_the_calls_leave_one_of_each(cloud: SageMaker, endpoints: SageMakerEndpoints, tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    faults = cloud.account.faults
    for operation in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "UpdateEndpointWeightsAndCapacities"):
        faults.plan("lose_answer", operation)
        faults.plan("throttle", operation)
    settled(endpoints, spec(VersionSpec("1", one, 1)))
    settled(endpoints, spec(VersionSpec("1", one, 2)))
    assert [len(cloud.account.of(kind)) for kind in ("model", "endpoint-config", "endpoint")] == [1, 1, 1]
    faults.plan("internal", times=1000)
    with pytest.raises(Exception, match="InternalFailure"):
        endpoints.apply(spec(VersionSpec("1", one, 1)))
    faults.planned.clear()
    assert len(settled(endpoints, spec(VersionSpec("1", one, 1)))) == 1


def test_an_answer_that_lags_behind_takes_nothing_away(cloud: SageMaker, endpoints: SageMakerEndpoints, tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    wish = spec(VersionSpec("1", one, 1))
    (before,) = settled(endpoints, wish)
    cloud.account.faults.plan("unseen", "DescribeEndpoint")
    endpoints.apply(wish)
    assert [(r.id, r.phase) for r in endpoints.observe(NAME).replicas] == [(before.id, "ready")]


def test_an_endpoint_deleted_behind_our_back_comes_back(cloud: SageMaker, endpoints: SageMakerEndpoints, tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    wish = spec(VersionSpec("1", one, 1))
    (before,) = settled(endpoints, wish)
    (name,) = cloud.account.of("endpoint")
    endpoints.aws.call("sagemaker:DeleteEndpoint", EndpointName=name)
    until(lambda: endpoints.apply(wish) or before.id not in {r.id for r in endpoints.observe(NAME).replicas if r.phase == "ready"})
    assert len(settled(endpoints, wish)) == 1


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
    (policy,) = endpoints.aws.pages("application-autoscaling:DescribeScalingPolicies", "ScalingPolicies", ServiceNamespace="sagemaker")
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


def test_nothing_is_left(cloud: SageMaker, endpoints: SageMakerEndpoints, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    endpoints.apply(spec(VersionSpec("1", one, 1)))
    left = SAGEMAKER.left(*place, cloud.section())
    assert [row.rpartition(" ")[0] for row in left] == ["endpoint configuration", "endpoint", "model"]
    endpoints.delete(NAME)  # while it is being created
    until(lambda: not SAGEMAKER.left(*place, cloud.section()))
    assert not endpoints.observe(NAME).replicas


def test_who_may_not_invoke_is_told(cloud: SageMaker, endpoints: SageMakerEndpoints, tmp_path: Path) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    cloud.account.identities.denied.add("InvokeEndpoint")
    wish = spec(VersionSpec("1", one, 1))

    def failed() -> list[ReplicaState]:
        endpoints.apply(wish)
        return [r for r in endpoints.observe(NAME).replicas if r.phase == "failed"]

    (told,) = until(failed)
    assert "grant sagemaker:InvokeEndpoint" in str(told.error)
