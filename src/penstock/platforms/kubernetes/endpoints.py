"""Endpoints on a cluster: a Deployment a version, whose pods run `penstock replica`; the gateway reaches each pod by its own address.

What is wanted is applied only where it differs from what the watch shows, so a pass over an endpoint that is as it should be asks the
cluster nothing. Not covered: reaching pods from outside the cluster's network (run the gateway inside, or route to the pods' network).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penstock.core.digests import digest_json
from penstock.core.errors import PlatformLacks
from penstock.platforms.contract import EndpointSpec, EndpointState, ReplicaState, VersionSpec
from penstock.platforms.kubernetes import endpoint_manifests as manifests
from penstock.platforms.kubernetes.api import Api, Object
from penstock.platforms.kubernetes.endpoint_manifests import ENDPOINT, Place
from penstock.platforms.kubernetes.labels import APPLIED, labels_of, selector
from penstock.platforms.kubernetes.metrics import PrometheusOperator, require_operator
from penstock.platforms.kubernetes.replicas import state_of
from penstock.platforms.kubernetes.watching import Watched
from penstock.platforms.remote.adapters import AdapterWishes
from penstock.spec.platforms.kubernetes import KubernetesPlatform

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

READY_S = 900.0  # an image may have to be fetched, and a node to come
COST = "controller.kubernetes.io/pod-deletion-cost"
BESIDE = ("Service", "PodDisruptionBudget", "NetworkPolicy")


class KubernetesEndpoints:
    def __init__(self, home: Home, artifacts: Artifacts, settings: KubernetesPlatform, api: Api) -> None:
        self._place = Place(settings, labels_of(home), artifacts.url)
        self._api, self._adapters = api, AdapterWishes(artifacts)
        chosen = f"{selector(dict(self._place.labels))},{ENDPOINT}"
        kserve, by = settings.serve == "kserve", settings.autoscale.by
        self._made = manifests.inference_service if kserve else manifests.deployment
        counters = {"hpa": ("HorizontalPodAutoscaler",), "keda": ("ScaledObject",)}.get(by, ()) if not kserve else ()
        self._kinds = ("InferenceService" if kserve else "Deployment", *counters)  # one of each a version
        self._watched = {kind: Watched(api, kind, chosen, ENDPOINT) for kind in (*self._kinds, "Pod", *BESIDE)}

    def apply(self, desired: EndpointSpec) -> None:
        """Raises PlatformLacks where pods could not reach the store, PlatformDenied, PlatformFull, PlatformAway."""
        self._require_shared()
        self._require_offered()
        for value in manifests.beside(desired.name, self._place):
            self._keep(value)
        wanted = {manifests.version_name(desired.name, version): version for version in desired.versions}
        for name, version in wanted.items():
            self._spare(desired.name, name, version)
            self._adapters.want(desired.name, version.version, version.bundle, version.adapters)
            self._keep(self._made(desired.name, version, desired.settings, self._place))
            counter = manifests.autoscaler(desired.name, version, self._place)
            if counter is not None:
                self._keep(counter)
        for kind in self._kinds:
            for row in self._mine(kind, desired.name):
                if row["metadata"]["name"] not in wanted:
                    self._remove(kind, row["metadata"]["name"])

    def observe(self, name: str) -> EndpointState:
        """The oldest pods first."""
        pods = sorted(self._mine("Pod", name), key=lambda p: (str(p["metadata"].get("creationTimestamp")), p["metadata"]["name"]))
        counted = self._place.settings.autoscale.by != "penstock"
        return EndpointState(name, tuple(self._adapted(name, pod, state_of(pod)) for pod in pods), counted, READY_S)

    def delete(self, name: str, within_s: float | None = None) -> None:
        """Returns when its pods are gone, a little after their grace at most. Idempotent."""
        for kind in (*self._kinds, *BESIDE):
            for row in self._mine(kind, name):
                self._remove(kind, row["metadata"]["name"])
        if self._place.settings.metrics is not None:
            PrometheusOperator(self._api, self._place).remove(name)
        deadline = time.monotonic() + (manifests.DRAIN_S + 10.0 if within_s is None else within_s)
        while time.monotonic() < deadline and self._mine("Pod", name):
            self._watched["Pod"].wait(1.0)

    def close(self) -> None:
        for watched in self._watched.values():
            watched.close()

    def _adapted(self, endpoint: str, pod: Object, state: ReplicaState) -> ReplicaState:
        if state.phase != "ready":
            return state
        held = self._adapters.held(endpoint, pod["metadata"]["name"])
        return replace(state, adapters=held.loaded, adapter_errors={name: why for name, (_, why) in held.errors.items()})

    def _mine(self, kind: str, endpoint: str) -> list[Object]:
        return self._watched[kind].group(endpoint)

    def _keep(self, value: Object) -> None:
        """Applies `value` unless what is there was made by the very same one and still has its number of replicas."""
        kind, name = value["kind"], value["metadata"]["name"]
        mark = digest_json(value)
        present = self._watched[kind].get(name)
        if present is not None and "deletionTimestamp" not in present["metadata"]:
            same = (present["metadata"].get("annotations") or {}).get(APPLIED) == mark
            # Somebody may have scaled it by hand since: that is put right too.
            if same and ("replicas" not in value["spec"] or _replicas(present) == value["spec"]["replicas"]):
                return
        meta = value["metadata"]
        marked = {**value, "metadata": {**meta, "annotations": {**meta.get("annotations", {}), APPLIED: mark}}}
        self._watched[kind].put(self._api.apply(marked))

    def _spare(self, endpoint: str, name: str, version: VersionSpec) -> None:
        """Before a Deployment shrinks: its first ready pods, which the gateway may still route to, are made dear to delete."""
        present = self._watched[self._kinds[0]].get(name)
        if present is None or self._place.settings.autoscale.by != "penstock" or version.replicas >= _replicas(present):
            return
        ready = [
            r for r in self.observe(endpoint).replicas if r.phase == "ready" and (r.version, r.bundle) == (version.version, version.bundle)
        ]
        for replica in ready[: version.replicas]:
            pod = replica.id.partition(".")[0]
            self._api.merge("Pod", pod, {"metadata": {"annotations": {COST: "100"}}})

    def _remove(self, kind: str, name: str) -> None:
        self._api.delete(kind, name)
        self._watched[kind].forget(name)

    def _require_offered(self) -> None:
        if self._place.settings.metrics is not None:
            require_operator(self._api)
        for kind, what in (("InferenceService", "KServe"), ("ScaledObject", "KEDA")):
            if kind in self._kinds and not self._api.offers(kind):
                raise PlatformLacks(
                    f"{what} is not installed in this cluster (it has no {kind})",
                    remedy=f"Install {what}, or leave `serve` and `autoscale` of the platform as they are by default.",
                )

    def _require_shared(self) -> None:
        local = "://" not in self._place.store or self._place.store.startswith("file://")
        if local and self._place.settings.volume is None:
            raise PlatformLacks(
                f"pods cannot reach the artifact store at {self._place.store}, which lies on this machine",
                remedy="Point PENSTOCK_ARTIFACTS at a bucket, or name a `volume` that pods mount at that place.",
            )


def _replicas(value: Object) -> int:
    """That a Deployment or an InferenceService asks for at least."""
    spec = value["spec"].get("predictor", value["spec"])
    return int(spec.get("replicas", spec.get("minReplicas", 1)))


def endpoints_of(home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> KubernetesEndpoints:
    read = KubernetesPlatform.model_validate(settings)
    return KubernetesEndpoints(home, artifacts, read, Api(read.namespace, read.kubeconfig, read.context))
