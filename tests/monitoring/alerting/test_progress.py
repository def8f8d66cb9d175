"""The states of a rule, against a slow and obvious second telling of them; and that it does not matter who looks when."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.monitoring.alerting.course import GONE_S, Course, Turn, silent, states_as_json, states_of
from penstock.monitoring.alerting.progress import FORGET_S, Progress, advance
from penstock.monitoring.alerting.readings import WHOLE, Readings
from penstock.monitoring.alerting.rules import Rule, rules_of
from penstock.spec.react import AlertRule
from penstock.spec.watches import parse_watch
from penstock.store.signals import Signal


def rule(text: str = "error_rate > 2% for 5m", clear_s: float = 300.0, **more: object) -> Rule:
    return Rule("errors", parse_watch(text), clear_after_s=clear_s, **more)  # type: ignore[arg-type]


def row(at: float, value: float, name: str = "error_rate", **more: object) -> Signal:
    return Signal("m", name, **{"at": at, "value": value, "count": 1000.0, **more})  # type: ignore[arg-type]


def course(*rules: Rule) -> Course:
    return Course(rules or (rule(),), Readings(60.0), {})


def told(turns: list[Turn]) -> list[tuple[str, float, float]]:
    return [(turn.change, turn.at, turn.since) for turn in turns]


def test_from_inactive_to_resolved() -> None:
    found = course()
    values = [0.01, 0.05, 0.06, 0.04, 0.05, 0.05, 0.05, 0.01, 0.05, *[0.01] * 7]
    turns = found.follow(row(60.0 * n, value) for n, value in enumerate(values, 1))
    assert told(turns) == [("held", 120.0, 120.0), ("fired", 420.0, 120.0), ("cleared", 900.0, 120.0)]
    assert turns[1].judgement.facts[0].value == 0.05
    assert found.states == {}, "what is inactive is not kept"


def test_a_break_starts_over_and_without_for_it_fires_at_once() -> None:
    found = course()
    assert told(found.follow(row(60.0 * n, v) for n, v in enumerate([0.05, 0.05, 0.01, 0.05], 1))) == [
        ("held", 60.0, 60.0),
        ("calmed", 180.0, 60.0),
        ("held", 240.0, 240.0),
    ]
    at_once = course(rule("error_rate > 2%", 0.0))
    assert told(at_once.follow([row(60.0, 0.05), row(120.0, 0.05), row(180.0, 0.0)])) == [
        ("fired", 60.0, 60.0),
        ("cleared", 180.0, 60.0),
    ]


def test_what_nobody_knows_moves_nothing() -> None:
    found = course(rule("error_rate > 2% and live.accuracy < 0.5 for 1m"))
    known = [row(60.0, 0.05), row(60.0, 0.4, "live.accuracy"), row(120.0, 0.05), row(180.0, 0.05)]
    assert [turn.change for turn in found.follow(known)] == ["held", "fired"]
    assert found.follow(row(60.0 * n, 0.0) for n in range(5, 7)) == [], "accuracy does not stand any more, but this is false all the same"
    assert found.states["errors", WHOLE].phase == "clearing"
    unknown = course(rule("error_rate > 2% or live.accuracy < 0.5", 60.0))
    assert [turn.change for turn in unknown.follow([row(60.0, 0.3, "live.accuracy"), row(60.0, 0.01)])] == ["fired"]
    assert unknown.follow(row(60.0 * n, 0.01) for n in range(6, 60)) == [], "low accuracy may go on for all that is known"
    assert unknown.states["errors", WHOLE].phase == "firing"


def test_after_a_long_silence_a_condition_starts_over() -> None:
    found = course(rule("error_rate > 2% for 10m"))
    turns = found.follow([row(60.0, 0.05), row(120.0, 0.05), row(120.0 + FORGET_S + 60, 0.05)])
    assert told(turns) == [("held", 60.0, 60.0), ("held", 120.0 + FORGET_S + 60, 120.0 + FORGET_S + 60)]


def test_parts_have_states_of_their_own_and_end_when_nothing_comes_from_them() -> None:
    found = course(rule("error_rate > 2%", 60.0))
    few = row(60.0, 0.5, slice="key=a", count=5.0)
    turns = found.follow([row(60.0, 0.5, version="3"), row(60.0, 0.0, version="2"), row(60.0, 0.01), few])
    assert [(turn.part, turn.change) for turn in turns] == [(("3", ""), "fired")]
    assert found.follow([row(60.0, 0.9, version="4", slice="traffic=shadow")]) == [], "no client waits for copies"
    assert found.lost(60.0 + GONE_S + 100) == [], "nothing came at all: the watcher may be down"
    assert found.follow([row(60.0 * n, 0.01) for n in range(2, 40)]) == []
    assert [(t.part, t.change) for t in found.lost(60.0 * 39)] == [(("3", ""), "gone")]
    assert found.lost(60.0 * 39) == []


def test_what_holds_of_the_only_version_is_said_of_the_whole() -> None:
    found = course(rule("error_rate > 2%"))
    assert [(t.part, t.change) for t in found.follow([row(60.0, 0.5, version="3"), row(60.0, 0.5)])] == [(("", ""), "fired")]
    both = [row(120.0, 0.5, version="3"), row(120.0, 0.0, version="4"), row(120.0, 0.4)]
    assert [(t.part, t.change) for t in found.follow(both)] == [(("3", ""), "fired")]


def test_a_rule_that_is_no_more_ends_what_it_had_fired() -> None:
    found = course(rule("error_rate > 2%"))
    found.follow([row(60.0, 0.5)])
    found.rules = ()
    assert [(turn.rule, turn.change) for turn in found.lost(61.0)] == [("errors", "removed")]


def test_no_signal_at_all_is_silence() -> None:
    assert not silent(None, 100.0, 200.0, 60.0)
    assert silent(None, 100.0, 401.0, 60.0)
    assert not silent(390.0, 100.0, 401.0, 60.0)


def test_rules_of_the_file() -> None:
    found = rules_of([AlertRule(when="error_rate > 2% for 5m"), AlertRule(when="error_rate > 2% for 5m", severity="critical")], 60.0)
    assert [(r.key, r.clear_after_s) for r in found] == [("error_rate > 2% for 5m", 300.0), ("error_rate > 2% for 5m #2", 300.0)]
    assert rules_of([AlertRule(when="drift", name="d", clear_after="0s")], 60.0)[0].clear_after_s == 0.0
    assert rules_of([AlertRule(when="drift")], 60.0)[0].clear_after_s == 60.0


def plainly(seen: list[tuple[float, bool | None]], one: Rule) -> list[tuple[str, float]]:
    """The same in another way: look back over everything known at every instant."""
    turns, known = [], list[tuple[float, bool]]()
    active, since = False, None
    for at, holds in seen:
        if holds is None:
            continue
        gap = at - known[-1][0] if known else 0.0
        known.append((at, holds))
        run = [known[-1]]
        for before in reversed(known[:-1]):
            if before[1] != holds:
                break
            run.append(before)
        if not active:
            if not holds:
                since = None
                continue
            if since is None or gap > max(FORGET_S, one.watch.for_s):
                since = at
            if at - since >= one.watch.for_s:
                turns.append(("fired", at))
                active = True
        elif not holds and at - run[-1][0] >= one.clear_after_s:
            turns.append(("cleared", at))
            active, since = False, None
    return turns


paths = st.lists(st.tuples(st.integers(1, 5000), st.sampled_from([True, True, False, None])), max_size=60)


@settings(max_examples=400)
@given(paths, st.sampled_from([0, 60, 600]), st.sampled_from([0.0, 60.0, 600.0]))
def test_any_path_as_told_in_another_way(path: list[tuple[int, bool | None]], for_s: int, clear_s: float) -> None:
    one = rule(f"error_rate > 2% for {for_s}s" if for_s else "error_rate > 2%", clear_s)
    at, state, turns, seen = 0.0, Progress(), [], []
    for step, holds in path:
        at += step
        seen.append((at, holds))
        state, change = advance(state, holds, at, one)
        if change in ("fired", "cleared"):
            turns.append((change, at))
    assert turns == plainly(seen, one)


rows = st.lists(
    st.tuples(st.integers(1, 30), st.sampled_from(["", "3"]), st.sampled_from(["error_rate", "host.cpu"]), st.sampled_from([0.0, 0.5])),
    max_size=60,
)


@settings(max_examples=200)
@given(rows, st.lists(st.integers(1, 30), max_size=6))
def test_it_does_not_matter_in_how_many_passes_rows_are_read(drawn: list[tuple[int, str, str, float]], cuts: list[int]) -> None:
    signals = [row(60.0 * at, value, name, version=version) for at, version, name, value in sorted(drawn)]
    rules = (rule("error_rate > 2% for 2m", 60.0), Rule("both", parse_watch("error_rate > 2% and host.cpu > 10%"), clear_after_s=0.0))
    whole, parted = course(*rules), course(*rules)
    once, several = whole.follow(signals), []
    for low, high in zip([0, *sorted(cuts)], [*sorted(cuts), 31], strict=True):
        parted.states = states_of(states_as_json(parted.states))  # and through the row of the database
        several += parted.follow(signal for signal in signals if 60.0 * low < signal.at <= 60.0 * high)
    assert several == once
    assert parted.states == whole.states
