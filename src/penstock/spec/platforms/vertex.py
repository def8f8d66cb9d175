"""`kind: vertex`: Google Vertex AI, in one project and region. Credentials are Google's application default ones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from penstock.spec.types import Record, Seconds


class VertexAutoscale(Record):
    """Replicas of each version, counted by Vertex AI. `cpu`: percent that one should be busy; `gpu`: the same of its accelerators."""

    min: int = Field(default=1, ge=1)
    max: int = Field(ge=1)
    cpu: int | None = Field(default=None, ge=1, le=100)
    gpu: int | None = Field(default=None, ge=1, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> VertexAutoscale:
        if self.min > self.max:
            raise ValueError(f"`min` ({self.min}) is above `max` ({self.max})")
        return self


class VertexPlatform(Record):
    """Artifacts must lie in Cloud Storage (PENSTOCK_ARTIFACTS): jobs and endpoints read and write them there as `service_account`."""

    kind: Literal["vertex"]
    project: str = Field(min_length=1)
    region: str = Field(pattern=r"^[a-z]+-[a-z]+\d$", description="such as europe-west4")
    image: str = Field(min_length=1, description="in Artifact Registry, with Penstock in it")
    service_account: str | None = Field(default=None, description="that jobs and endpoints run as")
    network: str | None = Field(default=None, pattern=r"^projects/[^/]+/global/networks/[^/]+$", description="that jobs are peered with")
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://", description="another address of the service, for an emulator")
    environment: dict[str, str] = Field(default_factory=dict, description="variables of jobs and replicas; no secrets")
    labels: dict[str, str] = Field(default_factory=dict, description="put on every resource, beside Penstock's own")
    machine: str | None = Field(default=None, description="type of the endpoints' machines; default: the cheapest with 4 CPUs and 8 GiB")
    autoscale: VertexAutoscale | None = Field(
        default=None, description="Vertex counts the endpoints' replicas; default: `deploy.scale` does"
    )
    metrics: bool = Field(default=False, description="signals to Cloud Monitoring, with a dashboard and alert policies")
    registry: bool = Field(default=False, description="versions in the Model Registry too; aliases and states count on both sides")
    disk_gb: int = Field(default=100, ge=100, le=64000, description="disk of a job's machine")
    longest: Seconds = Field(default=86400.0, ge=60, le=7 * 86400, description="that a step without `timeout` may run")
