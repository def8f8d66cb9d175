"""Jobs on Vertex AI: the whole Jobs suite against the emulator, artifacts in Cloud Storage."""

from __future__ import annotations

import pytest

from penstock.core.home import Home
from penstock.platforms.contract import Jobs
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.vertex.platform import VERTEX
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.emulators.vertex.jobs import ENDED, KIND
from penstock.testing.jobs_suite import JobsConformance, until


def opened(cloud: VertexAI, home: Home, artifacts: Artifacts) -> RemoteJobs:
    jobs = VERTEX.jobs(home, artifacts, cloud.section())
    jobs.poll_s = 0.05
    return jobs


class TestVertexJobs(JobsConformance):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: VertexAI) -> None:
        self.cloud, self.bucket = cloud, cloud.bucket

    def open(self, home: Home, artifacts: Artifacts) -> Jobs:
        return opened(self.cloud, home, artifacts)

    def crash(self, jobs: Jobs) -> None:  # noqa: ARG002 (what ran is the cloud's)
        for job in [job for job in self.cloud.here.of(KIND).values() if job.row.state not in ENDED]:
            self.cloud.take_away(job)
        until(lambda: not self.cloud.here.processes.left())
