"""Every path of the rollout machine: what is never done whatever is seen, and what each strategy goes through."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.rollouts.machine import ENDED, Finding, Policy, Seen, State, Told, advance, wish
from penstock.control.rollouts.stages import Stage, stages_of
from penstock.spec.strategy import Strategy

POLICY = Policy(patience_s=600.0, undecided="wait", keep_warm_s=60.0)
CANARY = stages_of(Strategy(canary=(0.05, 0.25, 1.0), hold=30.0, min_requests=20), 2)
STRATEGIES = [
    Strategy(canary=(0.05, 0.25, 1.0)),
    Strategy(canary=(0.5,), shadow=0.1),
    Strategy.model_validate("rolling"),
    Strategy.model_validate("blue_green"),
    Strategy.model_validate({"compare": {}}),
    Strategy.model_validate({"bandit": {}, "shadow": 1.0}),
]
findings = st.lists(
    st.builds(Finding, st.just("error_rate > 1%"), st.sampled_from(["breach", "kept", "open", "open"]), st.just("says")), max_size=3
)
sights = st.builds(
    Seen,
    now=st.just(0.0),
    confirmed=st.booleans(),
    broken=st.sampled_from([None, None, None, "no memory"]),
    taken=st.sampled_from([None] * 9 + ["somebody else"]),
    requests=st.integers(0, 100),
    findings=findings,
    contest=st.sampled_from([None, "undecided", "better", "worse"]),
    contest_says=st.just("says"),
    contest_over=st.booleans(),
    order=st.sampled_from(["", "", "", "pause", "abort", "promote"]),
)


def run(stages: tuple[Stage, ...], policy: Policy, *sights: Seen) -> tuple[State, list[Told]]:
    state, events = State(), []
    for seen in sights:
        state, told = advance(stages, policy, state, seen)
        if told is not None:
            events.append(told)
    return state, events


def kept(now: float, requests: int = 100) -> Seen:
    return Seen(now, confirmed=True, requests=requests, findings=[Finding("error_rate > 1%", "kept", "fine")])


def test_a_good_version_goes_through_every_step() -> None:
    state, seen_shares = State(), []
    for now in range(400):
        state, _ = advance(CANARY, POLICY, state, kept(float(now)))
        seen_shares.append(wish(CANARY, state).share)
        if state.phase == "promoted":
            break
    assert list(dict.fromkeys(seen_shares)) == [0.05, 0.25, 1.0]
    assert 30 + 30 + 60 <= now <= 30 + 30 + 60 + 12
    assert not wish(CANARY, state).mine


def test_it_holds_as_long_as_it_says_and_for_as_many_requests() -> None:
    state, _ = run(CANARY, POLICY, kept(0), kept(1), kept(30))
    assert (state.phase, state.stage) == ("running", 0)
    assert advance(CANARY, POLICY, state, kept(32))[0].stage == 1
    assert advance(CANARY, POLICY, state, kept(32, requests=19))[0].stage == 0


def test_nobody_is_promoted_on_an_open_question() -> None:
    unsure = replace(kept(0), findings=[Finding("error_rate > 1%", "open", "too close to call")])
    state, _ = run(CANARY, POLICY, kept(0), kept(1), replace(unsure, now=40.0))
    assert state.stage == 1  # a larger share is no promotion
    state, events = run(CANARY, POLICY, kept(0), kept(1), replace(unsure, now=40.0), *(replace(unsure, now=41.0 + n) for n in range(800)))
    assert (state.phase, state.stage) == ("running", 1)
    assert [e.type for e in events].count("rollout.undecided") == 1
    for undecided, phase in (("promote", "starting"), ("rollback", "rolling_back")):
        policy = replace(POLICY, undecided=undecided)
        state, _ = run(CANARY, policy, kept(0), kept(1), replace(unsure, now=40.0), kept(41, 0), replace(unsure, now=700.0))
        assert (state.phase, CANARY[state.stage].kind == "full") == (phase, undecided == "promote")


def test_a_condition_that_nobody_wrote_is_not_waited_for() -> None:
    implied = replace(kept(0), findings=[Finding("implied", "open", "unsure", needed=False)])
    state, _ = run(CANARY, POLICY, *(replace(implied, now=float(now)) for now in range(0, 400, 2)))
    assert state.phase == "promoted"


@pytest.mark.parametrize("at", [1, 35, 70, 100])
def test_a_breach_goes_back_from_anywhere(at: int) -> None:
    breach = replace(kept(float(at)), findings=[Finding("error_rate > 1%", "breach", "9 % of 40", {"mean": 0.09})])
    state, events = run(CANARY, POLICY, *(kept(float(now)) for now in range(at)), breach)
    assert state.phase == "rolling_back"
    assert wish(CANARY, state).share == 0.0
    assert events[-1].data["mean"] == 0.09
    assert "9 % of 40" in events[-1].message
    state, told = advance(CANARY, POLICY, state, Seen(200.0))
    assert state.phase == "rolling_back"
    state, told = advance(CANARY, POLICY, state, Seen(201.0, confirmed=True))
    assert (state.phase, state.ended_at) == ("rolled_back", 201.0)
    assert told is not None
    assert "9 % of 40" in told.message


def test_people_pause_go_on_promote_and_call_off() -> None:
    paused = [replace(kept(float(now)), order="pause") for now in range(200)]
    state, _ = run(CANARY, POLICY, kept(0), kept(1), *paused)
    assert (state.phase, state.stage) == ("running", 0)
    assert advance(CANARY, POLICY, state, kept(201))[0].stage == 1
    state = advance(CANARY, POLICY, state, replace(kept(201.0), order="promote"))[0]
    assert wish(CANARY, state).share == 1.0
    assert advance(CANARY, POLICY, state, replace(kept(202.0), order="abort"))[0].phase == "rolling_back"
    assert advance(CANARY, POLICY, State(), Seen(0.0, order="abort"))[0].phase == "stopped"
    breach = Finding("error_rate > 1%", "breach", "bad")
    assert (
        advance(CANARY, POLICY, run(CANARY, POLICY, kept(0), kept(1))[0], replace(paused[9], findings=[breach]))[0].phase == "rolling_back"
    )


def test_what_does_not_start_goes_back() -> None:
    state, _ = run(CANARY, POLICY, kept(0), Seen(1.0, broken="no memory"))
    assert state.phase == "rolling_back"
    assert "no memory" in state.reason
    assert run(CANARY, POLICY, kept(0), Seen(301.0))[0].phase == "rolling_back"


def test_strategies_as_stages() -> None:
    assert [s.name for s in stages_of(Strategy(canary=(0.05, 0.25, 1.0), shadow=0.1), 1)] == ["shadow 10 %", "5 %", "25 %", "all"]
    assert [s.share for s in stages_of(Strategy.model_validate("rolling"), 4)] == [0.25, 0.5, 0.75, 1.0]
    assert [s.name for s in stages_of(Strategy.model_validate("rolling"), 1)] == ["all"]
    assert [s.name for s in stages_of(Strategy.model_validate("blue_green"), 3)] == ["ready", "all"]
    assert stages_of(Strategy.model_validate("blue_green"), 3)[0].replicas == 3
    assert [s.proof for s in stages_of(Strategy(canary=(0.05, 0.25, 1.0)), 1)] == [False, True, False]


def test_a_comparison_takes_over_when_it_is_better_and_only_then() -> None:
    stages = stages_of(Strategy.model_validate({"compare": {"share": "50%"}}), 1)
    state, _ = run(stages, POLICY, kept(0), kept(1), *(kept(float(n)) for n in range(2, 300)))
    assert (state.phase, state.stage) == ("running", 0)
    assert advance(stages, POLICY, state, replace(kept(301), contest="better", contest_says="it earns more"))[0].stage == 1
    assert advance(stages, POLICY, state, replace(kept(301), contest="worse", contest_says="it earns less"))[0].phase == "rolling_back"
    over = replace(kept(301), contest="undecided", contest_over=True)
    assert advance(stages, replace(POLICY, undecided="rollback"), state, over)[0].phase == "rolling_back"


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(STRATEGIES), st.lists(sights, max_size=60), st.sampled_from(["wait", "promote", "rollback"]), st.integers(1, 400))
def test_whatever_is_seen(strategy: Strategy, seen: list[Seen], undecided: str, pace: int) -> None:
    stages = stages_of(strategy, 3)
    policy = replace(POLICY, undecided=undecided)  # type: ignore[arg-type]  # one of the three
    state = State()
    for n, sight in enumerate(seen):
        before, sight = state, replace(sight, now=float(n * pace))
        state, told = advance(stages, policy, before, sight)
        assert State.parse(state.as_json()) == state
        asked = wish(stages, state) if state.phase != "stopped" else None
        if before.phase in ENDED:
            assert (state, told) == (before, None)
            continue
        if state.phase != before.phase or state.stage != before.stage:
            assert told is not None or (before.phase, sight.confirmed) == ("starting", True)
        if before.phase == "rolling_back":
            assert state.phase in ("rolling_back", "rolled_back", "stopped")
        broken = any(f.verdict == "breach" for f in sight.findings)
        if broken and before.phase in ("starting", "running", "watching"):
            assert state.phase in ("rolling_back", "stopped")
        was, now = wish(stages, before), asked
        if now is not None and now.share > was.share and before.phase == "running" and sight.order != "promote" and undecided != "promote":
            stage = stages[before.stage]
            assert sight.requests >= stage.needs
            assert not stage.proof or all(f.verdict == "kept" for f in sight.findings)
            assert stage.kind not in ("compare", "bandit") or sight.contest == "better"
        if state.phase == "promoted":
            assert before.phase == "watching"
