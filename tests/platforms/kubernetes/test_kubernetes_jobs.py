"""Jobs on an emulated cluster: the whole Jobs suite through the official client, with pods that really run."""

from __future__ import annotations

import pytest

from penstock.core.home import Home
from penstock.platforms.contract import Jobs
from penstock.platforms.kubernetes.platform import KUBERNETES
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.jobs_suite import JobsConformance, until


class TestKubernetesJobs(JobsConformance):
    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def open(self, home: Home, artifacts: Artifacts) -> Jobs:
        return KUBERNETES.jobs(home, artifacts, self.cluster.settings(home.folder))

    def crash(self, jobs: Jobs) -> None:
        """Pods outlive a control process; here their node is taken away with it."""
        assert isinstance(jobs, RemoteJobs)
        jobs.close()
        self.cluster.take_node("general-1")
        self.cluster.add_node("general-2")
        until(lambda: not self.cluster.jobs())
