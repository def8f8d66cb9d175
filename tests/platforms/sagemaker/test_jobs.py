"""Jobs on SageMaker: the whole Jobs suite against the emulator, artifacts in S3, and what only happens there."""

from __future__ import annotations

import pytest

from penstock.core.home import Home
from penstock.platforms.contract import Jobs
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.capabilities import machine_for
from penstock.platforms.sagemaker.driver import TrainingJobs
from penstock.platforms.sagemaker.settings import settings_of
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.emulators.sagemaker.training import ENDED, KIND
from penstock.testing.jobs_suite import JobsConformance, until


def opened(cloud: SageMaker, home: Home, artifacts: Artifacts) -> RemoteJobs:
    aws = Aws(settings_of(cloud.section()))
    return RemoteJobs(TrainingJobs(aws, artifacts.url, artifacts.url), home, artifacts, machine_for, poll_s=0.05)


class TestSageMakerJobs(JobsConformance):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: SageMaker) -> None:
        self.cloud, self.bucket = cloud, cloud.bucket

    def open(self, home: Home, artifacts: Artifacts) -> Jobs:
        return opened(self.cloud, home, artifacts)

    def crash(self, jobs: Jobs) -> None:  # noqa: ARG002 (what ran is the cloud's)
        running = [name for name, job in self.cloud.account.of(KIND).items() if job.status not in ENDED]
        for name in running:
            self.cloud.take_away(name)
        until(lambda: not self.cloud.account.processes.left())
