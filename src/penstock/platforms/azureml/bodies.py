"""What Azure is asked to make: an endpoint, a deployment of it, and all that the instances of one are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.digests import digest_json, hex_of
from penstock.platforms.azureml.naming import SHAPE, TAG, store_mark, tags
from penstock.platforms.contract import EndpointSpec, VersionSpec
from penstock.platforms.remote.told import telling
from penstock.spec.platforms.azureml import AzureMLPlatform, Cluster

LONGEST_ANSWER, AT_ONCE = "PT3M", 64  # what Azure allows at most; requests that an instance takes at once


@dataclass(frozen=True, slots=True)
class Bodies:
    """`workspace`: its resource id; `store`: the URL of the artifact store that containers read their bundle from; `machine`: type of
    instances; `environment`: its id; `replica`: more of what a container is told.
    """

    settings: AzureMLPlatform
    workspace: str
    store: str
    machine: str
    environment: str
    replica: Mapping[str, Any] = field(default_factory=dict)

    def endpoint(self, traffic: Mapping[str, int], mirror: Mapping[str, int]) -> dict[str, Any]:
        """On Kubernetes an endpoint takes no tokens of Entra, and mirrors nothing."""
        own, cluster = self.settings.identity, self.settings.kubernetes
        if cluster is not None:
            compute = f"{self.workspace}/computes/{cluster.name}"
            properties = {"authMode": "AMLToken", "compute": compute, "traffic": dict(traffic)}
            return {
                "location": self.settings.region,
                "identity": {"type": "SystemAssigned"},
                "tags": self._tags(),
                "properties": properties,
            }
        return {
            "location": self.settings.region,
            "kind": "Managed",
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {own: {}}} if own else {"type": "SystemAssigned"},
            "tags": self._tags(),
            "properties": {"authMode": "AADToken", "traffic": dict(traffic), "mirrorTraffic": dict(mirror)},
        }

    def deployment(self, desired: EndpointSpec, version: VersionSpec, count: int) -> dict[str, Any]:
        managed = {"kind": "Managed"} if self.settings.kubernetes is None else {}
        return {
            "location": self.settings.region,
            **managed,
            "sku": {"name": "Default", "tier": "Standard", "capacity": count},
            "tags": {**self._tags(), SHAPE: self.shape(desired, version)},
            "properties": self._properties(desired, version),
        }

    def shape(self, desired: EndpointSpec, version: VersionSpec) -> str:
        """A digest of all that instances are made of."""
        return hex_of(digest_json(self._properties(desired, version)))[:16]

    def _properties(self, desired: EndpointSpec, version: VersionSpec) -> dict[str, Any]:
        told = {**self.settings.environment, **telling(desired, version, self.store)}
        if self.replica:
            told["PENSTOCK_REPLICA"] = json.dumps(self.replica)
        probe = {"initialDelay": "PT10S", "period": "PT10S", "timeout": "PT5S", "failureThreshold": 30, "successThreshold": 1}
        more = {} if self.settings.kubernetes is None else self._on_kubernetes(self.settings.kubernetes)
        return {
            "endpointComputeType": "Managed",
            "environmentId": self.environment,
            "environmentVariables": told,
            "instanceType": self.machine,
            "scaleSettings": {"scaleType": "Default"},
            "requestSettings": {"requestTimeout": LONGEST_ANSWER, "maxConcurrentRequestsPerInstance": AT_ONCE},
            "livenessProbe": probe,
            "readinessProbe": probe,
            **more,
        }

    def _on_kubernetes(self, cluster: Cluster) -> dict[str, Any]:
        """What is said otherwise, or as well, of a deployment there."""
        found: dict[str, Any] = {"endpointComputeType": "Kubernetes"}
        if cluster.replica is not None:
            share = {"cpu": f"{cluster.replica.cpus:g}", "memory": f"{cluster.replica.memory >> 20}Mi"}
            gpu = cluster.instance_types[self.machine].gpu
            limits = share if gpu is None else {**share, "gpu": str(gpu.count)}
            found["containerResourceRequirements"] = {"containerResourceRequests": share, "containerResourceLimits": limits}
        if (bounds := self.settings.autoscale) is not None:
            count = {"minInstances": bounds.min, "maxInstances": bounds.max, "targetUtilizationPercentage": bounds.cpu}
            found["scaleSettings"] = {"scaleType": "TargetUtilization", **count}
        return found

    def _tags(self) -> dict[str, str]:
        return tags(self.settings.tags, {TAG: store_mark(self.store)})
