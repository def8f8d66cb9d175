"""Endpoints on Azure ML: the whole Endpoints suite against the emulator, whose instances are real replicas behind real bridges."""

from __future__ import annotations

import pytest

from penstock.core.home import Home
from penstock.platforms.azureml.arm import Arm
from penstock.platforms.azureml.endpoints import AzureEndpoints
from penstock.platforms.contract import Endpoints
from penstock.platforms.remote.sights import EAGER
from penstock.spec.platforms.azureml import AzureMLPlatform
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.azure import Azure
from penstock.testing.endpoints_suite import EndpointsConformance, kill_process
from penstock.testing.serving import ECHO


class TestAzureEndpoints(EndpointsConformance):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: Azure) -> None:
        self.cloud = cloud

    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:
        arm = Arm(AzureMLPlatform.model_validate(self.cloud.section()))
        return AzureEndpoints(home, artifacts, arm, drain_s=5.0, replica={"engine_class": ECHO}, pace=EAGER)

    def kill(self, endpoints: Endpoints, home: Home, name: str, id_: str) -> None:  # noqa: ARG002 (a bridge is a process here)
        kill_process(home, name, id_)
