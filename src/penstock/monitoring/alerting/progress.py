"""How far one rule has come on one part: inactive → pending → firing → clearing → inactive.

Time is that of the signals, never that of whoever looks: the same rows lead to the same states however late and in how many passes they are
read. What nobody knows moves nothing, except that a condition which held before a silence longer than FORGET_S starts over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from penstock.monitoring.alerting.rules import Rule

Phase = Literal["inactive", "pending", "firing", "clearing"]
Change = Literal["held", "fired", "calmed", "cleared"]
FORGET_S = 3600.0


@dataclass(frozen=True, slots=True)
class Progress:
    """`since`: from when on it has held (pending, firing, clearing). `quiet_since`: from when on it has not held while it was firing.
    `known_at`: when it was last known whether it holds.
    """

    phase: Phase = "inactive"
    since: float = 0.0
    fired_at: float = 0.0
    quiet_since: float = 0.0
    known_at: float = 0.0

    @property
    def active(self) -> bool:
        return self.phase in ("firing", "clearing")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def not_after(self, now: float) -> Progress:
        """Goes on from `now` after the clock was set back. Since when an alert fires is part of its name, so that stays."""
        moved = ("quiet_since", "known_at") if self.active else ("since", "known_at")
        return replace(self, **{name: min(getattr(self, name), now) for name in moved})

    @staticmethod
    def parse(value: Mapping[str, Any]) -> Progress:
        return Progress(**{name: value[name] for name in Progress.__slots__ if name in value})


def advance(before: Progress, holds: bool | None, at: float, rule: Rule) -> tuple[Progress, Change | None]:
    """The state after it was seen at `at` that the condition holds, or not, or that nobody knows; and what that means."""
    if holds is None:
        return before, None
    at = max(at, before.known_at)
    if before.active:
        return _active(replace(before, known_at=at), holds, at, rule)
    if not holds:
        return Progress(known_at=at), ("calmed" if before.phase == "pending" else None)
    forgotten = before.phase == "pending" and at - before.known_at > max(FORGET_S, rule.watch.for_s)
    if before.phase == "inactive" or forgotten:
        if rule.watch.for_s > 0:
            return Progress("pending", since=at, known_at=at), "held"
        return Progress("firing", since=at, fired_at=at, known_at=at), "fired"
    if at - before.since >= rule.watch.for_s:
        return Progress("firing", since=before.since, fired_at=at, known_at=at), "fired"
    return replace(before, known_at=at), None


def _active(now: Progress, holds: bool, at: float, rule: Rule) -> tuple[Progress, Change | None]:
    if holds:
        return replace(now, phase="firing", quiet_since=0.0), None
    quiet_since = now.quiet_since if now.phase == "clearing" else at
    if at - quiet_since >= rule.clear_after_s:
        return Progress(known_at=at), "cleared"
    return replace(now, phase="clearing", quiet_since=quiet_since), None
