"""When a reaction may act: pure, over every past."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.reactions.guard import ENDED, Past, judge, month_of, next_month, streak
from penstock.spec.react import Reaction

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
H = 3600.0


def rule(**settings: object) -> Reaction:
    return Reaction.model_validate({"when": "drift", "do": "retrain", **settings})


def test_nothing_before_means_go() -> None:
    assert judge(rule(), [], NOW).may == "go"


def test_it_rests_after_each_time_whatever_came_of_it() -> None:
    for phase in ENDED:
        verdict = judge(rule(cooldown="6h"), [Past(phase, NOW - 5 * H)], NOW)
        assert (verdict.may, verdict.until) == ("wait", NOW + H)
    assert judge(rule(cooldown="6h"), [Past("done", NOW - 7 * H)], NOW).may == "go"


def test_so_many_at_a_time() -> None:
    working = [Past("acting", NOW - 9 * H), Past("asking", NOW - 8 * H)]
    assert judge(rule(concurrency=2), working, NOW).may == "wait"
    assert judge(rule(concurrency=3), working, NOW).may == "go"


def test_money_of_a_calendar_month() -> None:
    spent = [Past("done", NOW - 3 * 24 * H, 6.0), Past("done", NOW - 40 * 24 * H, 100.0), Past("done", NOW - 9 * H, 3.0)]
    assert judge(rule(budget="10 USD"), spent, NOW, estimate_usd=0.9).may == "go"
    verdict = judge(rule(budget="10 USD"), spent, NOW, estimate_usd=1.1)
    assert (verdict.may, verdict.until) == ("wait", datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    assert "9.00 of 10.00 USD" in verdict.says


def test_after_so_many_that_came_to_nothing_a_person_is_asked() -> None:
    past = [Past("refused", NOW - n * 9 * H) for n in (1, 2)]
    assert judge(rule(attempts=3), past, NOW).may == "go"
    assert judge(rule(attempts=3), [*past, Past("failed", NOW - 30 * H)], NOW).may == "ask"
    assert judge(rule(attempts=3), [*past, Past("done", NOW - 30 * H), Past("failed", NOW - 40 * H)], NOW).may == "go"
    assert streak([Past("rehearsed", NOW), *past]) == 2


pasts = st.builds(
    Past,
    st.sampled_from([*sorted(ENDED), "acting", "asking", "pending"]),
    st.floats(NOW - 90 * 24 * H, NOW),
    st.floats(0, 10),
)


@given(st.lists(pasts, max_size=20), st.floats(0, 5), st.integers(1, 3), st.integers(1, 3))
def test_whatever_the_past(past: list[Past], estimate: float, concurrency: int, attempts: int) -> None:
    past = sorted(past, key=lambda one: -one.created_at)
    wish = rule(budget=15, concurrency=concurrency, attempts=attempts, cooldown="1h")
    verdict = judge(wish, past, NOW, estimate)
    if verdict.may != "wait":
        assert sum(one.phase not in ENDED for one in past) < concurrency
        assert all(NOW - one.created_at >= H for one in past)
        assert sum(one.cost_usd for one in past if one.created_at >= month_of(NOW)) + estimate <= 15
        assert (verdict.may == "ask") == (streak(past) >= attempts)
    if verdict.until is not None:
        assert verdict.until > NOW


@pytest.mark.parametrize(
    ("at", "first", "after"), [((2026, 12, 31), (2026, 12, 1), (2027, 1, 1)), ((2024, 2, 29), (2024, 2, 1), (2024, 3, 1))]
)
def test_months(at: tuple[int, int, int], first: tuple[int, int, int], after: tuple[int, int, int]) -> None:
    now = datetime(*at, 23, 59, tzinfo=UTC).timestamp()
    assert month_of(now) == datetime(*first, tzinfo=UTC).timestamp()
    assert next_month(now) == datetime(*after, tzinfo=UTC).timestamp()
