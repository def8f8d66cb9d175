"""Jobs on Azure ML: the whole Jobs suite against the emulated workspace."""

from __future__ import annotations

import pytest

from penstock.core.home import Home
from penstock.platforms.azureml.platform import AZUREML
from penstock.platforms.contract import Jobs
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.azure import Azure
from penstock.testing.emulators.azure.jobs import ENDED, KIND
from penstock.testing.jobs_suite import JobsConformance, until


class TestAzureJobs(JobsConformance):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: Azure) -> None:
        self.cloud = cloud

    def open(self, home: Home, artifacts: Artifacts) -> Jobs:
        jobs = AZUREML.jobs(home, artifacts, self.cloud.section())
        jobs.poll_s = 0.05
        return jobs

    def crash(self, jobs: Jobs) -> None:  # noqa: ARG002 (what ran is the cloud's)
        for name in [name for name, job in self.cloud.workspace.of(KIND).items() if job.status not in ENDED]:
            self.cloud.take_away(name)
        until(lambda: not self.cloud.workspace.processes.left())
