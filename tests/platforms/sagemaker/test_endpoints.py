"""Endpoints on SageMaker: the whole Endpoints suite against the emulator, whose instances are real replicas behind real bridges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.core.home import Home
from penstock.platforms.contract import Endpoints, ReplicaState
from penstock.platforms.remote.sights import EAGER
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.endpoints import SageMakerEndpoints
from penstock.platforms.sagemaker.settings import settings_of
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.endpoints_suite import EndpointsConformance, adapted, adapter, kill_process
from penstock.testing.jobs_suite import until
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


@pytest.mark.thorough
class TestAsynchronousEndpoints(TestSageMakerEndpoints):
    """One endpoint a version, with a line before it."""

    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:
        return opened(self.cloud, home, artifacts, asynchronous={"concurrency": 2, "timeout": 60.0, "wait": 60.0})

    def test_adapters_come_and_go_without_a_restart(self, tmp_path: Path) -> None:
        """None of its instances can be asked what it holds, so none is ever said to hold one: the file is refused before."""
        endpoints, _, one, _ = self._opened(tmp_path)
        wish = adapted(one, {"legal": adapter(endpoints.artifacts, tmp_path, "legal")})  # type: ignore[attr-defined]

        def look() -> list[ReplicaState]:
            endpoints.apply(wish)
            return [replica for replica in endpoints.observe("intents").replicas if replica.phase == "ready"]

        ready: list[ReplicaState] = until(look)
        assert [r.adapters for r in ready] == [{}] * len(ready)
        endpoints.delete("intents")
