"""A vendor that takes so many calls a second gets them, hardly one more, and nobody waits for it in a call."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import PlatformAway
from penstock.platforms.remote.throttling import LONGEST_S, Throttle
from penstock.testing.emulators.faults import Limit


def brought(per_s: float, burst: float, callers: int) -> tuple[float, int, float]:
    """Callers that come when they are told to, until each had its call taken: (seconds, calls refused, seconds until the last but a
    tenth had it).
    """
    now, refused, done = 0.0, 0, list[float]()
    throttle, limit = Throttle(clock=lambda: now), Limit(per_s, burst)
    due = [(0.0, n) for n in range(callers)]
    while due:
        at, who = heapq.heappop(due)
        now = max(now, at)
        try:
            throttle.ask("Create")
        except PlatformAway as error:
            heapq.heappush(due, (now + error.after_s, who))
            continue
        now += 0.001
        if limit.takes(now):
            throttle.took("Create")
            done.append(now)
        else:
            refused += 1
            heapq.heappush(due, (now + throttle.refused("Create"), who))
    return now, refused, done[int(len(done) * 0.9)]


@settings(max_examples=40, deadline=None)
@given(per_s=st.floats(0.5, 20.0), burst=st.floats(1.0, 20.0), callers=st.integers(1, 200))
def test_all_come_through_at_about_the_vendors_pace(per_s: float, burst: float, callers: int) -> None:
    seconds, refused, _ = brought(per_s, burst, callers)
    least = max(0.0, callers - burst) / per_s
    assert seconds <= 3.0 * least + 2 * LONGEST_S
    assert refused <= 10 + callers * 0.25


def test_two_hundred_at_two_a_second() -> None:
    seconds, refused, most = brought(2.0, 5.0, 200)
    assert seconds < 200.0
    assert most < 170.0
    assert refused < 40


def test_one_kind_of_call_does_not_hold_up_another() -> None:
    throttle = Throttle(clock=lambda: 0.0)
    throttle.refused("Create", 4.0)
    throttle.ask("Describe")
    with pytest.raises(PlatformAway) as raised:
        throttle.ask("Create")
    assert raised.value.after_s == pytest.approx(4.0)
