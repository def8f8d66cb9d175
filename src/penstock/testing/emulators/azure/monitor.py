"""Azure Monitor and the portal, as rows: values of custom metrics, alert rules, dashboards. That a rule fires is not emulated.

Sources: "Send custom metrics for an Azure resource by using the REST API"; REST reference of metricAlerts, 2018-03-01.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.testing.emulators.azure.errors import ArmError, invalid
from penstock.testing.emulators.azure.workspace import GROUP_ID, ID, REGION, Workspace

METRICS, ALARMS, BOARDS = "metrics", "Microsoft.Insights/metricAlerts", "Microsoft.Portal/dashboards"
OLDEST_S, NEWEST_S, MOST_DIMENSIONS = 20 * 60.0, 5 * 60.0, 10
_BASE, _SERIES = {"metric", "namespace", "dimNames", "series"}, {"dimValues", "min", "max", "sum", "count"}
_ALARM = {"description", "severity", "enabled", "scopes", "evaluationFrequency", "windowSize", "criteria", "autoMitigate", "actions"}
_CRITERION = {
    *("criterionType", "name", "metricName", "metricNamespace", "operator", "threshold", "timeAggregation", "dimensions"),
    "skipMetricValidation",
}
_WINDOWS = ("PT1M", "PT5M", "PT15M", "PT30M", "PT1H", "PT6H", "PT12H", "P1D")
_OPERATORS = ("Equals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual")


@dataclass(frozen=True, slots=True)
class Value:
    metric: str
    dimensions: Mapping[str, str]
    at: float
    value: float


def publish(workspace: Workspace, body: Any) -> None:
    try:
        at = datetime.datetime.fromisoformat(body["time"]).timestamp()
        base: dict[str, Any] = body["data"]["baseData"]
    except (KeyError, TypeError, ValueError):
        raise invalid("time and data.baseData are needed.") from None
    age = workspace.clock() - at
    if not -NEWEST_S <= age <= OLDEST_S:
        raise invalid(f"The timestamp must be within 20 minutes in the past and 5 in the future; this one is {age:.0f} s old.")
    _only(base, _BASE, "baseData")
    if len(base["dimNames"]) > MOST_DIMENSIONS:
        raise invalid(f"A metric has at most {MOST_DIMENSIONS} dimensions.")
    for series in base["series"]:
        _only(series, _SERIES, "series")
        if len(series["dimValues"]) != len(base["dimNames"]) or not all(series["dimValues"]) or series["count"] < 1:
            raise invalid("Each series needs a value for every dimension, and a count of at least 1.")
        dimensions = dict(zip(base["dimNames"], series["dimValues"], strict=True))
        made = Value(base["metric"], dimensions, at, series["sum"] / series["count"])
        workspace.of(METRICS)[f"{len(workspace.of(METRICS))}"] = made


def put(workspace: Workspace, kind: str, name: str, body: Any) -> tuple[int, dict[str, Any]]:
    if not isinstance(body, dict) or not isinstance(body.get("properties"), dict):
        raise invalid("properties are needed.")
    (_alarm if kind == ALARMS else _board)(body)
    status = 200 if name in workspace.of(kind) else 201
    workspace.of(kind)[name] = {**body, "id": f"{GROUP_ID}/providers/{kind}/{name}", "name": name, "type": kind}
    return status, workspace.of(kind)[name]


def rows(workspace: Workspace, kind: str) -> Sequence[dict[str, Any]]:
    return list(workspace.of(kind).values())


def delete(workspace: Workspace, kind: str, name: str) -> int:
    return 200 if workspace.of(kind).pop(name, None) is not None else 204


def _alarm(body: dict[str, Any]) -> None:
    properties = body["properties"]
    _only(properties, _ALARM, "properties")
    if body.get("location") != "global":
        raise invalid("location must be global")
    if properties["scopes"] != [ID]:
        raise ArmError(404, "ResourceNotFound", f"{properties['scopes']} was not found.")
    if properties["windowSize"] not in _WINDOWS or properties["evaluationFrequency"] not in _WINDOWS[:5]:
        raise invalid("windowSize or evaluationFrequency is none that Azure has.")
    if properties["criteria"]["odata.type"] != "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria":
        raise invalid("criteria of that type are not emulated")
    for criterion in properties["criteria"]["allOf"]:
        _only(criterion, _CRITERION, "criterion")
        if criterion["criterionType"] != "StaticThresholdCriterion" or criterion["operator"] not in _OPERATORS:
            raise invalid("criterionType or operator is none that Azure has.")
        if not isinstance(criterion["threshold"], int | float):
            raise invalid("threshold must be a number")


def _board(body: dict[str, Any]) -> None:
    if body.get("location") != REGION:
        raise invalid(f"location must be {REGION}")
    for lens in body["properties"]["lenses"]:
        for part in lens["parts"]:
            _only(part, {"position", "metadata"}, "part")
            _only(part["position"], {"x", "y", "colSpan", "rowSpan"}, "position")


def _only(value: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown, missing = sorted(set(value) - known), sorted(known & {"metric", "namespace", "series", "scopes", "criteria"} - set(value))
    if unknown or missing:
        raise invalid(f"{where} has no {unknown[0]!r}" if unknown else f"{where} needs {missing[0]!r}")
