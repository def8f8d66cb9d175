"""Signals by the declared names, with their intervals; what was spent; feedback that is replaced."""

from __future__ import annotations

import calendar
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.windows.codec import Span
from penstock.monitoring.windows.columns import columns
from penstock.monitoring.windows.feedback import Rating, Ratings
from penstock.monitoring.windows.folding import Slices, fold
from penstock.monitoring.windows.kpis import MOST_TOLD, Place, Spend, signals_of
from penstock.monitoring.windows.window import Cell, Cells, Window, merge_cells, whole
from penstock.spec.signals import ALWAYS, OF_CLASSES
from penstock.testing.watched import by_name
from penstock.testing.windows import T, folded, row

SPAN = Span(T, 60.0)


def test_the_signals_of_a_window() -> None:
    rows = [row(n, T, total_ms=float(n + 1), version="1" if n < 80 else "2", cost_usd=0.01, energy_wh=0.02) for n in range(96)]
    rows += [
        row(96, status=503),
        row(97, status=404),
        row(98, status=499),
        row(99, status=200, attempts=2, flags=["output:words:block:x=1"]),
    ]
    found = by_name(signals_of("m", SPAN, folded(rows), ("1", "3")), T + 60)
    assert found["requests"].value == 100
    assert found["requests_per_s"].value == pytest.approx(100 / 60)
    assert found["tokens_per_s"].value == pytest.approx(200 / 60)
    for name in ("error_rate", "refused_rate", "gone_rate", "blocked_rate", "retried_rate"):
        signal = found[name]
        assert (signal.value, signal.count) == (0.01, 100)
        assert signal.low is not None
        assert signal.high is not None
        assert 0 < signal.low < 0.01 < signal.high < 0.06
    assert found["latency.p50_ms"].value == pytest.approx(48, rel=0.03)
    assert found["latency.p95_ms"].low < found["latency.p95_ms"].value < found["latency.p95_ms"].high  # type: ignore[operator]
    assert found["cost.request"].value == pytest.approx(0.0096)
    assert found["energy.request_wh"].value == pytest.approx(0.0192)
    first = by_name(signals_of("m", SPAN, folded(rows), ("1", "3")), T + 60, "1")
    idle = by_name(signals_of("m", SPAN, folded(rows), ("1", "3")), T + 60, "3")
    assert first["requests"].value == 84
    assert {name: signal.value for name, signal in idle.items()} == {"requests": 0, "requests_per_s": 0}


def test_names_are_those_of_the_file() -> None:
    rows = [row(n, label="a", confidence=0.9, energy_wh=1.0, cost_usd=1.0) for n in range(5)]
    cells = folded(rows)
    Ratings().fold(cells, "a", [next(iter(cells))], Rating(), Rating(1.0, True, True))
    spend = Spend()
    spend.add(SPAN, cells)
    told = {signal.name for signal in [*signals_of("m", SPAN, cells), *spend.signals("m", SPAN, [Place("1")])]}
    outside = {name for name in ALWAYS if name.startswith(("host.", "gpu.", "replicas."))}
    assert told == set(ALWAYS) - outside | set(OF_CLASSES)


def test_the_busiest_slices_are_told_and_shadows_and_fallbacks_are_apart() -> None:
    rows = [row(n, key=f"key-{n % 30:02}") for n in range(600)] + [row(n, key="key-07") for n in range(5)]
    rows += [row(n, shadow_of=f"req-{n}", version="2", total_ms=500.0) for n in range(4)]
    rows += [row(n, fallback_for="big", version="1", status=500) for n in range(3)]
    made = signals_of("m", SPAN, folded(rows, "key"))
    slices = {signal.slice for signal in made if signal.slice.startswith("key=")}
    assert len(slices) == MOST_TOLD
    assert "key=key-07" in slices
    assert by_name(made, T + 60)["requests"].value == 605
    assert by_name(made, T + 60)["error_rate"].value == 0
    assert by_name(made, T + 60, "2", "traffic=shadow")["latency.p50_ms"].value == pytest.approx(500, rel=0.01)
    assert by_name(made, T + 60, "1", "traffic=fallback")["error_rate"].value == 1
    assert by_name(made, T + 60, "2") == {}


def at(text: str) -> float:
    year, month, day, hour = map(int, text.split("-"))
    return float(calendar.timegm((year, month, day, hour, 0, 0)))


