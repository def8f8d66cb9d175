"""The Measures of a cluster: rules, monitors and dashboards as objects that its Prometheus and Grafana find. Numbers they read themselves.

Not covered: monitoring without prometheus-operator (`penstock export rules`, `penstock export dashboards` write files for it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.core.digests import digest_json
from penstock.core.errors import PlatformLacks
from penstock.platforms.kubernetes.api import Api, Object
from penstock.platforms.kubernetes.endpoint_manifests import ENDPOINT, Place
from penstock.platforms.kubernetes.labels import APPLIED, selector
from penstock.platforms.kubernetes.monitoring_manifests import boards, of_deployment, of_installation
from penstock.platforms.measures import Face, Measured

CUSTOM = ("PrometheusRule", "PodMonitor")


def require_operator(api: Api) -> None:
    """Raises PlatformLacks where the operator's kinds are not in the cluster."""
    for kind in CUSTOM:
        if not api.offers(kind):
            raise PlatformLacks(
                f"prometheus-operator is not installed in this cluster (it has no {kind})",
                remedy="Install it (kube-prometheus-stack has it), or leave out `metrics` of the platform, and --monitor.",
            )


@dataclass(frozen=True, slots=True)
class PrometheusOperator:
    api: Api
    place: Place

    def put(self, deployment: str, points: Sequence[Measured]) -> None:
        """Nothing is sent: the gateway's /metrics tells the same signals, and Prometheus reads them there."""

    def show(self, deployment: str, face: Face) -> None:
        """Dashboards last: they need a package that may be missing. Raises ExtraMissing for that."""
        require_operator(self.api)
        wanted = of_deployment(deployment, face.rules, self.place)
        for value in (*wanted, of_installation(face.about, self.place)):
            self._keep(value)
        for kind, name in self._mine(f"{ENDPOINT}={deployment}", CUSTOM):
            if (kind, name) not in {(value["kind"], value["metadata"]["name"]) for value in wanted}:
                self.api.delete(kind, name)
        self._keep(boards(face.boards(), self.place))

    def remove(self, deployment: str) -> None:
        """With the last deployment goes what all of them share."""
        if not self.api.offers("PrometheusRule"):
            return
        for kind, name in self._mine(f"{ENDPOINT}={deployment}", CUSTOM):
            self.api.delete(kind, name)
        if not self._mine(ENDPOINT, ("PrometheusRule",)):
            for kind, name in self._mine(f"!{ENDPOINT}", ("PrometheusRule", "ConfigMap")):
                self.api.delete(kind, name)

    def _mine(self, which: str, kinds: Sequence[str]) -> list[tuple[str, str]]:
        chosen = f"{selector(dict(self.place.labels))},{which}"
        return [(kind, row["metadata"]["name"]) for kind in kinds for row in self.api.rows(kind, chosen)[0]]

    def _keep(self, value: Object) -> None:
        """Applies it unless what is there was made by the very same, and nobody changed it since."""
        mark, meta = digest_json(value), value["metadata"]
        present = self.api.get(value["kind"], meta["name"]) or {"metadata": {}}
        marked = (present["metadata"].get("annotations") or {}).get(APPLIED) == mark
        if not marked or any(present.get(part) != value[part] for part in ("spec", "data") if part in value):
            self.api.apply({**value, "metadata": {**meta, "annotations": {APPLIED: mark}}})
