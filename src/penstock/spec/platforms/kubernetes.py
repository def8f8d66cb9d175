"""`kind: kubernetes`: a cluster, reached as kubectl reaches it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from penstock.spec.platforms.accelerators import Gpu
from penstock.spec.types import Bytes, Fraction, Record, Seconds

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", description="a–z, 0–9 and '-', at most 63")]


class Pool(Record):
    """Nodes of one kind. `labels` choose them, `taints` (KEY=VALUE:EFFECT) are tolerated; `spot`: they may be taken away at any time."""

    cpus: float = Field(gt=0, description="that a pod may ask for")
    memory: Bytes = Field(gt=0)
    gpu: Gpu | None = None
    spot: bool = False
    labels: dict[str, str] = Field(default_factory=dict)
    taints: tuple[Annotated[str, Field(pattern=r"^[^=:]+(=[^=:]*)?:(NoSchedule|PreferNoSchedule|NoExecute)$")], ...] = ()
    usd_per_hour: float | None = Field(default=None, ge=0, description="of one node")


class Claim(Record):
    """A volume that all pods mount (ReadWriteMany), for a store that is no bucket."""

    claim: DnsLabel
    at: str = Field(pattern=r"^/", description="where it is mounted: the folder that PENSTOCK_ARTIFACTS names lies in it")


class KubernetesPlatform(Record):
    """`image` has Penstock in it. Without `kubeconfig` and `context` the cluster is that of kubectl, or the one that Penstock runs in."""

    kind: Literal["kubernetes"]
    image: str = Field(min_length=1, description="with Penstock in it")
    namespace: DnsLabel = "default"
    context: str | None = None
    kubeconfig: str | None = None
    service_account: DnsLabel | None = Field(default=None, description="that jobs and replicas run as; its identity reaches the store")
    pull_secret: DnsLabel | None = None
    secrets: tuple[DnsLabel, ...] = Field(default=(), description="Secrets of the cluster that become environment variables")
    environment: dict[str, str] = Field(default_factory=dict, description="variables of jobs and replicas; no secrets")
    volume: Claim | None = None
    pools: dict[DnsLabel, Pool] = Field(default_factory=dict, description="without any, pods ask for what the step needs and nothing more")
    distributed: Literal["auto", "indexed", "trainjob"] = Field(default="auto", description="how steps with `nodes` above 1 run")
    autoscale: Autoscale = Field(default_factory=lambda: Autoscale(), description="who counts the replicas")
    serve: Literal["deployment", "kserve"] = "deployment"
    replica: ReplicaSize = Field(default_factory=lambda: ReplicaSize())
    pending: Seconds = Field(default=600.0, gt=0, description="that a job's pods may wait for a machine")
    gateway_labels: dict[str, str] = Field(
        default_factory=dict, description="of the pods that may reach replicas; none: any pod of the namespace"
    )
    metrics: Monitoring | None = Field(default=None, description="true: rules, monitors and dashboards for the cluster's Prometheus")

    @field_validator("metrics", mode="before")
    @classmethod
    def _asked(cls, value: Any) -> Any:
        return {True: {}, False: None}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _sound(self) -> KubernetesPlatform:
        if self.serve == "kserve" and self.autoscale.by == "keda":
            raise ValueError("with `serve: kserve`, KServe scales by itself; write `autoscale: hpa` for that, or leave it out")
        return self


class Autoscale(Record):
    """`penstock` counts replicas by what the gateway sees (`deploy.scale`); the others count up from there to `most`, by what pods use.

    `prometheus`: with `keda`, the server that scrapes the gateway: replicas then follow requests in flight, and may go down to none.
    """

    by: Literal["penstock", "hpa", "keda"] = "penstock"
    most: int = Field(default=4, ge=1)
    cpu: Fraction = Field(default=0.7, gt=0, le=1, description="of what a pod asked for")
    prometheus: str | None = Field(default=None, pattern=r"^https?://")
    in_flight: int = Field(default=8, ge=1, description="requests that one replica should have, with `prometheus`")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"by": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _sound(self) -> Autoscale:
        if self.prometheus is not None and self.by != "keda":
            raise ValueError("`prometheus` is asked by KEDA only: write `by: keda`")
        return self


class Monitoring(Record):
    """Prometheus by its operator, and Grafana with a sidecar that looks for dashboards. `labels`: by which that Prometheus chooses.

    `namespace`: where it runs; it may then read the replicas too.
    """

    labels: dict[str, str] = Field(default_factory=dict, description="such as `release: kube-prometheus-stack`")
    namespace: DnsLabel | None = None


class ReplicaSize(Record):
    """What one replica asks for."""

    cpus: float = Field(default=1.0, gt=0)
    memory: Bytes = Field(default=2 << 30, gt=0)
    gpu: Gpu | None = None
    spot: bool = False


KubernetesPlatform.model_rebuild()
