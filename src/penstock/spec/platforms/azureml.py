"""`kind: azureml`: an Azure Machine Learning workspace. Credentials are those of Azure's default chain."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from penstock.spec.platforms.accelerators import Gpu
from penstock.spec.types import Bytes, Record, Seconds


class InstanceType(Record):
    """What a pod of that type may use at most: the `limits` of the InstanceType in the cluster."""

    cpus: float = Field(gt=0)
    memory: Bytes = Field(gt=0)
    gpu: Gpu | None = None


class Portion(Record):
    """Of its instance type, what a replica asks for and may use at most. Azure takes only less than all of it."""

    cpus: float = Field(gt=0)
    memory: Bytes = Field(ge=1 << 20)


class Cluster(Record):
    """An existing compute of the workspace: a cluster of machines of one type, or an attached Kubernetes cluster by its instance types."""

    name: str = Field(min_length=1)
    machine: str | None = Field(default=None, min_length=1, description="type of a cluster's machines, such as Standard_NC4as_T4_v3")
    low_priority: bool = Field(default=False, description="whether a cluster's machines are, as was said when it was made")
    instance_types: dict[str, InstanceType] = Field(default_factory=dict, description="of an attached Kubernetes cluster, by name")
    replica: Portion | None = Field(default=None, description="of a replica on Kubernetes; default: its whole instance type")

    @model_validator(mode="after")
    def _one_kind(self) -> Cluster:
        if (self.machine is None) == (not self.instance_types):
            raise ValueError("say either `machine` (a compute cluster) or `instance_types` (an attached Kubernetes cluster)")
        if self.instance_types and self.low_priority:
            raise ValueError("Azure ML has no low priority on an attached Kubernetes cluster; `kind: kubernetes` knows pools of spot nodes")
        if self.replica is not None and not self.instance_types:
            raise ValueError("`replica` is for an attached Kubernetes cluster; a managed deployment has its machines to itself")
        return self


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


class SharedRegistry(Record):
    """A registry of an organisation. Versions are copied there, all their files, and read from there by any workspace that may."""

    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}$")
    resource_group: str | None = Field(default=None, min_length=1, description="that it is in; default: the workspace's")
    subscription: str | None = Field(default=None, min_length=1, description="that it is in; default: the workspace's")


class AzureMLPlatform(Record):
    """Artifacts must lie in Blob Storage (PENSTOCK_ARTIFACTS): jobs and endpoints read and write them there as `identity`."""

    kind: Literal["azureml"]
    subscription: str = Field(min_length=1)
    resource_group: str = Field(min_length=1)
    workspace: str = Field(min_length=1)
    region: str = Field(pattern=r"^[a-z]+\d?$", description="such as westeurope")
    image: str = Field(min_length=1, description="in Azure Container Registry, with Penstock in it; its own command is `penstock serve`")
    compute: Cluster | None = Field(
        default=None, description="an existing compute: a cluster for jobs, or Kubernetes for jobs and endpoints; default: serverless"
    )
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
    registry: bool | SharedRegistry = Field(
        default=False,
        description="versions in the workspace's registry too, or in an organisation's; aliases and states count on both sides",
    )
    longest: Seconds = Field(default=86400.0, ge=60, le=30 * 86400, description="that a step without `timeout` may run")
    usd_per_hour: dict[str, float] = Field(default_factory=dict, description="your prices by machine type, for plans and budgets")

    @property
    def kubernetes(self) -> Cluster | None:
        """The attached cluster, where there is one."""
        return self.compute if self.compute is not None and self.compute.instance_types else None

    @model_validator(mode="after")
    def _fitting(self) -> AzureMLPlatform:
        cluster = self.kubernetes
        if cluster is None:
            return self
        if self.mirror:
            raise ValueError("an endpoint on Kubernetes does not mirror what callers send; take `mirror` out")
        if self.identity is not None:
            raise ValueError("on Kubernetes the identity is the compute's, given by `az ml compute attach --user-assigned-identities`")
        if self.machine is not None and self.machine not in cluster.instance_types:
            raise ValueError(f"`machine` {self.machine!r} is none of `instance_types` ({', '.join(cluster.instance_types)})")
        if self.autoscale is not None and "pause" in self.autoscale.model_fields_set:
            raise ValueError("on Kubernetes the router of the cluster scales, and knows no `pause`")
        return self
