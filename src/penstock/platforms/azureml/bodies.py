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
from penstock.spec.platforms.azureml import AzureMLPlatform

LONGEST_ANSWER, AT_ONCE = "PT3M", 64  # what Azure allows at most; requests that an instance takes at once


@dataclass(frozen=True, slots=True)
class Bodies:
    """`store`: the URL of the artifact store that containers read their bundle from; `machine`: type of instances; `environment`: its id;
    `replica`: more of what a container is told.
    """

    settings: AzureMLPlatform
    store: str
    machine: str
    environment: str
    replica: Mapping[str, Any] = field(default_factory=dict)

    def endpoint(self, traffic: Mapping[str, int], mirror: Mapping[str, int]) -> dict[str, Any]:
        own = self.settings.identity
        return {
            "location": self.settings.region,
            "kind": "Managed",
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {own: {}}} if own else {"type": "SystemAssigned"},
            "tags": self._tags(),
            "properties": {"authMode": "AADToken", "traffic": dict(traffic), "mirrorTraffic": dict(mirror)},
        }

    def deployment(self, desired: EndpointSpec, version: VersionSpec, count: int) -> dict[str, Any]:
        return {
            "location": self.settings.region,
            "kind": "Managed",
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
        return {
            "endpointComputeType": "Managed",
            "environmentId": self.environment,
            "environmentVariables": told,
            "instanceType": self.machine,
            "scaleSettings": {"scaleType": "Default"},
            "requestSettings": {"requestTimeout": LONGEST_ANSWER, "maxConcurrentRequestsPerInstance": AT_ONCE},
            "livenessProbe": probe,
            "readinessProbe": probe,
        }

    def _tags(self) -> dict[str, str]:
        return tags(self.settings.tags, {TAG: store_mark(self.store)})
