"""Endpoints on SageMaker: the whole Endpoints suite against the emulator, whose instances are real replicas behind real bridges."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core.home import Home
from penstock.platforms.contract import Endpoints
from penstock.platforms.remote.sights import EAGER
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.endpoints import SageMakerEndpoints
from penstock.platforms.sagemaker.settings import settings_of
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.endpoints_suite import EndpointsConformance, kill_process
from penstock.testing.serving import ECHO


def opened(cloud: SageMaker, home: Home, artifacts: Artifacts, **more: Any) -> SageMakerEndpoints:
    settings = settings_of(cloud.section(drain_s=5.0, replica={"engine_class": ECHO}, **more))
    return SageMakerEndpoints(home, artifacts, settings, Aws(settings), pace=EAGER)


class TestSageMakerEndpoints(EndpointsConformance):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: SageMaker) -> None:
        self.cloud, self.bucket = cloud, cloud.bucket

    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:
        return opened(self.cloud, home, artifacts)

    def kill(self, endpoints: Endpoints, home: Home, name: str, id_: str) -> None:  # noqa: ARG002 (a bridge is a process here)
        kill_process(home, name, id_)


@pytest.mark.thorough
class TestServerlessEndpoints(TestSageMakerEndpoints):
    """One endpoint a version, and none of them has instances."""

    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:
        return opened(self.cloud, home, artifacts, serverless={"memory_gb": 2, "concurrency": 4})
