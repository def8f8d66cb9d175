"""Signals to Azure Monitor, namespace `penstock` of the workspace: a metric a signal, by deployment and version; dashboard and rules.

Sources: "Send custom metrics for an Azure resource by using the REST API"; REST references of metricAlerts (2018-03-01) and of the portal's
dashboards (2020-09-01-preview). Azure takes no value that is older than 20 minutes; older ones are left out.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.core.digests import digest_json, hex_of
from penstock.platforms.azureml.arm import ALARM, BOARD, Arm, not_there
from penstock.platforms.azureml.naming import TAG, endpoint_name, store_mark, tags
from penstock.platforms.measures import Bound, Face, Measured

NAMESPACE, ALL = "penstock", "all"  # ALL: the version of what is measured of the whole deployment
OLDEST_S = 20 * 60.0
_AVERAGE, _LINE = 4, 2  # as the portal counts aggregations and kinds of charts
_SIGNS = {">": "GreaterThan", ">=": "GreaterThanOrEqual", "<": "LessThan", "<=": "LessThanOrEqual"}
# How far a rule may look back: seconds, and as Azure writes it.
_WINDOWS = ((60, "PT1M"), (300, "PT5M"), (900, "PT15M"), (1800, "PT30M"), (3600, "PT1H"), (21600, "PT6H"), (43200, "PT12H"), (86400, "P1D"))


@dataclass(frozen=True, slots=True)
class AzureMonitor:
    """The Measures of a platform. `store` tells one project's deployments from another's, as in endpoints."""

    arm: Arm
    store: str
    clock: Callable[[], float] = time.time

    def put(self, deployment: str, points: Sequence[Measured]) -> None:
        newest = self.clock() - OLDEST_S
        for point in points:
            if point.at > newest:
                self.arm.publish(self._value(deployment, point))

    def show(self, deployment: str, face: Face) -> None:
        signals, bounds = face.signals, face.bounds
        self.arm.beside(BOARD, "PUT", self._name(deployment), self._board(deployment, signals))
        wanted = {f"{self._name(deployment)}-{hex_of(digest_json(bound.key))[:8]}": bound for bound in bounds}
        for name, bound in wanted.items():
            self.arm.beside(ALARM, "PUT", name, self._rule(deployment, bound))
        for name in self._rules(deployment):
            if name not in wanted:
                self.arm.beside(ALARM, "DELETE", name, known=not_there)

    def remove(self, deployment: str) -> None:
        self.arm.beside(BOARD, "DELETE", self._name(deployment), known=not_there)
        for name in list(self._rules(deployment)):
            self.arm.beside(ALARM, "DELETE", name, known=not_there)

    def _name(self, deployment: str) -> str:
        return endpoint_name(deployment, self.store)

    def _rules(self, deployment: str) -> Iterator[str]:
        answer = self.arm.beside(ALARM, "GET")
        for row in answer.body.get("value", ()) if answer is not None else ():
            if row["name"].startswith(f"{self._name(deployment)}-"):
                yield row["name"]

    def _value(self, deployment: str, point: Measured) -> dict[str, Any]:
        series = {"dimValues": [self._name(deployment), point.version or ALL], "min": point.value, "max": point.value, "sum": point.value}
        data = {"metric": point.name, "namespace": NAMESPACE, "dimNames": ["deployment", "version"], "series": [{**series, "count": 1}]}
        return {"time": datetime.datetime.fromtimestamp(point.at, datetime.UTC).isoformat(timespec="seconds"), "data": {"baseData": data}}

    def _rule(self, deployment: str, bound: Bound) -> dict[str, Any]:
        """Judged once a minute, over the nearest window that Azure has."""
        window = next((told for seconds, told in _WINDOWS if seconds >= bound.for_s), _WINDOWS[-1][1])
        criterion = {
            "criterionType": "StaticThresholdCriterion",
            "name": "signal",
            "metricName": bound.signal,
            "metricNamespace": NAMESPACE,
            "operator": _SIGNS[bound.sign],
            "threshold": bound.limit,
            "timeAggregation": "Average",
            "dimensions": [
                {"name": "deployment", "operator": "Include", "values": [self._name(deployment)]},
                {"name": "version", "operator": "Include", "values": [ALL]},
            ],
            "skipMetricValidation": True,  # it may not have been measured yet
        }
        properties = {
            "description": f"{bound.key} (deployment {deployment})",
            "severity": 2,
            "enabled": True,
            "scopes": [self.arm.workspace],
            "evaluationFrequency": "PT1M",
            "windowSize": window,
            "criteria": {"odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria", "allOf": [criterion]},
            "autoMitigate": True,
            "actions": [],
        }
        return {"location": "global", "tags": self._tags(), "properties": properties}

    def _board(self, deployment: str, signals: Sequence[str]) -> dict[str, Any]:
        parts = [self._part(deployment, name, at) for at, name in enumerate(signals)]
        title = {"hidden-title": f"Penstock: {deployment}"}
        return {
            "location": self.arm.settings.region,
            "tags": {**self._tags(), **title},
            "properties": {"lenses": [{"order": 0, "parts": parts}], "metadata": {"model": {}}},
        }

    def _part(self, deployment: str, signal: str, at: int) -> dict[str, Any]:
        metric = {
            "resourceMetadata": {"id": self.arm.workspace},
            "name": signal,
            "namespace": NAMESPACE,
            "aggregationType": _AVERAGE,
            "metricVisualization": {"displayName": signal},
        }
        chosen = {"filters": [{"key": "deployment", "operator": 0, "values": [self._name(deployment)]}]}
        chart = {"title": signal, "metrics": [metric], "visualization": {"chartType": _LINE}, "filterCollection": chosen}
        return {
            "position": {"x": 6 * (at % 2), "y": 4 * (at // 2), "colSpan": 6, "rowSpan": 4},
            "metadata": {
                "type": "Extension/HubsExtension/PartType/MonitorChartPart",
                "inputs": [{"name": "options", "isOptional": True}, {"name": "sharedTimeRange", "isOptional": True}],
                "settings": {"content": {"options": {"chart": {**chart, "grouping": {"dimension": "version"}}}}},
            },
        }

    def _tags(self) -> dict[str, str]:
        return tags(self.arm.settings.tags, {TAG: store_mark(self.store)})
