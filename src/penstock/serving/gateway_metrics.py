"""What `/metrics` of the gateway says: this process's own counts, and those that its fellow workers left in files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from penstock.serving.metrics import Labels, RequestMetrics
from penstock.serving.table import Table

SUMMED: Mapping[str, tuple[str, str]] = {
    "in_flight": ("gauge", "Requests being answered."),
    "queue": ("gauge", "Requests that wait for a connection to their replica."),
    "connections": ("gauge", "Open client connections."),
    "snapshot_errors_total": ("counter", "Snapshot files that could not be read."),
    "retries_total": ("counter", "Attempts after the first."),
    "records_written_total": ("counter", "Request records on disk."),
    "records_dropped_total": ("counter", "Request records lost to a full disk or buffer."),
}


def render(metrics: RequestMetrics, sums: Mapping[str, float], table: Table, others: Iterable[Mapping[str, Any]] = ()) -> bytes:
    """Prometheus text. `sums` has the names of SUMMED; each of `others` has `series` (of RequestMetrics.dump) and `sums`."""
    whole, totals = RequestMetrics("penstock"), dict(sums)
    whole.absorb(metrics.dump())
    for other in others:
        whole.absorb(other["series"])
        for name in SUMMED:
            totals[name] += other["sums"][name]
    for name, (kind, help_text) in SUMMED.items():
        whole.gauge(name, help_text, {(): totals[name]}, kind)
    whole.gauge("replicas", "Replicas by state.", _replicas(table))
    whole.gauge("snapshot_version", "Snapshot in force.", {(): table.snapshot.version})
    return whole.render()


def _replicas(table: Table) -> dict[Labels, float]:
    now, found = time.monotonic(), dict[Labels, float]()
    for model in table.models.values():
        for version in model.versions.values():
            for state, wanted in (("up", True), ("down", False)):
                labels = (("model", model.name), ("version", version.name), ("state", state))
                found[labels] = sum(r.up(now) is wanted for r in version.replicas)
    return found
