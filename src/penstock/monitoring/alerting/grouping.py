"""When a receiver is told what: alerts of a deployment are gathered, changes are told together, and never more often than `every`.

A line is what one receiver knows of one group: the critical alerts of a deployment, or its others. What is to be told is the difference
between what it knows and what stands, so a message that failed is simply still due, and a change that undid itself is never told. Between
two messages of a line lie at least max(`every`, LEAST_EVERY_S) seconds: whatever signals do, an hour has at most 1 + 3600 / that.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from penstock.core.digests import digest_json, hex_of
from penstock.monitoring.alerting.standing import Standing

LEAST_EVERY_S = 10.0
FIRST_RETRY_S, MOST_RETRY_S, HOPELESS_S = 5.0, 300.0, 900.0


@dataclass(frozen=True, slots=True)
class Timing:
    """`wait_s`: how long changes are gathered. `every_s`: between messages. `refresh_s`: what fires is told again so often, for receivers
    that take silence for an end.
    """

    wait_s: float = 10.0
    every_s: float = 300.0
    refresh_s: float | None = None

    @property
    def pause_s(self) -> float:
        pause = max(self.every_s, LEAST_EVERY_S)
        return pause if self.refresh_s is None else min(pause, self.refresh_s)


@dataclass(frozen=True, slots=True)
class Line:
    """`told`: ids that the receiver believes to fire. `last_at`: of the last message that arrived; `count`: how many have.
    `wanted_at`: since when there is something to tell. `tries`: that failed since the last that arrived, the next not before `retry_at`.
    """

    told: tuple[str, ...] = ()
    last_at: float | None = None
    count: int = 0
    wanted_at: float | None = None
    tries: int = 0
    retry_at: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def parse(value: Mapping[str, Any]) -> Line:
        known = {name: value[name] for name in Line.__slots__ if name in value}
        return Line(**{**known, "told": tuple(known.get("told", ()))})


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one message says: alerts that fire (`fresh` are those it did not know of), and those it knew that are over.

    `id` is the same for the same content after the same number of messages: a receiver can tell a repeated one.
    """

    id: str
    firing: tuple[str, ...]
    over: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()

    @property
    def alerts(self) -> tuple[str, ...]:
        return (*self.firing, *self.over)


@dataclass(frozen=True, slots=True)
class Due:
    """`parcel` may go now; otherwise look again at `again_at` (None: not before something changes). `line`: with what was noted."""

    line: Line
    parcel: Parcel | None = None
    again_at: float | None = None


def due(line: Line, name: str, firing: Sequence[Standing], standing: Collection[str], timing: Timing, now: float) -> Due:
    """What is due on the line `name`. `firing`: alerts that may be told on it. `standing`: ids of all that fire, withheld ones too, since
    what is withheld is not over.
    """
    line = _in_time(line, now)
    known = {alert.id: alert for alert in firing}
    over = tuple(ident for ident in line.told if ident not in standing)
    fresh = tuple(sorted(ident for ident in known if ident not in line.told))
    if fresh or over:
        wanted_at = now if line.wanted_at is None else line.wanted_at
        line = replace(line, wanted_at=wanted_at)
        at = max(wanted_at + timing.wait_s, now if line.last_at is None else line.last_at + timing.pause_s, line.retry_at)
    else:
        line = replace(line, wanted_at=None)
        repeat = _repeat_at(line, [known[ident] for ident in line.told if ident in known], timing)
        if repeat is None:
            return Due(line)
        at = max(repeat, line.retry_at)
    if now < at:
        return Due(line, again_at=at)
    told = tuple(sorted(known))
    return Due(line, Parcel(hex_of(digest_json([name, line.count, told, over]))[:24], told, over, fresh))


def _in_time(line: Line, now: float) -> Line:
    """The line with no time in the future: a clock that was set back must not hold messages."""
    last_at = None if line.last_at is None else min(line.last_at, now)
    wanted_at = None if line.wanted_at is None else min(line.wanted_at, now)
    return replace(line, last_at=last_at, wanted_at=wanted_at, retry_at=min(line.retry_at, now + 2 * HOPELESS_S))


def _repeat_at(line: Line, firing: Sequence[Standing], timing: Timing) -> float | None:
    """When what was told is told again: those that nobody has taken after their `repeat`."""
    if line.last_at is None or not firing:
        return None
    pauses = [max(alert.repeat_s, timing.pause_s) for alert in firing if not alert.acked]
    if timing.refresh_s is not None:
        pauses.append(timing.refresh_s)
    return line.last_at + min(pauses) if pauses else None


def arrived(line: Line, parcel: Parcel, at: float) -> Line:
    """The line once the parcel has arrived. What is withheld by now stays known to the receiver until it is over."""
    kept = tuple(ident for ident in line.told if ident not in parcel.over)
    return Line(tuple(dict.fromkeys((*kept, *parcel.firing))), at, line.count + 1)


def failed(line: Line, parcel: Parcel, at: float, *, hopeless: bool = False, after_s: float | None = None) -> Line:
    """The line after a try that failed: pauses double, with jitter so that many lines do not come back at once. `hopeless`: the receiver
    refused for a reason that will not pass by itself. `after_s`: how long it asked to be left alone.
    """
    pause = HOPELESS_S if hopeless else min(FIRST_RETRY_S * 2.0 ** min(line.tries, 16), MOST_RETRY_S)
    jitter = random.Random(f"{parcel.id}/{line.tries}").uniform(0.5, 1.5)
    return replace(line, tries=line.tries + 1, retry_at=at + max(pause * jitter, min(after_s or 0.0, HOPELESS_S)))
