"""The emulated platforms as the benchmarks use them: one process serves for all replicas, and the vendor's own client is at hand.

Each is made by a function of a folder; a platform's section leads to it, `environment` is what a process needs to find it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock.platforms.remote.driver import Order
from penstock.platforms.table import PLATFORMS, PlatformParts
from penstock.testing.serving import ECHO
from penstock.testing.together import Together


@dataclass(frozen=True, slots=True)
class Place:
    """`state`: of the emulator, with its faults and processes; `plain`: the vendor's client makes one job like `order`, a call;
    `plain_look`: it asks for one endpoint by name. `limits`: operation → (calls a second, at once) that the vendor is said to take.
    """

    kind: str
    module: str
    sdk: str
    section: Mapping[str, Any]
    environment: Mapping[str, str]
    state: Any
    plain: Callable[[Any, Order], Any]
    plain_look: Callable[[Any, str], Any]
    limits: Mapping[str, tuple[float, float]]

    @property
    def parts(self) -> PlatformParts:
        found: PlatformParts = PLATFORMS.load(self.kind)
        return found


@contextlib.contextmanager
def sagemaker(folder: Path) -> Iterator[Place]:
    from penstock.testing.emulators.sagemaker import SageMaker

    with SageMaker(folder) as cloud:
        cloud.account.processes = Together(folder / "together", platform="sagemaker")
        section = cloud.section(replica={"engine_class": ECHO}, drain_s=5.0)
        environment = {**cloud.environment, "PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"}

        def plain(driver: Any, order: Order) -> Any:
            return driver.aws.client("sagemaker").create_training_job(**driver.request(order))

        def look(endpoints: Any, name: str) -> Any:
            return endpoints.aws.client("sagemaker").describe_endpoint(EndpointName=name)

        limits = {"CreateEndpoint": (5.0, 10.0), "CreateModel": (5.0, 10.0), "CreateEndpointConfig": (5.0, 10.0)}  # AWS tells none
        yield Place("sagemaker", "penstock.platforms.sagemaker.platform", "boto3", section, environment, cloud.account, plain, look, limits)


@contextlib.contextmanager
def vertex(folder: Path) -> Iterator[Place]:
    from penstock.testing.emulators.vertex import VertexAI

    with VertexAI(folder) as cloud:
        cloud.here.processes = Together(folder / "together", platform="vertex")
        section = cloud.section(replica={"engine_class": ECHO}, drain_s=5.0)
        environment = {**cloud.environment, "PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"}

        def plain(driver: Any, order: Order) -> Any:
            request = {"parent": driver.google.settings.parent, "custom_job": driver.request(order)}
            return driver.google.once("JobService.CreateCustomJob", request)

        def look(endpoints: Any, name: str) -> Any:
            return endpoints.google.once("EndpointService.GetEndpoint", {"name": f"{endpoints.settings.parent}/endpoints/{name}"})

        limits = {"": (10.0, 60.0)}  # 600 a minute of all that manages resources, in a region
        sdk = "google.cloud.aiplatform_v1"
        yield Place("vertex", "penstock.platforms.vertex.platform", sdk, section, environment, cloud.here, plain, look, limits)


@contextlib.contextmanager
def azureml(folder: Path) -> Iterator[Place]:
    from penstock.platforms.azureml.environments import JOBS
    from penstock.testing.emulators.azure.cloud import Azure, published

    with Azure(folder, published()) as cloud:
        cloud.workspace.processes = Together(folder / "together", platform="azureml")
        cloud.workspace.most_endpoints = 1000
        section = cloud.section()
        section["environment"]["PENSTOCK_REPLICA"] = json.dumps({"engine_class": ECHO})

        def plain(driver: Any, order: Order) -> Any:
            return driver.arm.call("PUT", f"jobs/{order.name}", driver.request(order, driver._environments.of(JOBS)))

        def look(endpoints: Any, name: str) -> Any:
            return endpoints.arm.call("GET", f"onlineEndpoints/{name}"), endpoints.arm.call("GET", f"onlineEndpoints/{name}/deployments")

        limits = {"PUT": (10.0, 200.0), "GET": (25.0, 250.0)}  # of Resource Manager, as it says
        sdk = "azure.mgmt.core"
        yield Place("azureml", "penstock.platforms.azureml.platform", sdk, section, cloud.environment, cloud.workspace, plain, look, limits)


@contextlib.contextmanager
def kubernetes(folder: Path) -> Iterator[Place]:
    from penstock.testing.emulators.kubernetes.cluster import Cluster

    with Cluster(folder / "cluster") as cluster:
        clients: list[Any] = []

        def client() -> Any:
            from kubernetes import client, config

            if not clients:
                clients.append(client.BatchV1Api(config.new_client_from_config(str(cluster.kubeconfig))))
            return clients[0]

        def plain(driver: Any, order: Order) -> Any:
            from penstock.platforms.kubernetes import job_manifests

            return client().create_namespaced_job("default", job_manifests.job(order, driver.settings))

        section = cluster.settings(folder)
        yield Place(
            "kubernetes", "penstock.platforms.kubernetes.platform", "kubernetes.client", section, {}, cluster, plain, lambda *_: None, {}
        )


CLOUDS: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[Place]]] = {
    "sagemaker": sagemaker,
    "vertex": vertex,
    "azureml": azureml,
}
PLACES: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[Place]]] = {"kubernetes": kubernetes, **CLOUDS}


def named(order: Order, name: str) -> Order:
    return replace(order, name=name)
