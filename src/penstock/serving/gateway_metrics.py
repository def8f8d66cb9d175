"""What `/metrics` of the gateway says: this process's own counts, and those that its fellow workers left in files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.serving.lane import COUNTED
from penstock.serving.machine import Machine
from penstock.serving.metrics import Labels, RequestMetrics
from penstock.serving.snapshot import ReplicaRoute
from penstock.serving.table import Table

SUMMED: Mapping[str, tuple[str, str]] = {
    "in_flight": ("gauge", "Requests being answered."),
    "connections": ("gauge", "Open client connections."),
    "snapshot_errors_total": ("counter", "Snapshot files that could not be read."),
    "records_written_total": ("counter", "Request records on disk."),
    "records_dropped_total": ("counter", "Request records lost to a full disk or buffer."),
    "texts_dropped_total": ("counter", "Captured texts that were not kept."),
    "feedback_total": ("counter", "Feedback on disk."),
}
PER_MODEL: Mapping[str, tuple[str, str]] = {
    **{name: ("counter", text) for name, text in COUNTED.items()},
    "waiting": ("gauge", "Requests that wait for a replica with room."),
    "held": ("gauge", "Requests that wait for the first replica."),
    "shadow_in_flight": ("gauge", "Copies under way to a shadow version."),
    "prefix_hits_total": ("counter", "Prompts sent to the replica that had read their beginning."),
    "prefix_misses_total": ("counter", "Prompts long enough to be known, sent to another replica."),
}
PerModel = Mapping[str, Mapping[str, float]]


def per_model(table: Table) -> dict[str, dict[str, float]]:
    """Counts of this process, by model and the names of PER_MODEL."""
    now = time.monotonic()
    return {name: lane.counted(now) for name, lane in table.lanes.items()}


def render(
    metrics: RequestMetrics,
    sums: Mapping[str, float],
    table: Table,
    others: Sequence[Mapping[str, Any]] = (),
    machine: Machine | None = None,
) -> bytes:
    """Prometheus text. `sums`: the names of SUMMED; `others`: each has `series` (of RequestMetrics.dump), `sums`, `models`, `machine`."""
    whole, totals, models = RequestMetrics("penstock"), dict(sums), per_model(table)
    whole.absorb(metrics.dump())
    for other in others:
        whole.absorb(other["series"])
        for name in SUMMED:
            totals[name] += other["sums"][name]
        for model, counts in other["models"].items():
            own = models.setdefault(model, dict.fromkeys(PER_MODEL, 0.0))
            for name in PER_MODEL:
                own[name] += counts[name]
    for name, (help_text, series) in _failures(whole, table).items():
        whole.gauge(name, help_text, series, "counter")
    for name, (kind, help_text) in SUMMED.items():
        whole.gauge(name, help_text, {(): totals[name]}, kind)
    for name, (kind, help_text) in PER_MODEL.items():
        whole.gauge(name, help_text, {(("model", model),): counts[name] for model, counts in models.items()}, kind)
    if machine is not None:
        for name, (kind, help_text, values) in machine.series(other["machine"] for other in others).items():
            whole.gauge(name, help_text, values, kind)
    whole.gauge("replicas", "Replicas by state.", _replicas(table))
    whole.gauge("traffic_weight", "Share of requests that a version is given.", _weights(table))
    whole.gauge("snapshot_version", "Snapshot in force.", {(): table.snapshot.version})
    return whole.render()


def routes(table: Table) -> Iterator[tuple[ReplicaRoute, str, str]]:
    """Each replica with its model and version."""
    for lane in table.lanes.values():
        for version in lane.model.versions.values():
            for replica in version.replicas:
                yield replica.route, lane.model.name, version.name


def _failures(counted: RequestMetrics, table: Table) -> dict[str, tuple[str, dict[Labels, float]]]:
    """Those of none too: of a counter that begins with its first failure, Prometheus sees no growth. Version empty: none was chosen."""
    none = {_served(lane.model.name, name): 0.0 for lane in table.lanes.values() for name in ("", *lane.model.versions)}
    failed = dict(none)
    for labels, value in counted.requests.series.items():
        told = dict(labels)
        if told["model"] and told["status"] >= "500":
            served = _served(told["model"], told["version"])
            failed[served] = failed.get(served, 0.0) + value
    return {
        "failed_total": ("Requests that failed by the server's fault (status 5xx).", failed),
        "hidden_failures_total": ("Failures of a version that clients saw nothing of.", {**none, **counted.hidden}),
    }


def _served(model: str, version: str) -> Labels:
    return ("model", model), ("version", version)


def _weights(table: Table) -> dict[Labels, float]:
    return {
        _served(lane.model.name, version.name): version.weight for lane in table.lanes.values() for version in lane.model.versions.values()
    }


def _replicas(table: Table) -> dict[Labels, float]:
    """`down`: its circuit is open."""
    found = dict[Labels, float]()
    for lane in table.lanes.values():
        for version in lane.model.versions.values():
            for state, down in (("up", False), ("down", True)):
                labels = (("model", lane.model.name), ("version", version.name), ("state", state))
                found[labels] = sum(r.circuit.opened is down for r in version.replicas)
    return found
