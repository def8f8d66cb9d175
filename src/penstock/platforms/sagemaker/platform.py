"""SageMaker as a platform: what `kind: sagemaker` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.core.units import show_seconds
from penstock.platforms.contract import JobSpec
from penstock.platforms.quotes import Quote, quoted
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.remote.retrying import PASSING
from penstock.platforms.remote.throttling import Throttle
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.capabilities import machine_for
from penstock.platforms.sagemaker.capturing import DataCapture, capture_place
from penstock.platforms.sagemaker.driver import TrainingJobs
from penstock.platforms.sagemaker.endpoints import SageMakerEndpoints, line_place, serving_calls
from penstock.platforms.sagemaker.folder import Folder
from penstock.platforms.sagemaker.left import left
from penstock.platforms.sagemaker.machines import PRICES_OF
from penstock.platforms.sagemaker.metrics import CloudWatch
from penstock.platforms.sagemaker.registry import ModelPackages
from penstock.platforms.sagemaker.scaling import Scaling
from penstock.platforms.sagemaker.settings import settings_of, store_mark
from penstock.platforms.sagemaker.storing import output_of
from penstock.platforms.sagemaker.transforms import TransformJobs

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts


class SageMakerPlatform:
    def jobs(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> RemoteJobs:
        """Raises PlatformLacks when the artifacts do not lie in S3."""
        told = settings_of(settings)
        driver = TrainingJobs(Aws(told), artifacts.url, output_of(told, artifacts.url))
        return RemoteJobs(driver, home, artifacts, machine_for, environment=told.environment)

    def quote(self, job: JobSpec, settings: Mapping[str, Any]) -> Quote:
        machine, told = machine_for(job), settings_of(settings)
        spot = ", managed spot" if job.spot else ""
        longest = show_seconds(min(job.timeout_s or told.longest, told.longest))
        call = f"sagemaker:CreateTrainingJob {job.step}: {job.nodes} × {machine.name}{spot}, at most {longest}, in {told.region}"
        return quoted(machine, job.nodes, job.spot, (call,), PRICES_OF)

    def endpoints(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> SageMakerEndpoints:
        told = settings_of(settings)
        return SageMakerEndpoints(home, artifacts, told, Aws(told, PASSING, Throttle()), output_of(told, artifacts.url))

    def batches(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> TransformJobs:  # noqa: ARG002 (as every platform has it)
        told = settings_of(settings)
        output_of(told, artifacts.url)
        return TransformJobs(Aws(told), artifacts)

    def measures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> CloudWatch | None:  # noqa: ARG002
        told = settings_of(settings)
        return CloudWatch(Aws(told), artifacts.url) if told.metrics else None

    def mirror(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> ModelPackages | None:  # noqa: ARG002
        told = settings_of(settings)
        return ModelPackages(Aws(told), artifacts.url) if told.registry else None

    def captures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> DataCapture | None:  # noqa: ARG002
        told = settings_of(settings)
        if told.capture is None:
            return None
        return DataCapture(Aws(told), artifacts.url, capture_place(output_of(told, artifacts.url), artifacts.url), told.capture.keep)

    def serving(self, settings: Mapping[str, Any]) -> Sequence[str]:
        return serving_calls(settings_of(settings))

    def left(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Sequence[str]:
        told = settings_of(settings)
        aws = Aws(told)
        found = left(aws, artifacts.url)
        if (captures := self.captures(home, artifacts, settings)) is not None:
            found = [*found, *(f"captured requests {folder}" for folder in captures.there())]
        if told.asynchronous is not None:
            there = Folder(aws, line_place(output_of(told, artifacts.url), artifacts.url))
            found = [*found, *(f"requests and answers s3://{there.bucket}/{folder}" for folder in there.folders())]
        if told.autoscale is not None and told.autoscale.min == 0:
            found = [*found, *(f"alarm {name}" for name in Scaling(aws, store_mark(artifacts.url)).alarms())]
        return found


SAGEMAKER = SageMakerPlatform()
