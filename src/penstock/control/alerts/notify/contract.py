"""What a way of telling is given, and what it does: the message in, requests to the receiver out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from penstock.spec.react import Severity

SHOWN = 20  # alerts that a message names one by one


@dataclass(frozen=True, slots=True)
class Item:
    """One alert in a message. `fresh`: told for the first time. Times: seconds since the epoch."""

    id: str
    name: str
    status: Literal["firing", "resolved"]
    severity: Severity
    message: str
    labels: Mapping[str, str]
    fired_at: float
    resolved_at: float | None = None
    fresh: bool = False
    evidence: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    acked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What one receiver is told of one group at one time. `id`: the same when it is sent again. `group`: the same for all of a group.

    `status`: firing while any of the group fires. `link`: where the deployment answers. `test`: nothing is wrong, somebody tries the way.
    """

    id: str
    group: str
    deployment: str
    status: Literal["firing", "resolved"]
    severity: Severity
    items: tuple[Item, ...]
    at: float
    link: str | None = None
    test: bool = False

    @property
    def firing(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.status == "firing")

    @property
    def over(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.status == "resolved")

    @property
    def title(self) -> str:
        """`[critical] support: error_rate > 2% for 5m` or `[over] support: 3 alerts`; in one line."""
        named = self.firing or self.over
        what = named[0].name if len(named) == 1 else f"{len(named)} alerts"
        mark = "TEST" if self.test else self.severity if self.status == "firing" else "over"
        return " ".join(f"[{mark}] {self.deployment}: {what}".split())

    def lines(self) -> list[str]:
        """The message as plain text."""
        told = [line for item in self.items[:SHOWN] for line in _lines(item)]
        if len(self.items) > SHOWN:
            told.append(f"and {len(self.items) - SHOWN} more")
        if self.test:
            told.insert(0, "This is a test: nothing is wrong.")
        return told


def _lines(item: Item) -> list[str]:
    from penstock.control.alerts.words import clock

    state = f"over since {clock(item.resolved_at)}" if item.resolved_at is not None else f"fires since {clock(item.fired_at)}"
    taken = f", taken by {item.acked_by}" if item.acked_by else ""
    told = [f"{'NEW ' if item.fresh else ''}[{item.severity}] {item.name} ({state}{taken})", f"    {item.message}"]
    if item.status == "firing":
        told += [f"    {line}" for line in item.evidence]
        told += [f"    cause: {line}" for line in item.causes]
    return told


@dataclass(frozen=True, slots=True)
class Post:
    """One HTTP request that says a message. `taken`: statuses that mean that it was taken."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    taken: tuple[int, ...] = (200, 201, 202, 204)


class Way(Protocol):
    """`refresh_s`: a receiver that takes silence for an end is told again so often. `settings`: the receiver's section, secrets put in."""

    refresh_s: float | None

    def send(self, settings: Mapping[str, Any], message: Message) -> None:
        """Returns when the receiver has taken it. Raises NotDelivered, OutboundRefused, OSError."""
        ...
