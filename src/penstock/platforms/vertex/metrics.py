"""Signals to Cloud Monitoring, as `custom.googleapis.com/penstock/SIGNAL` by deployment and version; a dashboard and alert policies.

Sources: Cloud Monitoring API reference (CreateTimeSeries: 200 series a call, one point of each, in order; AlertPolicy; Dashboard).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.core.digests import digest_json, hex_of
from penstock.platforms.measures import Bound, Face, Measured
from penstock.platforms.vertex.google import Google, already, not_there
from penstock.platforms.vertex.naming import endpoint_name
from penstock.platforms.vertex.settings import labels, store_mark

PREFIX = "custom.googleapis.com/penstock"
MOST, PERIOD_S, LONGEST_S = 200, 60, 84600  # an alert's condition may have to hold for 23 h 30 min at most
_SIGNS = {">": "COMPARISON_GT", ">=": "COMPARISON_GE", "<": "COMPARISON_LT", "<=": "COMPARISON_LE"}


@dataclass(frozen=True, slots=True)
class CloudMonitoring:
    """The Measures of a platform. `store` tells one project's deployments from another's, as in endpoints."""

    google: Google
    store: str

    def put(self, deployment: str, points: Sequence[Measured]) -> None:
        for batch in batches(points):
            rows = [self._row(deployment, point) for point in batch]
            self.google.call("Monitoring.CreateTimeSeries", {"name": self._project, "time_series": rows}, _there_already)

    def show(self, deployment: str, face: Face) -> None:
        signals, bounds = face.signals, face.bounds
        board = self._board(deployment, signals)
        if self.google.call("Dashboards.CreateDashboard", {"parent": self._project, "dashboard": board}, already) is None:
            self.google.call("Dashboards.UpdateDashboard", {"dashboard": board})
        wanted = {hex_of(digest_json([bound.key, bound.sign, bound.limit, bound.for_s]))[:16]: bound for bound in bounds}
        there = {dict(row.user_labels)["penstock_rule"]: row.name for row in self._policies(deployment)}
        for mark in wanted.keys() - there.keys():
            self.google.call(
                "Alerts.CreateAlertPolicy", {"name": self._project, "alert_policy": self._policy(deployment, mark, wanted[mark])}
            )
        for mark in there.keys() - wanted.keys():
            self.google.call("Alerts.DeleteAlertPolicy", {"name": there[mark]}, not_there)

    def remove(self, deployment: str) -> None:
        self.google.call("Dashboards.DeleteDashboard", {"name": self._board_name(deployment)}, not_there)
        for row in list(self._policies(deployment)):
            self.google.call("Alerts.DeleteAlertPolicy", {"name": row.name}, not_there)

    def left(self) -> Iterator[str]:
        """`kind name` of dashboards and alert policies of this project."""
        mine = {"penstock_store": store_mark(self.store)}
        for board in self.google.rows("Dashboards.ListDashboards", {"parent": self._project}):
            if "penstock_store" in board.labels and board.name.endswith(f"-{mine['penstock_store']}"):
                yield f"dashboard {board.name.rpartition('/')[2]}"
        asked = {"name": self._project, "filter": f'user_labels.penstock_store="{mine["penstock_store"]}"'}
        for row in self.google.rows("Alerts.ListAlertPolicies", asked):
            yield f"alert policy {row.display_name}"

    @property
    def _project(self) -> str:
        return f"projects/{self.google.settings.project}"

    def _labels(self, deployment: str) -> dict[str, str]:
        return {"penstock_endpoint": endpoint_name(deployment, self.store), "penstock_store": store_mark(self.store)}

    def _policies(self, deployment: str) -> Iterator[Any]:
        mine = f'user_labels.penstock_endpoint="{endpoint_name(deployment, self.store)}"'
        yield from self.google.rows("Alerts.ListAlertPolicies", {"name": self._project, "filter": mine})

    def _row(self, deployment: str, point: Measured) -> dict[str, Any]:
        told = {"deployment": deployment, "project": store_mark(self.store), "version": point.version}
        seconds = int(point.at)
        when = {"seconds": seconds, "nanos": int((point.at - seconds) * 1e9)}
        return {
            "metric": {"type": f"{PREFIX}/{point.name}", "labels": told},
            "resource": {"type": "global", "labels": {"project_id": self.google.settings.project}},
            "points": [{"interval": {"end_time": when}, "value": {"double_value": point.value}}],
        }

    def _filter(self, deployment: str, signal: str) -> str:
        """Of the deployment as a whole, not of one version."""
        labelled = {"deployment": deployment, "project": store_mark(self.store), "version": ""}
        told = " AND ".join(f'metric.labels.{name}="{value}"' for name, value in labelled.items())
        return f'metric.type="{PREFIX}/{signal}" AND resource.type="global" AND {told}'

    def _policy(self, deployment: str, mark: str, bound: Bound) -> dict[str, Any]:
        """Judged once a minute."""
        threshold = {
            "filter": self._filter(deployment, bound.signal),
            "aggregations": [{"alignment_period": {"seconds": PERIOD_S}, "per_series_aligner": "ALIGN_MEAN"}],
            "comparison": _SIGNS[bound.sign],
            "threshold_value": bound.limit,
            "duration": {"seconds": round(min(bound.for_s, LONGEST_S) / PERIOD_S) * PERIOD_S},
        }
        return {
            "display_name": f"{bound.key} (deployment {deployment})",
            "user_labels": labels(self.google.settings.labels, self._labels(deployment), {"penstock_rule": mark}),
            "conditions": [{"display_name": bound.key, "condition_threshold": threshold}],
            "combiner": "OR",
        }

    def _board(self, deployment: str, signals: Sequence[str]) -> dict[str, Any]:
        mean = {"alignment_period": {"seconds": PERIOD_S}, "per_series_aligner": "ALIGN_MEAN"}
        widgets = [
            {
                "title": signal,
                "xy_chart": {
                    "data_sets": [
                        {"time_series_query": {"time_series_filter": {"filter": self._filter(deployment, signal), "aggregation": mean}}}
                    ]
                },
            }
            for signal in signals
        ]
        marks = dict.fromkeys(labels(self._labels(deployment)), "")  # a dashboard's labels are names without values
        grid = {"columns": 2, "widgets": widgets}
        return {"name": self._board_name(deployment), "display_name": f"Penstock: {deployment}", "grid_layout": grid, "labels": marks}

    def _board_name(self, deployment: str) -> str:
        return f"{self._project}/dashboards/{hex_of(digest_json(deployment))[:16]}-{store_mark(self.store)}"


def batches(points: Sequence[Measured]) -> Iterator[list[Measured]]:
    """Calls that the service takes: one point of a series in each, the older ones first, MOST series at most."""
    series: dict[tuple[str, str], list[Measured]] = {}
    for point in sorted(points, key=lambda point: point.at):
        series.setdefault((point.name, point.version), []).append(point)
    for turn in range(max((len(rows) for rows in series.values()), default=0)):
        rows = [found[turn] for found in series.values() if turn < len(found)]
        for begin in range(0, len(rows), MOST):
            yield rows[begin : begin + MOST]


def _there_already(error: Exception) -> bool:
    """Points that were sent before: the service takes an instant once, and writes the others of the call."""
    return "written in order" in str(error)
