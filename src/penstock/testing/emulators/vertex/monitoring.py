"""Cloud Monitoring: time series as CreateTimeSeries takes them, alert policies, dashboards.

Sources: its API reference; "Create user-defined metrics" on limits and on the order of points. What is written is kept, not judged.
"""

from __future__ import annotations

import re
from typing import Any

from penstock.testing.emulators.vertex.errors import VertexError, invalid, not_found
from penstock.testing.emulators.vertex.listing import matcher, page
from penstock.testing.emulators.vertex.messages import dash, v3
from penstock.testing.emulators.vertex.operations import nothing
from penstock.testing.emulators.vertex.project import PROJECT, Project

POLICIES, BOARDS, SERIES = "alertPolicies", "dashboards", "timeSeries"
MOST, OLDEST_S = 200, 25 * 3600
PREFIXES = ("custom.googleapis.com/", "external.googleapis.com/", "workload.googleapis.com/")
_TYPE, _BOARD = re.compile(r"[A-Za-z0-9./_-]{1,200}"), re.compile(r"[a-zA-Z0-9-]{1,64}")


def write(project: Project, request: Any) -> Any:
    """Points that are in order are written, though others of the call are not."""
    _check_project(request.name)
    rows, seen, late = list(request.time_series), set(), 0
    if len(rows) > MOST:
        raise invalid([("time_series", f"At most {MOST} time series are taken in one call.")])
    for at, row in enumerate(rows):
        if not row.metric.type.startswith(PREFIXES) or not _TYPE.fullmatch(row.metric.type):
            raise invalid([(f"time_series[{at}].metric.type", f"{row.metric.type!r} is no type of a user-defined metric.")])
        if len(row.points) != 1 or not row.points[0].interval.end_time:
            raise invalid([(f"time_series[{at}].points", "Exactly one point with an end time must be given.")])
        if _key(row) in seen:
            raise VertexError(
                "INVALID_ARGUMENT", "Duplicate TimeSeries encountered. Only one point can be written per TimeSeries per request."
            )
        seen.add(_key(row))
    for row in rows:
        points, end = project.of(SERIES).setdefault(_key(row), []), row.points[0].interval.end_time.timestamp()
        if (points and end <= points[-1][0]) or end < project.clock() - OLDEST_S:
            late += 1
        else:
            points.append((end, row.points[0].value.double_value))
    if late:
        why = "Points must be written in order. One or more of the points specified had an older end time than the most recent point."
        raise VertexError("INVALID_ARGUMENT", f"One or more TimeSeries could not be written: {why}: {late} of {len(rows)}")
    return nothing()


def _key(row: Any) -> Any:
    return row.metric.type, tuple(sorted(row.metric.labels.items())), row.resource.type, tuple(sorted(row.resource.labels.items()))


def create_policy(project: Project, request: Any) -> Any:
    _check_project(request.name)
    policy = request.alert_policy
    wrong = [] if policy.display_name and policy.conditions else [("alert_policy", "It needs a display name and a condition.")]
    wrong += [("alert_policy.combiner", "Required field is not set.")] if not int(policy.combiner) else []
    for at, condition in enumerate(policy.conditions):
        threshold, path = condition.condition_threshold, f"alert_policy.conditions[{at}]"
        seconds = threshold.duration.total_seconds() if threshold.duration else 0.0
        if 'metric.type="' not in threshold.filter or "resource.type=" not in threshold.filter:
            wrong.append((f"{path}.condition_threshold.filter", "It must name a metric.type and a resource.type."))
        if seconds % 60:
            wrong.append((f"{path}.condition_threshold.duration", "It must be a multiple of 60 seconds."))
    if wrong:
        raise invalid(wrong)
    policy.name = f"projects/{PROJECT}/{POLICIES}/{project.new_id()}"
    project.of(POLICIES)[policy.name] = policy
    return policy


def list_policies(project: Project, request: Any) -> Any:
    _check_project(request.name)

    def value(row: Any, field: str) -> str | None:
        return dict(row.user_labels).get(field.removeprefix("user_labels.")) if field.startswith("user_labels.") else row.display_name

    fits = matcher(request.filter, value)
    rows, token = page([row for row in project.of(POLICIES).values() if fits(row)], request)
    return v3.ListAlertPoliciesResponse(alert_policies=rows, next_page_token=token)


def delete_policy(project: Project, request: Any) -> Any:
    if project.of(POLICIES).pop(request.name, None) is None:
        raise not_found("AlertPolicy", request.name)
    return nothing()


def create_board(project: Project, request: Any) -> Any:
    _check_project(request.parent)
    board = request.dashboard
    id_ = board.name.rpartition("/")[2] or project.new_id()
    if not board.display_name or not _BOARD.fullmatch(id_):
        raise invalid([("dashboard", "It needs a display name, and an id of letters, digits and hyphens.")])
    name = f"projects/{PROJECT}/{BOARDS}/{id_}"
    if name in project.of(BOARDS):
        raise VertexError("ALREADY_EXISTS", f"Dashboard {name} already exists.")
    board.name = name
    project.of(BOARDS)[name] = board
    return board


def update_board(project: Project, request: Any) -> Any:
    if request.dashboard.name not in project.of(BOARDS):
        raise not_found("Dashboard", request.dashboard.name)
    project.of(BOARDS)[request.dashboard.name] = request.dashboard
    return request.dashboard


def list_boards(project: Project, request: Any) -> Any:
    _check_project(request.parent)
    rows, token = page(list(project.of(BOARDS).values()), request)
    return dash.ListDashboardsResponse(dashboards=rows, next_page_token=token)


def delete_board(project: Project, request: Any) -> Any:
    if project.of(BOARDS).pop(request.name, None) is None:
        raise not_found("Dashboard", request.name)
    return nothing()


def _check_project(name: str) -> None:
    if name != f"projects/{PROJECT}":
        raise invalid([("name", f"{name!r} is not this project.")])
