"""Endpoints on Vertex AI: the whole Endpoints suite against the emulator, whose replicas are real ones behind real bridges."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core.home import Home
from penstock.platforms.contract import Endpoints
from penstock.platforms.vertex.endpoints import VertexEndpoints
from penstock.platforms.vertex.platform import VERTEX
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.endpoints_suite import EndpointsConformance, kill_process
from penstock.testing.serving import ECHO


def opened(cloud: VertexAI, home: Home, artifacts: Artifacts, **more: Any) -> VertexEndpoints:
    return VERTEX.endpoints(home, artifacts, cloud.section(drain_s=5.0, replica={"engine_class": ECHO}, **more))


class TestVertexEndpoints(EndpointsConformance):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: VertexAI) -> None:
        self.cloud, self.bucket = cloud, cloud.bucket

    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:
        return opened(self.cloud, home, artifacts)

    def kill(self, endpoints: Endpoints, home: Home, name: str, id_: str) -> None:  # noqa: ARG002 (a bridge is a process here)
        kill_process(home, name, id_)
