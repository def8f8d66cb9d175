"""Replicas as objects of the cluster: a Deployment a version; a Service, a disruption budget and a network policy an endpoint. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.core.digests import digest_json, hex_of
from penstock.platforms.contract import VersionSpec
from penstock.platforms.kubernetes.api import KINDS
from penstock.platforms.kubernetes.machines import machine
from penstock.platforms.kubernetes.pods import Container, pod_spec
from penstock.platforms.remote.machines import Need
from penstock.spec.platforms.kubernetes import KubernetesPlatform

PORT = 8080
DRAIN_S = 30
CONTAINER = "replica"
ENDPOINT, VERSION = "penstock-endpoint", "penstock-version"
BUNDLE, SAID_VERSION = "penstock.dev/bundle", "penstock.dev/version"
STARTS_S = 600  # that a replica may load for, before it is started again


@dataclass(frozen=True, slots=True)
class Place:
    """What all objects of an installation share: its settings, labels, and the artifact store's URL."""

    settings: KubernetesPlatform
    labels: Mapping[str, str]
    store: str


def slug(text: str, most: int) -> str:
    """a–z, 0–9 and '-' of it."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:most].rstrip("-") or "x"


def endpoint_name(endpoint: str) -> str:
    """Of the objects that an endpoint has one of: told apart though two names may have the same slug."""
    return f"penstock-{slug(endpoint, 30)}-{hex_of(digest_json(endpoint))[:6]}"


def version_name(endpoint: str, version: VersionSpec) -> str:
    """Of its Deployment: another bundle under the same version is another one."""
    return f"{endpoint_name(endpoint)}-{slug(version.version, 8)}-{hex_of(version.bundle)[:6]}"


def endpoint_labels(endpoint: str, place: Place) -> dict[str, str]:
    return {**place.labels, ENDPOINT: endpoint}


def deployment(endpoint: str, version: VersionSpec, engine: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """A change of its template is rolled out pod by pod: a new one is ready before an old one goes."""
    labels = {**endpoint_labels(endpoint, place), VERSION: slug(version.version, 63)}
    own = {ENDPOINT: endpoint, "penstock-bundle": hex_of(version.bundle)[:63]}
    said = {BUNDLE: version.bundle, SAID_VERSION: version.version}
    template = {"metadata": {"labels": {**labels, **own}, "annotations": said}, "spec": _pod(endpoint, version, engine, place)}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": own},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": template,
    }
    spec |= {"replicas": version.replicas} if place.settings.autoscale.by == "penstock" else {}
    return _object("Deployment", version_name(endpoint, version), {**labels, **own}, spec, said)


def autoscaler(endpoint: str, version: VersionSpec, place: Place) -> dict[str, Any] | None:
    """What counts the replicas of a version, where Penstock does not: from those that it asks for up to the most."""
    wish, name = place.settings.autoscale, version_name(endpoint, version)
    labels, target = endpoint_labels(endpoint, place), {"apiVersion": KINDS["Deployment"].api_version, "kind": "Deployment", "name": name}
    if place.settings.serve == "kserve" or wish.by == "penstock":
        return None
    most, percent = max(wish.most, version.replicas), round(wish.cpu * 100)
    if wish.by == "hpa":
        cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}
        body = {"scaleTargetRef": target, "minReplicas": max(1, version.replicas), "maxReplicas": most, "metrics": [cpu]}
        return _object("HorizontalPodAutoscaler", name, labels, body)
    trigger: dict[str, Any] = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": str(percent)}}
    if wish.prometheus is not None:
        said = {"serverAddress": wish.prometheus, "query": _in_flight(endpoint), "threshold": str(wish.in_flight)}
        trigger = {"type": "prometheus", "metadata": said}
    least = version.replicas if wish.prometheus is not None else max(1, version.replicas)
    body = {"scaleTargetRef": target, "minReplicaCount": least, "maxReplicaCount": most, "triggers": [trigger]}
    return _object("ScaledObject", name, labels, body)


def _in_flight(endpoint: str) -> str:
    """PromQL: requests being answered (seconds of answering a second, by Little's law) and those that wait, for want of a replica too."""
    parts = ("rate(penstock_request_seconds_sum{%s}[1m])", "penstock_waiting{%s}", "penstock_held{%s}")
    chosen = f'model="{endpoint}"'
    return " + ".join(f"(sum({part % chosen}) or vector(0))" for part in parts)


def inference_service(endpoint: str, version: VersionSpec, engine: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """For KServe in its standard mode (no Knative): it makes the Deployment, and the autoscaler where it is to count."""
    made = deployment(endpoint, version, engine, place)
    pod = made["spec"]["template"]["spec"]
    pod = {**pod, "containers": [{**pod["containers"][0], "name": "kserve-container"}]}
    pod.pop("restartPolicy")
    wish, meta = place.settings.autoscale, made["spec"]["template"]["metadata"]
    counts: dict[str, Any] = {"minReplicas": version.replicas, "maxReplicas": version.replicas}
    if wish.by != "penstock":
        counts = {"minReplicas": max(1, version.replicas), "maxReplicas": max(wish.most, version.replicas)}
        counts |= {"scaleMetric": "cpu", "scaleTarget": round(wish.cpu * 100)}
    said = {**made["metadata"]["annotations"], "serving.kserve.io/deploymentMode": "RawDeployment"}
    predictor = {**counts, **pod, "labels": meta["labels"], "annotations": meta["annotations"]}
    return _object("InferenceService", made["metadata"]["name"], made["metadata"]["labels"], {"predictor": predictor}, said)


def beside(endpoint: str, place: Place) -> list[dict[str, Any]]:
    """The objects that an endpoint has one of."""
    labels, name, selector = endpoint_labels(endpoint, place), endpoint_name(endpoint), {ENDPOINT: endpoint}
    ports = [{"name": "http", "port": PORT, "targetPort": PORT}]
    pods: dict[str, Any] = {"podSelector": {"matchLabels": dict(place.settings.gateway_labels)}}
    monitoring = place.settings.metrics
    scraping: list[dict[str, Any]] = []
    if monitoring is not None and monitoring.namespace is not None:
        scraping = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": monitoring.namespace}}}]
    inwards = {"from": [pods, *scraping], "ports": [{"protocol": "TCP", "port": PORT}]}
    policy = {"podSelector": {"matchLabels": selector}, "policyTypes": ["Ingress"], "ingress": [inwards]}
    return [
        _object("Service", name, labels, {"clusterIP": "None", "selector": selector, "ports": ports}),
        _object("PodDisruptionBudget", name, labels, {"maxUnavailable": 1, "selector": {"matchLabels": selector}}),
        _object("NetworkPolicy", name, labels, policy),
    ]


def _pod(endpoint: str, version: VersionSpec, engine: Mapping[str, Any], place: Place) -> dict[str, Any]:
    size = place.settings.replica
    gpu = size.gpu
    need = Need(size.cpus, size.memory, gpu.type if gpu else None, gpu.count if gpu else 0)
    command = ("penstock", "replica", version.bundle, "--model", endpoint, "--version", version.version, "--name", "$(POD_NAME)")
    options = ("--host", "$(POD_IP)", "--port", str(PORT), "--drain", str(DRAIN_S), "--settings", json.dumps(dict(engine), sort_keys=True))
    fields = {"POD_NAME": "metadata.name", "POD_IP": "status.podIP"}
    health = {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 5, "timeoutSeconds": 2}
    probes = {
        "startupProbe": {**health, "periodSeconds": 2, "failureThreshold": STARTS_S // 2},
        "readinessProbe": {**health, "failureThreshold": 2},
        "livenessProbe": {**health, "failureThreshold": 6},
        "ports": [{"name": "http", "containerPort": PORT}],
    }
    container = Container(CONTAINER, (*command, *options), {"PENSTOCK_ARTIFACTS": place.store}, fields, probes)
    more = {"restartPolicy": "Always", "terminationGracePeriodSeconds": DRAIN_S + 5}
    return pod_spec(container, machine(need, size.spot, place.settings), size.spot, place.settings, **more)


def _object(kind: str, name: str, labels: Mapping[str, str], spec: Mapping[str, Any], said: Mapping[str, str] = {}) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "labels": dict(labels)}
    meta |= {"annotations": dict(said)} if said else {}
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": meta, "spec": dict(spec)}
