"""Cron lines in time zones, as instants. Pure. Times that daylight saving skips come right after the gap; those it repeats come once."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim


def next_time(line: str, zone: str, after: float) -> float | None:
    """The first instant after `after` that the line names, in seconds since the epoch; None when none ever comes."""
    found = next(CronSim(line, datetime.fromtimestamp(after, ZoneInfo(zone))), None)
    return None if found is None else found.timestamp()


def last_time(line: str, zone: str, since: float, until: float) -> float | None:
    """The latest instant within (since, until]; None when there was none."""
    last, at = None, next_time(line, zone, since)
    while at is not None and at <= until:
        last, at = at, next_time(line, zone, at)
    return last
