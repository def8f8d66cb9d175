"""Conditions over signals: yes, no, or nobody knows; of the whole at its word, of a part only when it is sure."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.monitoring.alerting.judging import Z, interval, judge
from penstock.monitoring.alerting.readings import WHOLE, Readings
from penstock.monitoring.wilson import bounds
from penstock.spec.watches import parse_watch
from penstock.store.signals import Signal

NOW = 1000.0


def readings(*signals: Signal) -> Readings:
    found = Readings(60.0)
    for signal in signals:
        assert found.put(signal)
    return found


def sig(name: str, value: float, **more: object) -> Signal:
    return Signal("m", name, **{"at": NOW, "value": value, "count": 1000.0, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("error_rate > 2%", True),
        ("error_rate > 5%", False),
        ("error_rate > 2% and latency.p95_ms > 500", False),
        ("error_rate > 9% or latency.p95_ms > 300ms", True),
        ("error_rate > 2% and gone_rate > 1%", None),
        ("error_rate > 9% and gone_rate > 1%", False),
        ("error_rate > 2% or gone_rate > 1%", True),
        ("gone_rate > 1%", None),
        ("latency.p95_ms / latency.p50_ms > 3", True),
        ("latency.p95_ms / requests > 3", None),
        ("latency.p95_ms == 400", True),
        ("drift.words", True),
        ("drift.length", False),
        ("error_rate", None),
        ("low(live.accuracy) < 0.8", True),
        ("low(error_rate) < 0.8", None),
    ],
)
def test_three_answers(text: str, holds: bool | None) -> None:
    found = readings(
        sig("error_rate", 0.04),
        sig("latency.p95_ms", 400.0),
        sig("latency.p50_ms", 100.0),
        sig("requests", 0.0),
        sig("drift.words", 1.2, limit=1.0),
        sig("drift.length", 1.0, limit=1.0),
        sig("live.accuracy", 0.85, low=0.75, high=0.9),
    )
    assert judge(parse_watch(text), found, WHOLE, NOW).holds is holds


def test_it_tells_what_it_rests_on() -> None:
    found = readings(sig("error_rate", 0.04), sig("drift.words", 1.2, limit=1.1, evidence={"words": ["vpn"]}))
    facts = judge(parse_watch("error_rate > 2% or drift.words"), found, WHOLE, NOW).facts
    assert [(f.signal, f.value, f.limit, f.sign, f.over) for f in facts] == [
        ("error_rate", 0.04, 0.02, ">", True),
        ("drift.words", 1.2, 1.1, ">", True),
    ]
    assert facts[1].evidence == {"words": ["vpn"]}


def test_a_row_stands_until_the_next_is_overdue() -> None:
    found = readings(sig("error_rate", 0.5))
    watch = parse_watch("error_rate > 2%")
    assert judge(watch, found, WHOLE, NOW + 180).holds is True
    assert judge(watch, found, WHOLE, NOW + 181).holds is None
    assert not found.put(sig("error_rate", 0.0, at=NOW - 1)), "an older row changes nothing"
    assert found.put(sig("error_rate", 0.5, at=NOW + 3600))
    assert judge(watch, found, WHOLE, NOW + 3600 * 3.5).holds is True, "it comes once an hour, so it stands for long"
    assert judge(watch, found, WHOLE, NOW + 3600 * 3.5 + 1).holds is None


@pytest.mark.parametrize(
    ("value", "count", "holds"),
    [(0.5, 200.0, True), (0.03, 100.0, None), (0.5, 2.0, None), (0.0, 2.0, False), (0.03, 100000.0, True), (0.5, 0.0, None)],
)
def test_of_a_part_it_must_be_sure(value: float, count: float, holds: bool | None) -> None:
    found = readings(sig("error_rate", value, count=count, version="3"))
    watch = parse_watch("error_rate > 2%")
    assert judge(watch, found, ("3", ""), NOW).holds is holds
    whole = readings(sig("error_rate", value, count=count))
    assert judge(watch, whole, WHOLE, NOW).holds is (value > 0.02), "the whole is taken at its word"


def test_of_a_part_other_signals_count_from_thirty_requests_on() -> None:
    watch = parse_watch("latency.p95_ms > 500 and host.cpu > 0.9")
    for count, holds in ((29.0, None), (30.0, True)):
        found = readings(sig("latency.p95_ms", 900.0, count=count, slice="channel=web"), sig("host.cpu", 0.95, count=1.0))
        assert judge(watch, found, ("", "channel=web"), NOW).holds is holds, "the host is the whole's, at its word"


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_wilson_holds_the_share(share: float, count: int) -> None:
    low, high = bounds(share, count, Z)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1


numbers = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=200)
@given(numbers, numbers, st.integers(0, 100), st.sampled_from(["+", "-", "*", "/"]), st.sampled_from(["<", "<=", ">", ">="]), numbers)
def test_what_is_sure_of_a_part_holds_of_its_values(a: float, b: float, count: int, work: str, sign: str, limit: float) -> None:
    watch = parse_watch(f"error_rate {work} host.cpu {sign} requests")
    named = {"error_rate": a, "host.cpu": b, "requests": limit}
    part = readings(*(sig(name, value, version="1", count=float(count)) for name, value in named.items()))
    whole = readings(*(sig(name, value) for name, value in named.items()))
    surely, plainly = judge(watch, part, ("1", ""), NOW).holds, judge(watch, whole, WHOLE, NOW).holds
    assert surely is plainly or surely is None


def test_an_interval_of_its_own_comes_first() -> None:
    assert interval(sig("latency.p95_ms", 5.0, low=4.0, high=6.0)).low == 4.0
    assert interval(sig("error_rate", 0.5, low=0.49, high=0.51)).low < 0.47, "of a share at three standard errors, whatever the row says"
    assert interval(sig("latency.p95_ms", 5.0, count=3.0)).high == float("inf")
