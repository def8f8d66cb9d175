"""The Kubernetes platform: what `kind: kubernetes` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PlatformLacks
from penstock.platforms.batches import WITHOUT_VENDOR, Batches
from penstock.platforms.contract import JobSpec
from penstock.platforms.kubernetes.api import Api
from penstock.platforms.kubernetes.capabilities import refuse_impossible
from penstock.platforms.kubernetes.driver import KubernetesDriver
from penstock.platforms.kubernetes.endpoint_manifests import Place
from penstock.platforms.kubernetes.endpoints import KubernetesEndpoints, endpoints_of
from penstock.platforms.kubernetes.labels import labels_of
from penstock.platforms.kubernetes.machines import machine_for
from penstock.platforms.kubernetes.metrics import PrometheusOperator
from penstock.platforms.kubernetes.prices import quote
from penstock.platforms.quotes import Quote
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.remote.machines import Machine
from penstock.spec.platforms.kubernetes import KubernetesPlatform

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts


class Kubernetes:
    def jobs(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> RemoteJobs:
        read = KubernetesPlatform.model_validate(settings)
        labels = labels_of(home)
        driver = KubernetesDriver(_api(read), read, labels)
        shared = {"PENSTOCK_SHARED_STORE": "1"} if read.volume is not None else {}
        jobs = RemoteJobs(driver, home, artifacts, lambda job: _machine(job, read), labels, shared)
        jobs.woken, jobs.let_go = driver.wait, driver.close
        return jobs

    def quote(self, job: JobSpec, settings: Mapping[str, Any]) -> Quote:
        return quote(job, KubernetesPlatform.model_validate(settings))

    def endpoints(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> KubernetesEndpoints:
        return endpoints_of(home, artifacts, settings)

    def batches(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Batches:  # noqa: ARG002 (as every platform has it)
        raise PlatformLacks("Kubernetes has no service for batches", remedy=WITHOUT_VENDOR)

    def measures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> PrometheusOperator | None:
        read = KubernetesPlatform.model_validate(settings)
        return PrometheusOperator(_api(read), Place(read, labels_of(home), artifacts.url)) if read.metrics is not None else None

    def mirror(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> None:
        """There is no registry beside ours."""

    def captures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> None:
        """Nothing is kept of requests that go past the gateway."""

    def serving(self, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002
        return ()

    def left(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002 (as every platform has it)
        read = KubernetesPlatform.model_validate(settings)
        return KubernetesDriver(_api(read), read, labels_of(home)).left()


def _machine(job: JobSpec, settings: KubernetesPlatform) -> Machine:
    refuse_impossible(job)
    return machine_for(job, settings)


def _api(settings: KubernetesPlatform) -> Api:
    return Api(settings.namespace, settings.kubeconfig, settings.context)


KUBERNETES = Kubernetes()
