"""From rows of alerts to the message that a receiver gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.control.alerts.notify.contract import Item, Message
from penstock.control.alerts.rows import labels_of
from penstock.control.alerts.words import amount
from penstock.monitoring.alerting.grouping import Parcel
from penstock.monitoring.alerting.rules import RANK
from penstock.store.resources import Resource

LINES = 6  # of evidence an alert


def message_of(parcel: Parcel, group: str, rows: Mapping[str, Resource], at: float, link: str | None) -> Message | None:
    """The message of a parcel; None when no row of it is left. Gravest first, then newest."""
    items = [item(rows[ident], ident in parcel.fresh, firing=ident in parcel.firing) for ident in parcel.alerts if ident in rows]
    if not items:
        return None
    items.sort(key=lambda one: (one.status == "resolved", -RANK[one.severity], -one.fired_at, one.id))
    first = rows[items[0].id]
    status = items[0].status
    gravest = max((one.severity for one in items if one.status == status), key=lambda severity: RANK[severity])
    return Message(parcel.id, group, first.spec["deployment"], status, gravest, tuple(items), at, link)


def item(row: Resource, fresh: bool, *, firing: bool) -> Item:
    status, acked = row.status, row.spec.get("acked") or {}
    over = None if firing else status.get("resolved_at") or row.updated_at
    return Item(
        row.id,
        row.spec["alert"],
        "firing" if firing else "resolved",
        row.spec["severity"],
        status["message"],
        labels_of(row),
        status["fired_at"],
        over,
        fresh,
        tuple(evidence_lines(status))[:LINES],
        tuple(cause["text"] for cause in (status.get("causes") or {}).get("causes", ())[:LINES]),
        acked.get("by"),
    )


def evidence_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """What an alert rests on beyond its message, a line each."""
    facts: Sequence[Mapping[str, Any]] = status.get("facts") or ()
    for fact in facts:
        if not fact["over"]:
            yield f"{fact['signal']}: {amount(fact['signal'], fact['value'])}"
        for name, value in (fact.get("evidence") or {}).items():
            yield f"{name}: {_plain(value)}"
    for name, value in (status.get("evidence") or {}).items():
        yield f"{name}: {_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
