"""Signals to CloudWatch, in the namespace `Penstock`: a metric a signal, by deployment and version; dashboard and alarms a deployment.

Sources: CloudWatch API reference (PutMetricData: 1,000 metrics a call), "Dashboard body structure and syntax".
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.core.digests import digest_json, hex_of
from penstock.platforms.measures import Bound, Face, Measured
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.naming import endpoint_name
from penstock.platforms.sagemaker.settings import store_mark, tags

NAMESPACE = "Penstock"
MOST, PERIOD_S, LONGEST_S = 1000, 60, 86400
_SIGNS = {
    ">": "GreaterThanThreshold",
    ">=": "GreaterThanOrEqualToThreshold",
    "<": "LessThanThreshold",
    "<=": "LessThanOrEqualToThreshold",
}
_UNITS = (("_ms", "Milliseconds"), ("_bytes_per_s", "Bytes/Second"), ("_per_s", "Count/Second"), ("_rate", "None"))


@dataclass(frozen=True, slots=True)
class CloudWatch:
    """The Measures of a platform. `store` tells one project's deployments from another's, as in endpoints."""

    aws: Aws
    store: str

    def put(self, deployment: str, points: Sequence[Measured]) -> None:
        rows = [
            {
                "MetricName": point.name,
                "Dimensions": self._dimensions(deployment, point.version),
                "Timestamp": datetime.datetime.fromtimestamp(point.at, datetime.UTC),
                "Value": point.value,
                "Unit": next((unit for ending, unit in _UNITS if point.name.endswith(ending)), "None"),
            }
            for point in points
        ]
        for begin in range(0, len(rows), MOST):
            self.aws.call("cloudwatch:PutMetricData", Namespace=NAMESPACE, MetricData=rows[begin : begin + MOST])

    def show(self, deployment: str, face: Face) -> None:
        signals, bounds = face.signals, face.bounds
        body = json.dumps({"widgets": [self._widget(deployment, name, at) for at, name in enumerate(signals)]})
        self.aws.call("cloudwatch:PutDashboard", DashboardName=self._board(deployment), DashboardBody=body)
        wanted = {f"{self._name(deployment)}-{hex_of(digest_json(bound.key))[:8]}": bound for bound in bounds}
        for name, bound in wanted.items():
            self.aws.call("cloudwatch:PutMetricAlarm", **self._alarm(deployment, name, bound))
        gone = [name for name in self._alarms(deployment) if name not in wanted]
        if gone:
            self.aws.call("cloudwatch:DeleteAlarms", AlarmNames=gone)

    def remove(self, deployment: str) -> None:
        self.aws.call("cloudwatch:DeleteDashboards", _gone, DashboardNames=[self._board(deployment)])
        if names := list(self._alarms(deployment)):
            self.aws.call("cloudwatch:DeleteAlarms", _gone, AlarmNames=names)

    def _name(self, deployment: str) -> str:
        return endpoint_name(deployment, self.store)

    def _board(self, deployment: str) -> str:
        return f"{self._name(deployment)}-{store_mark(self.store)}"

    def _alarms(self, deployment: str) -> Iterator[str]:
        prefix = f"{self._name(deployment)}-"
        for row in self.aws.pages("cloudwatch:DescribeAlarms", "MetricAlarms", AlarmNamePrefix=prefix):
            yield row["AlarmName"]

    def _alarm(self, deployment: str, name: str, bound: Bound) -> dict[str, Any]:
        """Judged once a minute, over a day at most: the service allows no more."""
        periods = max(1, round(min(bound.for_s, LONGEST_S) / PERIOD_S))
        return {
            "AlarmName": name,
            "AlarmDescription": f"{bound.key} (deployment {deployment})",
            "Namespace": NAMESPACE,
            "MetricName": bound.signal,
            "Dimensions": self._dimensions(deployment),
            "Statistic": "Average",
            "Period": PERIOD_S,
            "EvaluationPeriods": periods,
            "Threshold": bound.limit,
            "ComparisonOperator": _SIGNS[bound.sign],
            "TreatMissingData": "notBreaching",
            "Tags": tags(self.aws.settings.tags),
        }

    def _widget(self, deployment: str, signal: str, at: int) -> dict[str, Any]:
        metric: list[str] = [NAMESPACE, signal]
        for dimension in self._dimensions(deployment):
            metric += [dimension["Name"], dimension["Value"]]
        properties = {
            "metrics": [metric],
            "region": self.aws.settings.region,
            "title": signal,
            "period": PERIOD_S,
            "stat": "Average",
            "view": "timeSeries",
        }
        return {
            "type": "metric",
            "x": 12 * (at % 2),
            "y": 6 * (at // 2),
            "width": 12,
            "height": 6,
            "properties": properties,
        }

    def _dimensions(self, deployment: str, version: str = "") -> list[dict[str, str]]:
        found = [{"Name": "deployment", "Value": deployment}, {"Name": "project", "Value": self._name(deployment).rpartition("-")[2]}]
        return [*found, {"Name": "version", "Value": version}] if version else found


def _gone(code: str, message: str) -> bool:
    return code in ("ResourceNotFound", "DashboardNotFoundError") or "does not exist" in message
