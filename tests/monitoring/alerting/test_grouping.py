"""Messages: gathered, never in storms whatever signals do, never lost, and over when what they tell of is over."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import BadInput
from penstock.monitoring.alerting.course import Course
from penstock.monitoring.alerting.grouping import LEAST_EVERY_S, MOST_RETRY_S, Line, Parcel, Timing, arrived, due, failed
from penstock.monitoring.alerting.readings import Readings
from penstock.monitoring.alerting.rules import Rule
from penstock.monitoring.alerting.standing import Matcher, Silence, Standing, Withheld, matcher_of, withhold
from penstock.spec.watches import parse_watch
from penstock.store.signals import Signal


def alert(ident: str, severity: str = "warning", signals: tuple[str, ...] = ("error_rate",), **more: object) -> Standing:
    labels = {"deployment": "m", "alert": ident, "severity": severity, **more.pop("labels", {})}  # type: ignore[dict-item]
    return Standing(ident, ident, severity, labels, signals, **more)  # type: ignore[arg-type]


def look(
    line: Line, now: float, *alerts: Standing, timing: Timing | None = None, standing: set[str] | None = None
) -> tuple[Line, Parcel | None]:
    found = due(line, "ops", alerts, {a.id for a in alerts} if standing is None else standing, timing or Timing(), now)
    return found.line, found.parcel


def test_changes_are_gathered_then_told_together() -> None:
    a, b, c = alert("a"), alert("b"), alert("c")
    line, parcel = look(Line(), 100.0, a)
    assert parcel is None
    line, parcel = look(line, 109.0, a, b)
    assert parcel is None
    line, parcel = look(line, 110.0, a, b)
    assert parcel is not None
    assert (parcel.firing, parcel.over, parcel.fresh) == (("a", "b"), (), ("a", "b"))
    line = arrived(line, parcel, 110.0)
    assert look(line, 200.0, a, b) == (line, None), "nothing new"
    line, parcel = look(line, 200.0, b, c)
    assert parcel is None, "not before five minutes after the last"
    line, parcel = look(line, 410.0, b, c)
    assert parcel is not None
    assert (parcel.firing, parcel.over, parcel.fresh) == (("b", "c"), ("a",), ("c",))


def test_what_is_over_before_it_was_told_is_not_told() -> None:
    line, _ = look(Line(), 100.0, alert("a"))
    assert look(line, 111.0) == (Line(), None)


def test_repeats_while_it_lasts_unless_somebody_took_it() -> None:
    line = arrived(Line(), Parcel("x", ("a",)), 0.0)
    one, taken = alert("a", repeat_s=3600.0), alert("a", repeat_s=3600.0, acked=True)
    assert due(line, "ops", (one,), {"a"}, Timing(), 100.0).again_at == 3600.0
    assert look(line, 3600.0, one)[1] is not None
    assert due(line, "ops", (taken,), {"a"}, Timing(), 3600.0).again_at is None
    assert look(line, 60.0, taken, timing=Timing(refresh_s=60.0))[1] is not None, "a receiver that forgets is reminded all the same"


def test_a_message_that_failed_is_due_again_later_with_the_same_id() -> None:
    line, _ = look(Line(), 0.0, alert("a"))
    line, first = look(line, 10.0, alert("a"))
    assert first is not None
    for tries in range(8):
        line = failed(line, first, 100.0)
        wait = line.retry_at - 100.0
        assert 0.5 * min(5 * 2**tries, MOST_RETRY_S) <= wait <= 1.5 * min(5 * 2**tries, MOST_RETRY_S)
    assert look(line, line.retry_at - 1, alert("a"))[1] is None
    again = look(line, line.retry_at, alert("a"))[1]
    assert again == first
    other = look(line, line.retry_at, alert("a"), alert("b"))[1]
    assert other is not None
    assert other.id != first.id
    assert failed(Line(), first, 0.0, after_s=120.0).retry_at >= 120.0
    assert failed(Line(), first, 0.0, hopeless=True).retry_at >= 450.0
    assert arrived(line, first, 5000.0) == Line(("a",), 5000.0, 1), "no tries are left over"


def test_what_is_withheld_is_not_over_until_it_is() -> None:
    line = arrived(Line(), Parcel("x", ("a", "b")), 0.0)
    line, parcel = look(line, 1000.0, alert("b"), standing={"a", "b"})
    assert parcel is None
    line, parcel = look(line, 1000.0, standing={"a"})
    line, parcel = look(line, 1010.0, standing={"a"})
    assert parcel is not None
    assert parcel.over == ("b",)
    line = arrived(line, parcel, 1010.0)
    assert line.told == ("a",)
    line, _ = look(line, 2000.0)
    assert look(line, 2010.0)[1].over == ("a",)  # type: ignore[union-attr]


def test_a_clock_that_was_set_back_does_not_hold_messages() -> None:
    line = arrived(Line(), Parcel("x", ("a",)), 1e6)
    line, _ = look(line, 1000.0)
    assert look(line, 1400.0)[1] is not None


PATH = st.lists(st.tuples(st.floats(1.0, 400.0), st.sets(st.sampled_from("abcd"))), min_size=1, max_size=80)


@settings(max_examples=200)
@given(PATH, st.sampled_from([0.0, 10.0, 60.0, 300.0]), st.sampled_from([0.0, 10.0, 45.0]), st.integers(0, 2**16))
def test_no_storm_and_no_loss_on_any_path(path: list[tuple[float, set[str]]], every: float, wait: float, seed: int) -> None:
    """Alerts come and go at random, deliveries fail at random: an hour never has more messages than stated, and in the end all is told."""
    chance, timing = random.Random(seed), Timing(wait, every)
    line, now, sent, believed, firing = Line(), 0.0, list[float](), set[str](), set[str]()

    def turn() -> None:
        nonlocal line, believed
        alerts = [alert(ident, repeat_s=1800.0) for ident in sorted(firing)]
        found = due(line, "ops", alerts, firing, timing, now)
        line = Line.parse(found.line.as_json())
        if found.parcel is None:
            return
        assert set(found.parcel.fresh) == firing - believed
        assert set(found.parcel.over) == believed - firing
        if chance.random() < 0.3:
            line = failed(line, found.parcel, now)
        else:
            line, believed = arrived(line, found.parcel, now), set(firing)
            sent.append(now)

    for pause, wanted in path:
        now, firing = now + pause, wanted
        turn()
    pause = max(every, LEAST_EVERY_S)
    for at in sent:
        within = [other for other in sent if at <= other < at + 3600]
        assert len(within) <= 1 + 3600 / pause
    for _ in range(60):
        now += 400.0
        turn()
    assert believed == firing


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.05, 0.95), st.sampled_from([0, 60, 300]))
def test_signals_that_flap_make_no_storm(seed: int, chance_over: float, for_s: int) -> None:
    """From rows of signals to messages: two hours of ten-second windows on eight parts that jump over and under the limit at random."""
    chance = random.Random(seed)
    text = f"error_rate > 2% for {for_s}s" if for_s else "error_rate > 2%"
    rule = Rule("errors", parse_watch(text), clear_after_s=float(max(for_s, 10)))
    course, line, sent = Course((rule,), Readings(10.0), {}), Line(), 0
    for n in range(1, 2 * 360):
        at = 10.0 * n
        rows = [Signal("m", "error_rate", at, 0.5 if chance.random() < chance_over else 0.0, 500.0, slice=f"key={k}") for k in range(8)]
        course.follow(rows)
        firing = {f"{part}-{p.since}" for (_, part), p in course.states.items() if p.active}
        found = due(line, "ops", [alert(ident) for ident in firing], firing, Timing(), at + 1.0)
        line = found.line
        if found.parcel is not None:
            line, sent = arrived(line, found.parcel, at + 1.0), sent + 1
    assert sent <= 2 * 12 + 1


def test_silences_and_graver_alerts_withhold() -> None:
    low, high = alert("low"), alert("high", "critical")
    other = alert("other", signals=("latency.p95_ms",))
    part = alert("part", labels={"version": "3"})
    found = withhold([low, high, other, part], (), 100.0)
    assert [a.id for a in found.free] == ["high", "other"]
    assert found.withheld == {"low": Withheld("inhibited", "high"), "part": Withheld("inhibited", "high")}
    narrow = alert("narrow", "critical", labels={"version": "4"})
    assert [a.id for a in withhold([low, narrow, part], (), 100.0).free] == ["low", "narrow", "part"], "one part says nothing of another"
    silence = Silence("s", (matcher_of("alert=lo*"), matcher_of("severity!=critical")), until=200.0)
    assert withhold([low], [silence], 100.0).withheld == {"low": Withheld("silenced", "s")}
    assert withhold([low], [silence], 200.0).withheld == {}
    assert withhold([high], [silence], 100.0).withheld == {}


def test_matchers_as_written() -> None:
    assert matcher_of("slice=channel=*") == Matcher("slice", "=", "channel=*")
    assert matcher_of("slice=channel=*").takes({"slice": "channel=web"})
    assert matcher_of("version=").takes({})
    assert str(matcher_of("version!=3")) == "version!=3"
    for text in ("version", "=3", "colour=red", "ver sion=3"):
        with pytest.raises(BadInput):
            matcher_of(text)
