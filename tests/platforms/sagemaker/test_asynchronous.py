"""Asynchronous endpoints: a request's way through S3 and the line, what goes wrong on it, sleep and waking, nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from penstock.core.errors import UpstreamRefused
from penstock.core.home import Home
from penstock.platforms.contract import VersionSpec
from penstock.platforms.sagemaker.endpoints import SageMakerEndpoints, line_place
from penstock.platforms.sagemaker.folder import Folder
from penstock.platforms.sagemaker.platform import SAGEMAKER
from penstock.platforms.sagemaker.queueing import Line, LinedAddress, failed
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.emulators.sagemaker.queueing import backlog
from penstock.testing.endpoints_suite import bundle, settled
from penstock.testing.hosted_suite import NAME, brought, spec
from penstock.testing.jobs_suite import until
from penstock.testing.serving import ECHO, gateway_to
from penstock.testing.wrong_jobs_suite import QUICK

SECTION = {"asynchronous": {"concurrency": 2, "timeout": 120.0, "wait": 600.0}, "autoscale": {"min": 0, "max": 3, "backlog": 5.0}}


@pytest.fixture
def config(cloud: SageMaker) -> dict[str, Any]:
    return cloud.section(drain_s=5.0, replica={"engine_class": ECHO}, **SECTION)


@pytest.fixture
def endpoints(place: tuple[Home, Artifacts], config: dict[str, Any]) -> Iterator[SageMakerEndpoints]:
    made = SAGEMAKER.endpoints(*place, config)
    made.aws.patience = QUICK
    yield made
    for endpoint in made._here.notes(NAME):  # the emulated account forgets its endpoints, not what follows them
        made._scaling.keep(endpoint, ())
    made._here.bridges.delete(NAME)


def objects(endpoints: SageMakerEndpoints) -> list[str]:
    folder = Folder(endpoints.aws, line_place(endpoints.output, endpoints.artifacts.url))
    return [row["Key"].removeprefix(folder.prefix) for row in folder.rows(folder.prefix)]


def scaled(cloud: SageMaker, endpoints: SageMakerEndpoints, count: int) -> None:
    """As autoscaling does it."""
    (name,) = cloud.account.of("endpoint")
    (variant,) = cloud.account.of("endpoint")[name].variants
    wish = [{"VariantName": variant, "DesiredInstanceCount": count}]
    until(lambda: endpoints.aws.call("sagemaker:DescribeEndpoint", EndpointName=name)["EndpointStatus"] == "InService")  # type: ignore[index]
    endpoints.aws.call("sagemaker:UpdateEndpointWeightsAndCapacities", EndpointName=name, DesiredWeightsAndCapacities=wish)
    until(lambda: settled_at(endpoints, name, count))


def settled_at(endpoints: SageMakerEndpoints, name: str, count: int) -> bool:
    (row,) = endpoints.aws.call("sagemaker:DescribeEndpoint", EndpointName=name)["ProductionVariants"]  # type: ignore[index]
    return (row["CurrentInstanceCount"], row["DesiredInstanceCount"]) == (count, count)


def test_a_request_through_the_line_and_back_asleep_and_awake(
    cloud: SageMaker, place: tuple[Home, Artifacts], endpoints: SageMakerEndpoints, config: dict[str, Any], tmp_path: Path
) -> None:
    one = bundle(endpoints.artifacts, tmp_path, "one")
    wish, faults = spec(VersionSpec("1", one, 1)), cloud.account.faults
    ready = settled(endpoints, wish)
    (name,) = cloud.account.of("endpoint")
    stage, gateway = gateway_to(tmp_path, NAME, ready)
    with stage, ThreadPoolExecutor(8) as pool:
        answer = gateway.ask(model=NAME, prompt="a b c", max_tokens=3)
        assert (answer.status_code, answer.json()["choices"][0]["text"].split()) == (200, ["a", "b", "c"])
        wrong = gateway.ask(model=NAME, promt="a")
        assert (wrong.status_code, "promt" in wrong.text) == (400, True), "the replica's own refusal comes through"
        events, whole = gateway.stream(model=NAME)
        assert "leave `stream` out" in events.decode() or not whole
        for fault in ("lose_answer", "throttle", "lose_request"):
            faults.plan(fault, "InvokeEndpointAsync")
        assert gateway.ask(model=NAME, prompt="lost", max_tokens=1).json()["choices"][0]["text"].split() == ["lost"]
        assert faults.met == 3, "a request is put in line again until it is known to stand there"
        faults.planned.clear()
        brought(endpoints, wish, lambda: scaled_by_aws(endpoints, name))
        scaled(cloud, endpoints, 0)
        endpoints.apply(wish)
        assert [row.phase for row in endpoints.observe(NAME).replicas] == ["ready"], "the line takes requests when nobody is up"
        waiting = [pool.submit(gateway.ask, model=NAME, prompt=f"w{number}", max_tokens=1) for number in range(4)]
        until(lambda: backlog(cloud.account, name) == 4)
        scaled(cloud, endpoints, 1)
        assert sorted(one.result().json()["choices"][0]["text"].strip() for one in waiting) == ["w0", "w1", "w2", "w3"]
        # an answer that was lost made two: the second comes to an object that nobody waits for
        until(lambda: len(objects(endpoints)) <= 1)
    assert "alarm" in " ".join(SAGEMAKER.left(*place, config))
    endpoints.delete(NAME)
    until(lambda: not SAGEMAKER.left(*place, config))


def scaled_by_aws(endpoints: SageMakerEndpoints, name: str) -> bool:
    """Both policies and the alarm are there, and are about this endpoint."""
    rows = list(endpoints.aws.pages("application-autoscaling:DescribeScalingPolicies", "ScalingPolicies", ServiceNamespace="sagemaker"))
    policies = {row["PolicyName"]: row for row in rows}
    alarms = list(endpoints.aws.pages("cloudwatch:DescribeAlarms", "MetricAlarms", AlarmNamePrefix=f"{name}-waking"))
    if len(policies) < 2 or not alarms:
        return False
    tracked = policies["penstock-invocations"]["TargetTrackingScalingPolicyConfiguration"]
    assert (tracked["TargetValue"], tracked["CustomizedMetricSpecification"]["MetricName"]) == (5.0, "ApproximateBacklogSizePerInstance")
    assert policies["penstock-waking"]["StepScalingPolicyConfiguration"]["StepAdjustments"][0]["ScalingAdjustment"] == 1
    assert alarms[0]["AlarmActions"] == [policies["penstock-waking"]["PolicyARN"]]
    assert (alarms[0]["MetricName"], alarms[0]["Dimensions"][0]["Value"]) == ("HasBacklogWithoutCapacity", name)
    (target,) = endpoints.aws.pages("application-autoscaling:DescribeScalableTargets", "ScalableTargets", ServiceNamespace="sagemaker")
    return (target["MinCapacity"], target["MaxCapacity"]) == (0, 3)


def test_what_others_put_in_line_and_what_they_may_not(cloud: SageMaker, endpoints: SageMakerEndpoints, tmp_path: Path) -> None:
    settled(endpoints, spec(VersionSpec("1", bundle(endpoints.artifacts, tmp_path, "one"), 1)))
    (name,), bucket = cloud.account.of("endpoint"), cloud.bucket()
    s3, key = cloud.account.client("s3"), {"Bucket": bucket.removeprefix("s3://"), "Key": "in.json"}
    s3.put_object(**key, Body=json.dumps({"model": NAME, "prompt": "a b", "max_tokens": 2}))
    asked: dict[str, Any] = {"EndpointName": name, "ContentType": "application/json"}

    def at(url: str) -> str:
        where, _, what = url.removeprefix("s3://").partition("/")

        def read() -> str:
            with contextlib.suppress(s3.exceptions.NoSuchKey):
                return str(s3.get_object(Bucket=where, Key=what)["Body"].read().decode())
            return ""

        return str(until(read))

    lax = Config(parameter_validation=False)  # it is the emulator that is to refuse
    with contextlib.closing(boto3.client("sagemaker-runtime", config=lax)) as runtime:
        told = runtime.invoke_endpoint_async(**asked, InputLocation=f"{bucket}/in.json", InferenceId="mine", S3OutputPathExtension="x/y")
        assert told["InferenceId"] == "mine"
        assert told["OutputLocation"].endswith(f"{name}/out/x/y/mine.out")
        assert json.loads(at(told["OutputLocation"]))["choices"][0]["text"] == "a b "
        inline = runtime.invoke_endpoint_async(**asked, Body=b"{")
        assert failed(at(inline["FailureLocation"]).encode()).status == 400
        nowhere = runtime.invoke_endpoint_async(**asked, InputLocation=f"{bucket}/nowhere")
        assert "Unable to download" in at(nowhere["FailureLocation"])
        scaled(cloud, endpoints, 0)
        late = runtime.invoke_endpoint_async(**asked, InputLocation=f"{bucket}/in.json", RequestTTLSeconds=60)
        assert backlog(cloud.account, name) == 1
        cloud.account.clock = lambda: time.time() + 61
        assert "expired" in at(late["FailureLocation"])
        cloud.account.clock = time.time
        for call, says in (
            (lambda: runtime.invoke_endpoint(**asked, Body=b"{}"), "asynchronous invocations only"),
            (lambda: runtime.invoke_endpoint_async(**asked, InputLocation=f"{bucket}/x", Body=b"{}"), "exactly one of"),
            (
                lambda: runtime.invoke_endpoint_async(**asked, InputLocation=f"{bucket}/x", RequestTTLSeconds=59),
                "greater than or equal to 60",
            ),
            (
                lambda: runtime.invoke_endpoint_async(**asked, InputLocation=f"{bucket}/x", InvocationTimeoutSeconds=3601),
                "less than or equal",
            ),
            (lambda: runtime.invoke_endpoint_async(**asked, InputLocation=f"{bucket}/x", Filename="a.b.c"), "regular expression"),
            (lambda: runtime.invoke_endpoint_async(**{**asked, "EndpointName": "nobody"}, Body=b"{}"), "not found"),
        ):
            refused_with(call, says)


def refused_with(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ClientError, match=says):
        call()


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        (b'Received client error (422) from primary with message "{"error": {"message": "too long"}}"', 422, "too long"),
        (b'Received server error (500) from model with message "boom".', 500, "boom"),
        (b"Your invocation timed out while waiting for a response from container primary.", 504, "timed out"),
        (b"Request expired", 504, "expired"),
        (b"\xff something else", 502, "something else"),
    ],
)
def test_a_failure_becomes_the_right_error(text: bytes, status: int, says: str) -> None:
    found = failed(text)
    assert found.status == status
    assert says in str(found)


def test_a_client_that_leaves_leaves_nothing_and_nobody_waits_for_ever(cloud: SageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is not asked here: only what a bridge does about an answer that never comes, or that nobody wants any more."""
    place = f"{cloud.bucket()}/asynchronous/p/e"
    address = LinedAddress("e", "v", cloud.region, "sha256:a", mark="m", place=place, timeout=1, wait=60, asleep=True)
    s3, bucket = cloud.account.client("s3"), place.removeprefix("s3://").partition("/")[0]

    def there() -> list[str]:
        return [row["Key"] for row in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]

    async def in_line(self: Line, signer: object, path: str, given: str, name: str) -> tuple[str, str]:  # noqa: ARG001
        assert there() == [given.removeprefix(f"s3://{bucket}/")]
        return f"{place}/out/{name}.out", f"{place}/failed/{name}"

    monkeypatch.setattr(Line, "_put_in_line", in_line)

    async def scenario() -> None:
        line = Line(address)
        assert json.loads(b"".join([piece async for piece in line.send("/healthz", {}, False)])) == {"digest": "sha256:a"}
        answer = line.send("/v1/completions", {"prompt": "a"}, False)
        task = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(0.5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await answer.aclose()
        assert there() == []
        monkeypatch.setattr("penstock.platforms.sagemaker.queueing.GRACE_S", -61.0)
        with pytest.raises(UpstreamRefused) as late:
            await anext(line.send("/v1/completions", {"prompt": "a"}, False))
        assert late.value.status == 504
        assert there() == []
        await line.close()

    asyncio.run(scenario())