def cells_of(usd: float, **changes: Any) -> Cells:
    return folded([row(1, cost_usd=usd, **changes)], "key")


def test_spend_by_hour_day_and_month() -> None:
    spend = Spend()

    def told(start: float, version: str = "", part: str = "") -> dict[str, float]:
        span = Span(start, 60.0)
        places = (Place("1"), Place("", "key=key-1"))
        made = spend.signals("m", span, places)
        return {name: round(signal.value, 6) for name, signal in by_name(made, span.end, version, part).items()}

    spend.add(Span(at("2026-11-30-22"), 60.0), cells_of(1.0))
    assert told(at("2026-11-30-22")) == {"cost.hour": 1, "cost.day": 1, "cost.month": 1}
    spend.add(Span(at("2026-11-30-23"), 60.0), cells_of(2.0))
    again = Spend.parse(spend.as_json())
    assert again == spend
    assert told(at("2026-11-30-23") - 60) == {"cost.hour": 1, "cost.day": 3, "cost.month": 3}
    assert told(at("2026-11-30-23")) == {"cost.hour": 2, "cost.day": 3, "cost.month": 3}
    assert told(at("2026-11-30-23"), "", "key=key-1") == {"cost.hour": 2, "cost.day": 3}
    spend.add(Span(at("2026-12-01-00"), 60.0), cells_of(4.0, fallback_for="big"))
    spend.add(Span(at("2026-12-01-00"), 60.0), cells_of(8.0, shadow_of="req-1"))
    assert told(at("2026-12-01-00")) == {"cost.hour": 4, "cost.day": 4, "cost.month": 4}
    assert told(at("2026-12-02-05")) == {"cost.hour": 0, "cost.day": 0, "cost.month": 4}
    assert told(at("2027-01-02-05")) == {"cost.hour": 0, "cost.day": 0, "cost.month": 0}
    assert spend.as_json() == []


@pytest.mark.parametrize("value", [None, [1], [["", ""]], [["", "", [["a", 1]], {}]], [["", "", [], []]], {"a": 1}])
def test_no_state_of_spending_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        Spend.parse(value)


SAID = st.lists(
    st.tuples(
        st.integers(0, 3),  # request
        st.sampled_from([Rating(1.0, None, True), Rating(0.0, None, True), Rating(None, True, True), Rating(0.5, False, True)]),
        st.booleans(),  # whether a window ends before it
    ),
    max_size=30,
)


@given(SAID)
def test_however_often_a_request_is_rated_it_counts_as_it_was_rated_last(said: list[tuple[int, Rating, bool]]) -> None:
    cell, every, here, ratings = Cell("live", "1", "r"), Cells(), Cells(), Ratings()
    last: dict[int, Rating] = {}
    in_window: set[int] = set()
    for request, rating, ends in said:
        if ends:
            merge_cells(every, here)
            here, ratings, in_window = Cells(), Ratings(), set()
        ratings.fold(here, str(request), [cell], last.get(request, Rating()), rating)
        last[request] = rating
        in_window.add(request)
        window = here[cell]
        assert window["rated"] == len(in_window)
        assert window["right"] == sum(bool(last[r].right) for r in in_window)
        ratings = Ratings.parse(ratings.as_json())
    merge_cells(every, here)
    total = whole(every)
    assert total["rated"] - total["withdrawn_rated"] == len(last)
    assert total["labelled"] - total["withdrawn_labelled"] == sum(r.right is not None for r in last.values())
    assert total["right"] - total["withdrawn_right"] == sum(bool(r.right) for r in last.values())
    assert math.isclose(total["score"] - total["withdrawn_score"], sum(r.score or 0.0 for r in last.values()), abs_tol=1e-9)


def test_a_rating_in_a_window_without_requests_has_no_error_rate() -> None:
    cells: Cells = {}
    Ratings().fold(cells, "a", [Cell("live", "1", "r")], Rating(), Rating(0.75, None, True))
    found = by_name(signals_of("m", SPAN, cells), T + 60)
    assert found["live.score"].value == 0.75
    assert found["live.rated"].value == 1
    assert "error_rate" not in found
    assert "live.accuracy" not in found


def test_no_rows_make_no_cells() -> None:
    placed = Slices(()).place(columns([]))
    cells: dict[Cell, Window] = {}
    fold(cells, placed, 0, 0)
    assert cells == {}
