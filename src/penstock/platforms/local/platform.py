"""The local platform: what `kind: local` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PlatformLacks
from penstock.platforms.batches import WITHOUT_VENDOR, Batches
from penstock.platforms.contract import JobSpec
from penstock.platforms.local.capabilities import capabilities, refuse_impossible
from penstock.platforms.local.endpoints import LocalEndpoints
from penstock.platforms.local.jobs import LocalJobs
from penstock.platforms.quotes import Quote

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts


class LocalPlatform:
    def jobs(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> LocalJobs:
        return LocalJobs(home, artifacts, workers=settings.get("workers"))

    def quote(self, job: JobSpec, settings: Mapping[str, Any]) -> Quote:
        refuse_impossible(job, capabilities())
        return Quote("this machine", usd_per_h=float(settings.get("usd_per_hour", 0.0)))

    def endpoints(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> LocalEndpoints:
        return LocalEndpoints(home, artifacts, settings)

    def batches(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Batches:  # noqa: ARG002 (as every platform has it)
        raise PlatformLacks("this machine has no service for batches beside Penstock", remedy=WITHOUT_VENDOR)

    def measures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> None:
        """There is none beside this machine; Prometheus reads the gateway."""

    def mirror(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> None:
        """There is no registry beside ours."""

    def captures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> None:
        """Nothing is kept of requests that go past the gateway."""

    def serving(self, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002
        return ()

    def left(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002 (as every platform has it)
        """Replica processes that run."""
        names = sorted(place.name for place in home.replicas.iterdir() if place.is_dir()) if home.replicas.is_dir() else []
        return [f"replica {r.id}" for name in names for r in self.endpoints(home, artifacts, {}).observe(name).replicas]


LOCAL = LocalPlatform()
