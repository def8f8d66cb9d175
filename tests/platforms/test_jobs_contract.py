"""The Jobs contract, on the in-memory twin and on local workers."""

from __future__ import annotations

import os
import signal
from typing import cast

from penstock.core.home import Home
from penstock.platforms.contract import Jobs
from penstock.platforms.local.jobs import LocalJobs
from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import JobsConformance
from penstock.testing.platforms import MemoryJobs


class TestMemoryJobs(JobsConformance):
    def open(self, home: Home, artifacts: Artifacts) -> Jobs:
        return MemoryJobs(home, artifacts, self._kept.setdefault(str(home.folder), {}))

    def crash(self, jobs: Jobs) -> None:
        cast(MemoryJobs, jobs).crash()

    _kept: dict = {}  # noqa: RUF012  (attempts by home: what a restart finds)


class TestLocalJobs(JobsConformance):
    def open(self, home: Home, artifacts: Artifacts) -> Jobs:
        return LocalJobs(home, artifacts, workers=1, grace_s=2.0)

    def crash(self, jobs: Jobs) -> None:
        """The workers die with the control process; what this process still knows of them is not looked at again."""
        pool = cast(LocalJobs, jobs)._pool
        for worker in list(pool._workers):
            os.kill(worker.pid, signal.SIGKILL)
        jobs.close()
