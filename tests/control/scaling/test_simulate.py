"""The simulator against what queueing theory says, and the policies on the real trace."""

from __future__ import annotations

import math
import random
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.scaling.compare import Setting, arrivals_of, compare, schedule_of
from penstock.control.scaling.forecast import DAY_SLOTS, SLOT_S
from penstock.control.scaling.plot import replicas_plot
from penstock.control.scaling.simulate import Arrival, Fleet, demand_by_slot, simulate
from penstock.control.scaling.trace import Asked, Cost, another_day, fitted, read_trace, trace_file
from penstock.core.errors import BadInput
from penstock.spec.deploy import Scale

START = 1_700_000_000.0


def poisson(rate: float, seconds: float, work_s: float, seed: int = 1, exponential: bool = False) -> list[Arrival]:
    chance, at, made = random.Random(seed), START, []
    while (at := at + chance.expovariate(rate)) < START + seconds:
        made.append(Arrival(at, chance.expovariate(1 / work_s) if exponential else work_s))
    return made


def test_waits_of_a_fixed_fleet_are_those_of_erlang() -> None:
    """M/M/c: 2 replicas of 4 slots, load 6.8 Erlang: the mean wait is C(c, a) / (cμ − λ)."""
    servers, rate, work_s = 8, 3.4, 2.0
    load = rate * work_s
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    delayed = last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)
    wanted = delayed / (servers / work_s - rate)
    out = simulate(poisson(rate, 20_000, work_s, exponential=True), Scale(min=2, max=2), Fleet(slots=4, queue=10**6))
    assert sum(out.waits) / len(out.waits) == pytest.approx(wanted, rel=0.12)
    assert sum(wait > 0 for wait in out.waits) / len(out.waits) == pytest.approx(delayed, rel=0.06)
    assert (out.starts, out.changes, out.dropped) == (0, 0, 0)


def test_from_zero_the_first_request_waits_for_a_start_and_no_longer() -> None:
    early, late = Arrival(START, 1.0), Arrival(START + 2000, 1.0)
    out = simulate([early, late], Scale(min=0, max=2, idle=60), Fleet(cold_start_s=12, look_s=1.0))
    assert out.waits[0] == 0.0
    assert 12.0 <= out.waits[1] <= 13.5
    assert out.starts == 1
    assert out.replica_s < 600, "most of the time there was none"


def test_what_cannot_wait_is_dropped_and_counted() -> None:
    burst = [Arrival(START + n * 0.001, 5.0) for n in range(50)]
    out = simulate(burst, Scale(min=1, max=1), Fleet(slots=4, queue=10))
    assert (len(out.waits), out.dropped) == (14, 36)
    held = [Arrival(START, 0.1), Arrival(START + 1000, 0.1)]
    gone = simulate(held, Scale(min=0, max=1, idle=10), Fleet(cold_start_s=30, hold_s=5))
    assert (len(gone.waits), gone.dropped) == (1, 1)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.2, 6.0), st.floats(0.1, 8.0), st.integers(0, 3), st.booleans())
def test_every_request_is_answered_or_dropped_and_time_adds_up(seed: int, rate: float, work_s: float, least: int, predict: bool) -> None:
    arrivals = poisson(rate, 200, work_s, seed)
    scale = Scale(min=least, max=6, target_concurrency=4, down_after=15, idle=20, predict=predict)
    out = simulate(arrivals, scale, Fleet(slots=4, cold_start_s=5, queue=50))
    assert len(out.waits) + out.dropped == len(arrivals)
    assert min(out.waits, default=0.0) >= 0
    assert out.busy_s <= out.replica_s * 4 + 1e-6
    assert all(least <= m.wanted <= 6 for m in out.moments)
    again = simulate(arrivals, scale, Fleet(slots=4, cold_start_s=5, queue=50))
    assert again.waits == out.waits, "the same requests give the same outcome"


def test_demand_by_slot_is_the_area_under_the_requests() -> None:
    found = demand_by_slot([Arrival(0.0, 90.0), Arrival(30.0, 30.0)], 300, 60)
    assert found == {0: pytest.approx((60 + 30) / 60)}


def test_another_day_has_about_as_many_requests_at_about_the_same_times() -> None:
    asked = [Asked(START + n * 0.5, n % 100, 10) for n in range(4000)]
    day = another_day(asked, random.Random(3))
    assert abs(len(day) - 4000) < 5 * 4000**0.5
    assert day == sorted(day, key=lambda one: one.at)
    assert abs(sum(one.at < START + 1000 for one in day) - 2000) < 5 * 2000**0.5


def test_a_cost_is_found_again_from_records() -> None:
    chance, true = random.Random(5), Cost(0.2, 0.0004, 0.02)
    rows = []
    for _ in range(300):
        one = Asked(0.0, chance.randint(5, 3000), chance.randint(1, 400))
        total = true.seconds(one) * chance.uniform(0.98, 1.02) * 1000 + 7.0
        record = {"status": 200, "queue_ms": 7.0, "total_ms": total, "prompt_tokens": one.prompt, "completion_tokens": one.completion}
        rows.append(record)
    found = fitted(rows)
    assert found.completion_s == pytest.approx(0.02, rel=0.05)
    assert found.prompt_s == pytest.approx(0.0004, rel=0.15)
    with pytest.raises(BadInput, match="a cost takes 20"):
        fitted(rows[:3])


def test_a_trace_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("TIMESTAMP,ContextTokens\n")
    (tmp_path / "b.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n")
    with pytest.raises(BadInput, match="lacks the columns GeneratedTokens"):
        read_trace(tmp_path / "a.csv")
    with pytest.raises(BadInput, match=r"b\.csv:2"):
        read_trace(tmp_path / "b.csv")
    with pytest.raises(BadInput, match="neither a trace"):
        trace_file("nothing.csv", tmp_path)


def test_policies_on_the_real_trace(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversations of 2023 at four times their rate: what each policy is there for shows."""
    monkeypatch.setenv("PENSTOCK_MIRROR", str(mirror))
    asked = read_trace(trace_file("conv", tmp_path), 4.0)
    assert len(asked) == 19_366
    setting = Setting(Scale(min=1, max=25, target_concurrency=6), Fleet(slots=8, cold_start_s=30))
    mean, peak, load, clock, predicted = compare(asked, setting)
    assert all(len(row.outcome.waits) == 19_366 for row in (mean, peak, load, clock, predicted))
    assert load.outcome.replica_s < peak.outcome.replica_s
    assert predicted.outcome.wait(0.95) < load.outcome.wait(0.95) / 2, "a start ahead of the load is the point of it"
    assert predicted.outcome.replica_s < 1.15 * load.outcome.replica_s
    assert clock.outcome.wait(0.95) <= load.outcome.wait(0.95)
    root = ET.fromstring(replicas_plot([mean, peak, load, clock, predicted], 6))
    assert len(root.findall(".//{*}polyline")) == 6


def test_the_schedule_is_what_the_mean_day_needed() -> None:
    history = {slot - age * DAY_SLOTS: 24.0 if slot < 6 else 6.0 for slot in range(12) for age in (1, 2)}
    found = schedule_of(history, Scale(min=1, max=9, target_concurrency=6))
    assert [(e.start, e.end, e.min) for e in found] == [("00:00", "00:30", 4), ("00:30", "01:00", 1)]
    assert SLOT_S == 300
    assert arrivals_of([Asked(1.0, 100, 10)], Cost(0, 0.01, 0.1)) == [Arrival(1.0, 2.0)]
