"""Bounds by the clock: days, nights over midnight, time zones, hours that come twice and hours that are skipped."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.control.scaling.schedule import Bounds, bounds, holds
from penstock.spec.deploy import Scale, ScaleTime

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def test_outside_all_times_the_plain_bounds_hold() -> None:
    scale = Scale(min=1, max=4, schedule=(ScaleTime(start="08:00", end="18:00", min=2, max=8),))
    assert bounds(scale, at("2026-11-20T07:59:59")) == Bounds(1, 4)
    assert bounds(scale, at("2026-11-20T08:00:00")) == Bounds(2, 8, "08:00–18:00 UTC")
    assert bounds(scale, at("2026-11-20T18:00:00")) == Bounds(1, 4)


def test_of_several_the_largest_count_and_a_quiet_time_may_lower_them() -> None:
    day = ScaleTime(start="08:00", end="18:00", min=2)
    noon = ScaleTime(start="12:00", end="13:00", min=5, max=6)
    night = ScaleTime(start="22:00", end="05:00", min=0, max=1)
    scale = Scale(min=1, max=4, schedule=(day, noon, night))
    assert bounds(scale, at("2026-11-20T12:30")) == Bounds(5, 6, "12:00–13:00 UTC")
    assert bounds(scale, at("2026-11-20T10:00")) == Bounds(2, 4, "08:00–18:00 UTC")
    assert bounds(scale, at("2026-11-20T23:00")) == Bounds(0, 1, "22:00–05:00 UTC")


def test_a_night_belongs_to_the_day_it_begins_on() -> None:
    friday = ScaleTime(days=("fri",), start="22:00", end="06:00", min=3)
    assert holds(friday, at("2026-11-20T23:00"))  # a Friday
    assert holds(friday, at("2026-11-21T05:59"))
    assert not holds(friday, at("2026-11-21T23:00"))
    assert not holds(friday, at("2026-11-20T05:00"))
    whole = ScaleTime(days=("fri",), start="00:00", end="00:00", min=3)
    held = [holds(whole, at(f"2026-11-{time}")) for time in ("19T23:59", "20T00:00", "20T23:59", "21T00:00")]
    assert held == [False, True, True, False]


def test_local_time_follows_the_zone() -> None:
    entry = ScaleTime(start="08:00", end="18:00", min=3, timezone=BERLIN)
    assert holds(entry, at("2026-01-15T07:30"))  # 08:30 in winter
    assert not holds(entry, at("2026-07-15T16:30"))  # 18:30 in summer
    assert holds(entry, at("2026-07-15T06:30"))


def test_an_hour_that_comes_twice_is_one_unbroken_time() -> None:
    entry = ScaleTime(start="02:15", end="02:45", min=3, timezone=BERLIN)  # on 2026-10-25 the clock shows 02:00–03:00 twice
    first, last = at("2026-10-25T02:15", BERLIN, fold=0), at("2026-10-25T02:45", BERLIN, fold=1)
    assert last - first == 90 * 60
    held = [holds(entry, first + minute * 60) for minute in range(-30, 150)]
    assert held == [0 <= minute < 90 for minute in range(-30, 150)]


def test_a_time_that_is_skipped_comes_an_hour_later_and_keeps_its_length() -> None:
    entry = ScaleTime(start="02:15", end="02:45", min=3, timezone=BERLIN)  # on 2026-03-29 the clock goes from 02:00 to 03:00
    from_midnight = at("2026-03-29T00:00", BERLIN)
    held = [minute for minute in range(6 * 60) if holds(entry, from_midnight + minute * 60)]
    assert (held[0], len(held)) == (2 * 60 + 15, 30)


@given(
    st.integers(0, 4 * 365),
    st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
    st.integers(0, 1439),
    st.integers(0, 1439),
)
def test_every_day_has_one_unbroken_time_of_about_its_length(day: int, zone: str, start: int, end: int) -> None:
    entry = ScaleTime(start=f"{start // 60:02}:{start % 60:02}", end=f"{end // 60:02}:{end % 60:02}", min=1, timezone=zone)
    begin = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)).timestamp()
    held = [holds(entry, begin + minute * 300) for minute in range(3 * 288)]
    changes = sum(a != b for a, b in itertools.pairwise(held))
    assert changes <= 7, "three days: at most three beginnings and four ends"
    length = ((end - start) % 1440 or 1440) / 1440
    assert abs(sum(held) / len(held) - length) <= 65 / 1440 + 0.01


def test_a_day_named_is_the_local_day() -> None:
    monday = ScaleTime(days=("mon",), start="00:00", end="00:00", min=1, timezone="Pacific/Auckland")
    local = datetime(2026, 11, 23, 0, 30, tzinfo=ZoneInfo("Pacific/Auckland"))
    assert holds(monday, local.timestamp())
    assert not holds(monday, (local - timedelta(hours=1)).timestamp())


def test_an_unknown_zone_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match="did you mean 'Europe/Berlin'"):
        ScaleTime(start="08:00", end="09:00", min=1, timezone="Europe/Berln")
    with pytest.raises(ValidationError, match="max 1 is below"):
        ScaleTime(start="08:00", end="09:00", min=2, max=1)
