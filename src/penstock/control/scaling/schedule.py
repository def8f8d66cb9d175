"""Bounds by the clock: which of a deployment's scheduled times hold at an instant, in their own time zones, through changes of the hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from penstock.spec.deploy import Scale, ScaleTime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Replicas at least and at most; `why` names the scheduled time that set them, or is empty."""

    least: int
    most: int
    why: str = ""


def bounds(scale: Scale, now: float) -> Bounds:
    """Of the scheduled times that hold at `now` (seconds since the epoch) the largest; outside all of them, `min` and `max`."""
    holding = [entry for entry in scale.schedule if holds(entry, now)]
    if not holding:
        return Bounds(scale.min, scale.most)
    least = max(entry.min for entry in holding)
    most = max(entry.max if entry.max is not None else max(scale.most, entry.min) for entry in holding)
    first = next(entry for entry in holding if entry.min == least)
    return Bounds(least, max(most, least, 1), f"{first.start}–{first.end} {first.timezone}")


def holds(entry: ScaleTime, now: float) -> bool:
    """Whether `now` lies in the entry's time of a day: from the first instant that shows `start` to the last that shows `end`.

    So an hour that the clock shows twice is one unbroken time, and a time that it skips comes as much later. Equal ends mean the whole day.
    """
    zone = ZoneInfo(entry.timezone)
    today = datetime.fromtimestamp(now, zone).date()
    for day in (today - timedelta(days=1), today):
        if DAYS[day.weekday()] not in entry.days:
            continue
        start, end = time.fromisoformat(entry.start), time.fromisoformat(entry.end)
        last = day if end > start else day + timedelta(days=1)
        if _instant(day, start, zone, fold=0) <= now < _instant(last, end, zone, fold=1):
            return True
    return False


def _instant(day: date, at: time, zone: ZoneInfo, *, fold: int) -> float:
    """`fold` 1 takes the second of two instants that show the same time; a time that is skipped is taken an hour (or so) later."""
    naive = datetime.combine(day, at)
    first = naive.replace(tzinfo=zone)
    skipped = datetime.fromtimestamp(first.timestamp(), zone).replace(tzinfo=None, fold=0) != naive
    return first.replace(fold=0 if skipped else fold).timestamp()
