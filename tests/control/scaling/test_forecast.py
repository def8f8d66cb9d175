"""Prediction from the last days: a quantile by time of day, kept in the store, quiet where too little is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.control.scaling import history
from penstock.control.scaling.forecast import DAY_SLOTS, DAYS_READ, SLOT_S, expected, slot_of, weighted_quantile
from penstock.spec.deploy import Scale
from penstock.store.points import Point
from penstock.store.store import Store

NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC
SLOT = slot_of(NOON)


def days(values: list[float], slot: int = SLOT) -> dict[int, float]:
    """`values` of the days before, yesterday first, at the slot's time of day."""
    return {slot - (age + 1) * DAY_SLOTS: value for age, value in enumerate(values)}


def test_two_days_are_needed() -> None:
    assert expected(days([10.0]), NOON, 0) is None
    assert expected(days([10.0, 12.0]), NOON, 0) == 12.0
    assert expected({}, NOON, 0) is None


def test_one_odd_day_among_many_does_not_set_it_but_a_new_level_soon_does() -> None:
    assert expected(days([10, 10, 90, 10, 10, 10]), NOON, 0) == 10
    assert expected(days([40, 40, 40, 10, 10, 10, 10, 10]), NOON, 0) == 40


def test_the_same_weekday_counts_more() -> None:
    week = [10.0] * 6 + [50.0] + [10.0] * 6 + [50.0]
    assert expected(days(week), NOON, 0) == 50
    assert expected(days([10.0] * 14), NOON, 0) == 10


def test_a_start_ahead_looks_into_the_next_slot() -> None:
    known = {**days([1, 1, 1]), **days([30, 30, 30], SLOT + 2)}
    assert expected(known, NOON, 10) == 1
    assert expected(known, NOON, 2 * SLOT_S) == 30


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.01, 100)), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_the_quantile_is_a_value_with_that_much_weight_below(rows: list[tuple[float, float]], share: float) -> None:
    value = weighted_quantile(rows, share)
    assert value in [v for v, _ in rows]
    total = sum(weight for _, weight in rows)
    assert sum(weight for v, weight in rows if v <= value) >= share * total - 1e-6
    assert sum(weight for v, weight in rows if v < value) <= share * total + 1e-6


def test_history_is_written_once_a_slot_bounded_and_read_once_a_slot() -> None:
    store, scale = Store.memory(), Scale(min=1, max=9, target_concurrency=8, predict=True)
    kept: object = None
    for day in range(DAYS_READ + 4):
        for step in range(3):
            now = NOON + day * 86_400 + step * SLOT_S / 2
            kept = history.note(store, "d", kept, (slot_of(now), 20.0 + step), now)
    known = history.read(store, "d")
    assert len(known) <= 2 * (DAYS_READ + 2)
    assert known[slot_of(NOON + (DAYS_READ + 2) * 86_400)] == 21.0, "the busiest moment of the slot"
    now = NOON + (DAYS_READ + 4) * 86_400
    wanted, note = history.foreseen(store, "d", scale, None, (now, 0.0))
    assert wanted == 3
    store.points.append([Point("d", history.STEP, history.NAME, slot_of(now) - DAY_SLOTS, 800.0, now)])
    assert history.foreseen(store, "d", scale, note, (now + 10, 0.0)) == (3, note), "not read again within the slot"
    assert history.foreseen(store, "d", scale.model_copy(update={"predict": False}), note, (now, 0.0)) == (None, None)
    assert history.foreseen(store, "other", scale, None, (now, 0.0))[0] is None
    store.close()


def test_written_again_after_a_crash_a_slot_is_the_same_point() -> None:
    store = Store.memory()
    kept = history.note(store, "d", None, (SLOT, 5.0), NOON)
    for _ in range(2):  # the row was not saved the first time
        after = history.note(store, "d", kept, (SLOT + 1, 1.0), NOON + SLOT_S)
    assert history.read(store, "d") == {SLOT: 5.0}
    assert after == [SLOT + 1, 1.0]
    assert history.note(store, "d", "rubbish", (SLOT + 1, 2.0), NOON) == [SLOT + 1, 2.0]
    store.close()
