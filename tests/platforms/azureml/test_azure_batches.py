"""Batches by an Azure ML batch endpoint: the conformance suite, and what the emulator refuses as the service does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from penstock.core.errors import BadInput
from penstock.platforms.azureml.arm import Arm
from penstock.spec.platforms.azureml import AzureMLPlatform
from penstock.testing.emulators.azure import Azure
from penstock.testing.emulators.azure.jobs import KIND
from penstock.testing.vendor_batch_suite import VendorBatchConformance


class TestBatchEndpoint(VendorBatchConformance):
    creates = ("PUT components", "PUT batchEndpoints", "PUT batchDeployments", "POST batch")
    looks = "GET jobs/list"

    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: Azure) -> None:
        self.cloud = cloud

    def place(self, **replica: Any) -> tuple[str, dict[str, Any]]:
        told = {"PENSTOCK_SHARED_STORE": "1", "PENSTOCK_REPLICA": json.dumps(replica)}
        return str(self.folder / "store"), self.cloud.section(environment=told)

    def state(self) -> Any:
        return self.cloud.workspace

    def made(self) -> Sequence[str]:
        return [job.properties["tags"]["penstock-batch"] for job in self.cloud.workspace.of(KIND).values()]

    def asked(self) -> int | None:
        return None  # a replica in the container is asked, which the service does not see

    def exhaust(self) -> None:
        self.cloud.workspace.quotas["Standard_D2s_v3"] = 0


def test_the_emulator_refuses_what_the_service_does(cloud: Azure) -> None:
    arm = Arm(AzureMLPlatform.model_validate(cloud.section()))

    def refused(match: str, below: str, body: Any) -> None:
        with pytest.raises(BadInput, match=match):
            arm.call("PUT", below, body)

    place = {"location": "westeurope"}
    refused("not valid", "batchEndpoints/a_b", {**place, "properties": {"authMode": "AADToken"}})
    refused("AADToken", "batchEndpoints/one", {**place, "properties": {"authMode": "Key"}})
    arm.call("PUT", "batchEndpoints/one", {**place, "properties": {"authMode": "AADToken"}})
    model = {"model": {"referenceType": "Id", "assetId": "m"}, "compute": "c"}
    refused("pipeline components", "batchEndpoints/one/deployments/two", {**place, "properties": model})
    missing = {"deploymentConfigurationType": "PipelineComponent", "componentId": {"referenceType": "Id", "assetId": "c"}}
    refused("Unknown component", "batchEndpoints/one/deployments/two", {**place, "properties": {"deploymentConfiguration": missing}})
    step = {"name": "a-b", "type": "command", "componentId": "c", "inputs": {}}
    spec = {"name": "p", "version": "1", "type": "pipeline", "inputs": {}, "jobs": {"a-b": step}}
    refused("underscores", "components/p/versions/1", {"properties": {"componentSpec": spec}})
    refused("those of the address", "components/q/versions/1", {"properties": {"componentSpec": spec}})
