"""Endpoints on an emulated cluster: the whole Endpoints suite, with pods that run `penstock replica`."""

from __future__ import annotations

import json

import pytest

from penstock.core.home import Home
from penstock.platforms.contract import Endpoints
from penstock.platforms.kubernetes.platform import KUBERNETES
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.endpoints_suite import EndpointsConformance
from penstock.testing.serving import ECHO

REPLICA = {"PENSTOCK_REPLICA": json.dumps({"engine_class": ECHO})}


class TestKubernetesEndpoints(EndpointsConformance):
    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:
        return KUBERNETES.endpoints(home, artifacts, self.cluster.settings(home.folder, environment=REPLICA))

    def kill(self, endpoints: Endpoints, home: Home, name: str, id_: str) -> None:  # noqa: ARG002 (as the suite has it)
        self.cluster.crash(id_.partition(".")[0])
