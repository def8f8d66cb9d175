"""The Endpoints contract, on the in-memory twin and on local replica processes."""

from __future__ import annotations

import json
import os
import signal
from typing import cast

from penstock.core.home import Home
from penstock.platforms.contract import Endpoints
from penstock.platforms.local.endpoints import LocalEndpoints
from penstock.store.artifacts import Artifacts
from penstock.testing.endpoints_suite import EndpointsConformance
from penstock.testing.platforms import MemoryEndpoints
from penstock.testing.serving import ECHO


class TestMemoryEndpoints(EndpointsConformance):
    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:  # noqa: ARG002
        return MemoryEndpoints()

    def kill(self, endpoints: Endpoints, home: Home, name: str, id_: str) -> None:  # noqa: ARG002
        cast(MemoryEndpoints, endpoints).kill(name, id_)


class TestLocalEndpoints(EndpointsConformance):
    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:
        return LocalEndpoints(home, artifacts, {"drain_s": 5.0, "replica": {"engine_class": ECHO}})

    def kill(self, endpoints: Endpoints, home: Home, name: str, id_: str) -> None:  # noqa: ARG002
        os.kill(json.loads((home.replicas / name / id_ / "pid.json").read_bytes())["pid"], signal.SIGKILL)
