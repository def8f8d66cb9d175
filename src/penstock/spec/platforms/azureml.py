"""`kind: azureml`: an Azure Machine Learning workspace. Credentials are those of Azure's default chain."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from penstock.spec.types import Record, Seconds


class Cluster(Record):
    """An existing compute cluster of the workspace; whether its machines are low-priority is said when it is made."""

    name: str = Field(min_length=1)
    machine: str = Field(min_length=1, description="type of its machines, such as Standard_NC4as_T4_v3")
    low_priority: bool = False


class AzureAutoscale(Record):
    """Instances of each deployment, counted by Azure Monitor: one more above `cpu` percent of use, one less below half of it."""

    min: int = Field(default=1, ge=1)
    max: int = Field(ge=1)
    cpu: int = Field(default=70, ge=1, le=100, description="percent of its CPUs that a deployment may use over 5 minutes")
    pause: Seconds = Field(default=300.0, ge=60, description="after instances came or went")

    @model_validator(mode="after")
    def _ordered(self) -> AzureAutoscale:
        if self.min > self.max:
            raise ValueError(f"`min` ({self.min}) is above `max` ({self.max})")
        return self


class AzureMLPlatform(Record):
    """Artifacts must lie in Blob Storage (PENSTOCK_ARTIFACTS): jobs and endpoints read and write them there as `identity`."""

    kind: Literal["azureml"]
    subscription: str = Field(min_length=1)
    resource_group: str = Field(min_length=1)
    workspace: str = Field(min_length=1)
    region: str = Field(pattern=r"^[a-z]+\d?$", description="such as westeurope")
    image: str = Field(min_length=1, description="in Azure Container Registry, with Penstock in it; its own command is `penstock serve`")
    compute: Cluster | None = Field(default=None, description="an existing compute cluster; default: serverless compute")
    identity: str | None = Field(
        default=None,
        pattern=r"(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/]+$",
        description="resource id of the managed identity that jobs and endpoints run as",
    )
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://", description="another address of the service, for an emulator")
    environment: dict[str, str] = Field(default_factory=dict, description="variables of jobs and replicas; no secrets")
    tags: dict[str, str] = Field(default_factory=dict, description="put on every resource, beside Penstock's own")
    machine: str | None = Field(default=None, description="type of the endpoints' instances; default: the smallest with 2 CPUs and 4 GiB")
    autoscale: AzureAutoscale | None = Field(
        default=None, description="Azure Monitor counts the endpoints' instances; default: `deploy.scale` does"
    )
    mirror: int = Field(
        default=0, ge=0, le=50, description="percent of what callers send to the endpoint itself that a version without a share gets too"
    )
    metrics: bool = Field(default=False, description="signals go to Azure Monitor too, with a dashboard and alert rules")
    registry: bool = Field(default=False, description="versions in the workspace's registry too; aliases and states count on both sides")
    longest: Seconds = Field(default=86400.0, ge=60, le=30 * 86400, description="that a step without `timeout` may run")
    usd_per_hour: dict[str, float] = Field(default_factory=dict, description="your prices by machine type, for plans and budgets")
