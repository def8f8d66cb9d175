"""`kind: sagemaker`: AWS SageMaker AI, in one account and region. Credentials come from AWS's own chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from penstock.core.units import seconds, show_seconds
from penstock.spec.types import Record, Seconds


class InstanceScaling(Record):
    """Instances of each variant, counted by AWS. `min` 0: of asynchronous endpoints only."""

    min: int = Field(default=1, ge=0)
    max: int = Field(ge=1)
    invocations: float | None = Field(default=None, gt=0, description="a minute that one instance should get")
    backlog: float | None = Field(default=None, gt=0, description="requests that may stand in line for each instance (asynchronous)")
    up_after: Seconds = Field(default=60.0, ge=0, description="pause after instances came")
    down_after: Seconds = Field(default=300.0, ge=0, description="pause after instances went")

    @model_validator(mode="after")
    def _ordered(self) -> InstanceScaling:
        if self.min > self.max:
            raise ValueError(f"`min` ({self.min}) is above `max` ({self.max})")
        return self


class Serverless(Record):
    """Endpoints without instances of their own: none when nobody asks, paid by use. `concurrency`: requests at once, of each version."""

    memory_gb: int = Field(default=4, ge=1, le=6)
    concurrency: int = Field(default=8, ge=1, le=200)


class Asynchronous(Record):
    """Requests stand in a line at SageMaker, go in and out through S3, and may take an hour; each version gets an endpoint of its own."""

    concurrency: int = Field(default=4, ge=1, le=1000, description="requests that an instance is given at once")
    timeout: Seconds = Field(default=900.0, ge=1, le=3600, description="that one may be worked on")
    wait: Seconds = Field(default=21600.0, ge=60, le=21600, description="that one may stand in line")


class DataCapture(Record):
    """What clients send to the endpoint itself becomes request records too. `percent`: of the requests, drawn by SageMaker."""

    percent: int = Field(default=100, ge=1, le=100)
    keep: bool = Field(default=False, description="captured objects stay in S3, unmasked, once their requests are records")


class SageMakerPlatform(Record):
    """Artifacts must lie in S3 (PENSTOCK_ARTIFACTS): jobs and endpoints read and write them there as `role`."""

    kind: Literal["sagemaker"]
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="such as eu-west-1")
    role: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/", description="that jobs and endpoints run as")
    image: str = Field(min_length=1, description="in ECR, with Penstock in it")
    bucket: str | None = Field(default=None, pattern=r"^s3://", description="for what SageMaker itself writes; default: the store's")
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://", description="another address of the service, for an emulator")
    environment: dict[str, str] = Field(default_factory=dict, description="variables of jobs and replicas; no secrets")
    tags: dict[str, str] = Field(default_factory=dict, description="put on every resource, beside Penstock's own")
    subnets: tuple[str, ...] = Field(default=(), description="of your own network; none: the service's")
    security_groups: tuple[str, ...] = ()
    machine: str | None = Field(default=None, description="type of the endpoints' instances; default: the cheapest with 2 CPUs and 4 GiB")
    autoscale: InstanceScaling | None = Field(default=None, description="AWS counts the endpoints' instances; default: `deploy.scale` does")
    serverless: Serverless | None = Field(default=None, description="endpoints without instances; each version gets one of its own")
    asynchronous: Asynchronous | None = Field(default=None, description="endpoints with a line of requests; default: real-time ones")
    capture: DataCapture | None = Field(
        default=None, description="requests that go past the gateway become records; default: nobody sees them"
    )
    volume_gb: int = Field(default=30, ge=1, le=16384, description="disk of a job's machine")
    longest: Seconds = Field(default=86400.0, ge=60, le=28 * 86400, description="that a step without `timeout` may run")
    spot_wait: Seconds = Field(default=86400.0, ge=60, le=28 * 86400, description="that a spot step may wait for machines, in all")
    keep_warm: Seconds = Field(default=0.0, ge=0, le=21600, description="that a job's machine is kept (and paid) for the next step")

    metrics: bool = Field(default=False, description="what is measured of deployments goes to CloudWatch, with dashboard and alarms")

    registry: bool = Field(default=False, description="versions are model packages too; who decides on one there or here is heeded in both")

    workflow_role: str | None = Field(
        default=None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/", description="that state machines and what starts them run as"
    )

    @model_validator(mode="after")
    def _fitting(self) -> SageMakerPlatform:
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("`subnets` and `security_groups` go together")
        if self.serverless is not None and (self.autoscale is not None or self.machine is not None or self.subnets):
            raise ValueError("a serverless endpoint has no `machine`, no `autoscale` and no network of yours")
        return self


def conflicts(section: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """(key, why it cannot be) of what the service does not take together, each with the way out."""
    scaling, lined = section.get("autoscale"), section.get("asynchronous") is not None
    if section.get("capture") is not None and section.get("serverless") is not None:
        yield ("capture",), "SageMaker captures nothing of a serverless endpoint: leave `capture` out, or `serverless`"
    if lined and section.get("capture") is not None:
        yield ("capture",), "nothing says that SageMaker captures requests of an asynchronous endpoint: leave `capture` out"
    if lined and section.get("serverless") is not None:
        yield ("asynchronous",), "an asynchronous endpoint has instances: leave `serverless` out; `autoscale: {min: 0}` lets them go"
    if not isinstance(scaling, Mapping):
        return
    if scaling.get("min") == 0 and not lined:
        yield ("autoscale", "min"), "an endpoint with instances keeps one: write 1, or make it `asynchronous`, or `serverless`"
    wanted, other = ("backlog", "invocations") if lined else ("invocations", "backlog")
    if other in scaling:
        kind = "an asynchronous" if lined else "a real-time"
        yield ("autoscale", other), f"AWS does not count this of {kind} endpoint: write `{wanted}`"
    elif wanted not in scaling:
        yield ("autoscale",), f"`{wanted}` is missing"


def beside(section: Mapping[str, Any], deploy: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """(key of `deploy`, why it cannot be) where the deployment goes to this platform."""
    if (lined := section.get("asynchronous")) is None:
        return
    if deploy.get("adapters"):
        yield (
            ("adapters",),
            "which adapters an instance holds is asked of it, and an asynchronous endpoint answers nothing at once: merge them",
        )
    try:
        longest, given = seconds_of(lined, "timeout", 900.0), seconds_of(deploy.get("protect"), "timeout", 120.0)
    except (ValueError, TypeError):
        return  # told as what it is
    if given < longest:
        told = f"the gateway gives up after {show_seconds(given)}, an asynchronous request may be worked on for {show_seconds(longest)}"
        yield (
            ("protect", "timeout"),
            f"{told}: raise `deploy.protect.timeout` to that and the wait before it, or lower `asynchronous.timeout`",
        )


def seconds_of(section: Any, key: str, default: float) -> float:
    value = section.get(key, default) if isinstance(section, Mapping) else default
    return seconds(value) if isinstance(value, str) else float(value)
