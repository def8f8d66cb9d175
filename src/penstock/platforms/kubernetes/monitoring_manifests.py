"""What a cluster's monitoring finds by itself: rules and monitors for Prometheus by its operator, dashboards for Grafana's sidecar. Pure.

Sources: API reference of prometheus-operator (monitoring.coreos.com/v1); README of Grafana's Helm chart, "Sidecar for dashboards".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.platforms.kubernetes.api import KINDS
from penstock.platforms.kubernetes.endpoint_manifests import ENDPOINT, Place, endpoint_labels, endpoint_name
from penstock.platforms.kubernetes.labels import HOME

SIDECAR = {"grafana_dashboard": "1"}  # what the sidecar looks for unless it is told otherwise
SCRAPE = "15s"  # that the rules' windows count on (control/rules)
HTTP = "http"  # the name of the port


def of_deployment(endpoint: str, groups: Sequence[Mapping[str, Any]], place: Place) -> list[dict[str, Any]]:
    """Its rules, and a monitor of its replicas where Prometheus may reach them."""
    labels, name = {**chosen_by(place), **endpoint_labels(endpoint, place)}, endpoint_name(endpoint)
    rules = _object("PrometheusRule", name, labels, spec={"groups": [dict(group) for group in groups]})
    if place.settings.metrics is None or place.settings.metrics.namespace is None:
        return [rules]
    return [rules, pod_monitor(name, labels, {ENDPOINT: endpoint})]


def of_installation(groups: Sequence[Mapping[str, Any]], place: Place) -> dict[str, Any]:
    """The rules about Penstock itself: once, however many deployments there are."""
    return _object("PrometheusRule", shared_name(place), {**chosen_by(place), **place.labels}, spec={"groups": [dict(g) for g in groups]})


def boards(files: Mapping[str, str], place: Place) -> dict[str, Any]:
    """Each asks for its deployment, so all share them."""
    return _object("ConfigMap", f"{shared_name(place)}-boards", {**SIDECAR, **place.labels}, data=dict(files))


def pod_monitor(name: str, labels: Mapping[str, str], pods: Mapping[str, str], secret: tuple[str, str] | None = None) -> dict[str, Any]:
    """`secret`: name and key of a Secret in the same namespace that holds a gateway key, where one must be shown."""
    endpoint: dict[str, Any] = {"port": HTTP, "path": "/metrics", "interval": SCRAPE}
    if secret is not None:
        endpoint["authorization"] = {"credentials": {"name": secret[0], "key": secret[1]}}
    return _object("PodMonitor", name, labels, spec={"selector": {"matchLabels": dict(pods)}, "podMetricsEndpoints": [endpoint]})


def shared_name(place: Place) -> str:
    """Two installations in a namespace do not take each other's."""
    return f"penstock-{place.labels[HOME][:8]}"


def chosen_by(place: Place) -> dict[str, str]:
    return dict(place.settings.metrics.labels) if place.settings.metrics is not None else {}


def _object(kind: str, name: str, labels: Mapping[str, str], **parts: Any) -> dict[str, Any]:
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": {"name": name, "labels": dict(labels)}, **parts}
