"""The local platform: what `kind: local` gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.platforms.contract import JobSpec
from penstock.platforms.local.capabilities import capabilities, refuse_impossible
from penstock.platforms.local.endpoints import LocalEndpoints
from penstock.platforms.local.jobs import LocalJobs

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts


class LocalPlatform:
    def jobs(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> LocalJobs:
        return LocalJobs(home, artifacts, workers=settings.get("workers"))

    def refuse(self, job: JobSpec) -> None:
        refuse_impossible(job, capabilities())

    def endpoints(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> LocalEndpoints:
        return LocalEndpoints(home, artifacts, settings)


LOCAL = LocalPlatform()
