"""The bucket beside the definition it stands for: level rises steadily, never above the burst; what is taken fits."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.buckets import MINUTE_S, Bucket

LIMITS = st.one_of(st.integers(1, 1_000_000).map(float), st.floats(0.05, 1e6))
STEPS = st.lists(st.tuples(st.floats(0, 90), st.floats(0.01, 1.5)), min_size=1, max_size=60)
STARTS = st.floats(0, 1e7)


@given(limit=LIMITS, steps=STEPS, start=STARTS)
def test_it_lets_through_what_a_level_that_refills_lets_through(limit: float, steps: list[tuple[float, float]], start: float) -> None:
    bucket = Bucket.per_minute(limit)
    level, last, tat, now = bucket.burst, start, 0.0, start
    for pause, share in steps:
        now += pause
        units = max(1.0, math.floor(share * bucket.burst))
        level = min(bucket.burst, level + (now - last) / bucket.unit_s)
        last = now
        taken = bucket.taken(tat, now, units)
        wait = bucket.wait_s(taken, now)
        near = abs(level - units) <= 1e-4 * max(1.0, bucket.burst)  # the two round differently just at the edge
        assert near or (wait == 0) == (units <= level)
        if wait == 0:
            tat, level = taken, level - units
        elif units <= bucket.burst:
            assert bucket.wait_s(bucket.taken(tat, now + wait + 1e-6, units), now + wait + 1e-6) == 0
            assert near or bucket.wait_s(bucket.taken(tat, now + wait * 0.99, units), now + wait * 0.99) > 0
        assert near or abs(bucket.remaining(tat, now) - max(level, 0)) <= 1 + 1e-3 * bucket.burst


@given(limit=LIMITS, steps=STEPS, start=STARTS)
def test_in_any_minute_at_most_twice_the_limit_passes_and_at_most_the_limit_in_the_long_run(
    limit: float, steps: list[tuple[float, float]], start: float
) -> None:
    bucket = Bucket.per_minute(limit)
    tat, now, passed = 0.0, start, list[tuple[float, float]]()
    for pause, share in steps:
        now += pause
        units = max(1.0, math.floor(share * bucket.burst))
        taken = bucket.taken(tat, now, units)
        if bucket.wait_s(taken, now) == 0:
            tat = taken
            passed.append((now, units))
    allowed = bucket.burst * (1 + 1e-6)
    for begin, _ in passed:
        within = sum(units for at, units in passed if begin <= at <= begin + MINUTE_S)
        assert within <= allowed + MINUTE_S / bucket.unit_s * (1 + 1e-6)
    assert sum(units for _, units in passed) <= allowed + (now - start) / bucket.unit_s * (1 + 1e-6)


@given(limit=LIMITS, start=STARTS, estimate=st.integers(1, 1000), used=st.integers(0, 100_000))
def test_correcting_an_estimate_is_as_having_known(limit: float, start: float, estimate: int, used: int) -> None:
    bucket = Bucket.per_minute(limit)
    corrected = bucket.taken(0.0, start, estimate) + (used - estimate) * bucket.unit_s
    assert math.isclose(corrected, bucket.taken(0.0, start, used), rel_tol=1e-9, abs_tol=1e-6)


@given(start=STARTS, units=st.integers(1, 10))
def test_a_limit_of_nothing_lets_nothing_through(start: float, units: int) -> None:
    bucket = Bucket.per_minute(0)
    assert bucket.wait_s(bucket.taken(0.0, start, units), start) > 0
    assert bucket.burst == 0
