"""Azure ML as a platform: what `kind: azureml` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PlatformLacks
from penstock.core.units import show_seconds
from penstock.platforms.azureml.arm import Arm
from penstock.platforms.azureml.batches import BatchEndpoints
from penstock.platforms.azureml.capabilities import machine_for
from penstock.platforms.azureml.datastore import container_of
from penstock.platforms.azureml.driver import CommandJobs
from penstock.platforms.azureml.endpoints import AzureEndpoints
from penstock.platforms.azureml.left import left
from penstock.platforms.azureml.machines import PRICES_OF
from penstock.platforms.azureml.metrics import AzureMonitor
from penstock.platforms.azureml.registry import RegisteredModels
from penstock.platforms.contract import JobSpec
from penstock.platforms.quotes import Quote, quoted
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.remote.retrying import PASSING
from penstock.platforms.remote.throttling import Throttle
from penstock.spec.platforms.azureml import AzureMLPlatform

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

SCHEMES = ("abfs://", "abfss://", "az://")


class AzureML:
    def jobs(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> RemoteJobs:
        """Raises PlatformLacks when the artifacts do not lie in Blob Storage."""
        read = AzureMLPlatform.model_validate(settings)
        _require_reachable(read, artifacts.url)
        if read.registry is True:
            container_of(artifacts.url, read.environment)
        driver = CommandJobs(Arm(read), artifacts.url)
        return RemoteJobs(driver, home, artifacts, lambda job: machine_for(job, read), environment=read.environment)

    def quote(self, job: JobSpec, settings: Mapping[str, Any]) -> Quote:
        read = AzureMLPlatform.model_validate(settings)
        machine = machine_for(job, read)
        spot = ", low priority" if job.spot else ""
        kind = "cluster" if read.kubernetes is None else "Kubernetes cluster"
        where = f"{kind} {read.compute.name}" if read.compute is not None else "serverless"
        longest = show_seconds(min(job.timeout_s or read.longest, read.longest))
        call = f"PUT jobs {job.step}: {job.nodes} × {machine.name}{spot}, {where}, at most {longest}, in {read.workspace} ({read.region})"
        listed = machine.usd_per_h is not None and machine.name not in read.usd_per_hour
        return quoted(machine, job.nodes, job.spot, (call,), PRICES_OF if listed else None)

    def endpoints(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> AzureEndpoints:
        read = AzureMLPlatform.model_validate(settings)
        _require_reachable(read, artifacts.url)
        return AzureEndpoints(home, artifacts, Arm(read, PASSING, throttle=Throttle()))

    def batches(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> BatchEndpoints:  # noqa: ARG002 (as every platform has it)
        read = AzureMLPlatform.model_validate(settings)
        _require_reachable(read, artifacts.url)
        return BatchEndpoints(Arm(read), artifacts)

    def measures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> AzureMonitor | None:  # noqa: ARG002
        read = AzureMLPlatform.model_validate(settings)
        return AzureMonitor(Arm(read), artifacts.url) if read.metrics else None

    def mirror(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> RegisteredModels | None:  # noqa: ARG002
        read = AzureMLPlatform.model_validate(settings)
        return RegisteredModels(Arm(read), artifacts) if read.registry else None

    def captures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> None:
        """Nothing is kept of requests that go past the gateway."""

    def serving(self, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002
        return ()

    def left(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002 (as every platform has it)
        return left(Arm(AzureMLPlatform.model_validate(settings)), artifacts.url)


def _require_reachable(settings: AzureMLPlatform, store: str) -> None:
    if not store.startswith(SCHEMES) and not settings.environment.get("PENSTOCK_SHARED_STORE"):
        raise PlatformLacks(
            f"Azure ML reads and writes Blob Storage, and the artifacts lie at {store}",
            remedy="Point PENSTOCK_ARTIFACTS at a container that `identity` of the section can read and write: abfs://CONTAINER/PREFIX",
        )


AZUREML = AzureML()
