"""Vertex AI as a platform: what `kind: vertex` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PlatformLacks
from penstock.core.units import show_seconds
from penstock.platforms.contract import JobSpec
from penstock.platforms.measures import Measures
from penstock.platforms.quotes import Quote, quoted
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.remote.retrying import PASSING
from penstock.platforms.remote.throttling import Throttle
from penstock.platforms.vertex.capabilities import machine_for
from penstock.platforms.vertex.driver import CustomJobs
from penstock.platforms.vertex.endpoints import VertexEndpoints
from penstock.platforms.vertex.google import Google
from penstock.platforms.vertex.left import left
from penstock.platforms.vertex.machines import PRICES_OF
from penstock.platforms.vertex.metrics import CloudMonitoring
from penstock.platforms.vertex.predictions import BatchPredictions
from penstock.platforms.vertex.registry import ModelVersions
from penstock.platforms.vertex.settings import settings_of

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts


class VertexPlatform:
    def jobs(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> RemoteJobs:
        """Raises PlatformLacks when the artifacts do not lie in Cloud Storage."""
        told = settings_of(settings)
        require_bucket(artifacts.url)
        return RemoteJobs(CustomJobs(Google(told), artifacts.url), home, artifacts, machine_for, environment=told.environment)

    def quote(self, job: JobSpec, settings: Mapping[str, Any]) -> Quote:
        machine, told = machine_for(job), settings_of(settings)
        spot = ", spot" if job.spot else ""
        longest = show_seconds(min(job.timeout_s or told.longest, told.longest))
        call = f"JobService.CreateCustomJob {job.step}: {job.nodes} × {machine.name}{spot}, at most {longest}, in {told.parent}"
        return quoted(machine, job.nodes, job.spot, (call,), PRICES_OF if machine.usd_per_h is not None else None)

    def endpoints(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> VertexEndpoints:
        told = settings_of(settings)
        require_bucket(artifacts.url)
        return VertexEndpoints(home, artifacts, told, Google(told, PASSING, Throttle()))

    def batches(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> BatchPredictions:  # noqa: ARG002 (as every platform has it)
        require_bucket(artifacts.url)
        return BatchPredictions(Google(settings_of(settings)), artifacts)

    def measures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Measures | None:  # noqa: ARG002 (as every platform has it)
        told = settings_of(settings)
        return CloudMonitoring(Google(told), artifacts.url) if told.metrics else None

    def mirror(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> ModelVersions | None:  # noqa: ARG002
        told = settings_of(settings)
        return ModelVersions(Google(told), artifacts.url) if told.registry else None

    def captures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> None:
        """Nothing is kept of requests that go past the gateway."""

    def serving(self, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002
        return ()

    def left(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002 (as every platform has it)
        return left(Google(settings_of(settings)), artifacts.url)


def require_bucket(store: str) -> None:
    if not store.startswith(("gs://", "gcs://")):
        raise PlatformLacks(
            f"Vertex AI reads and writes Cloud Storage, and the artifacts lie at {store}",
            remedy="Point PENSTOCK_ARTIFACTS at a bucket that the service account of the platform's section can use: gs://BUCKET/PREFIX",
        )


VERTEX = VertexPlatform()
