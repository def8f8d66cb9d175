"""The policy as a function: what each rule asks for, what bounds it, and that noise cannot make it flap."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.scaling.policy import Decision, Observation, Rules, State, decide
from penstock.control.scaling.windows import Average, Bucket, growth, put
from penstock.spec.deploy import Scale, ScaleTime

START = 1_700_000_000.0  # a Tuesday, 22:13 UTC


def load(in_flight: float, waiting: float = 0, ready: int = 1, rate: float = 0.0, last: float = 0.0) -> Observation:
    return Observation(in_flight, waiting, rate, last, ready)


def run(rules: Rules, seconds: int, seen: Observation | None, state: State | None = None, start: float = START) -> Decision:
    """`seen` for so many seconds, a look a second; replicas follow at once."""
    state, decision = state or State(), None
    for second in range(seconds):
        one = None if seen is None else replace(seen, ready=min(seen.ready, state.wanted or 0) if seen.ready == 0 else (state.wanted or 1))
        decision = decide(state, one, rules, start + second)
        state = decision.state
    assert decision is not None
    return decision


def test_steady_load_gets_a_replica_for_each_target() -> None:
    rules = Rules(Scale(min=1, max=10, target_concurrency=8))
    assert run(rules, 90, load(20)).wanted == 3
    assert run(rules, 90, load(24)).wanted == 3
    assert run(rules, 90, load(24.5)).wanted == 4


def test_the_reason_names_the_rule_and_its_numbers() -> None:
    decision = run(Rules(Scale(min=1, max=2, target_concurrency=8)), 90, load(40))
    assert decision.reason == "at most 2; wanted 5: 40.0 requests at once over 60 s, 8 a replica"
    assert decision.wishes["concurrency"] == 5


def test_a_burst_is_answered_by_the_short_window_long_before_the_stable_one() -> None:
    rules = Rules(Scale(min=1, max=20, target_concurrency=8))
    calm = run(rules, 120, load(4))
    state, needed = calm.state, None
    for second in range(30):
        decision = decide(state, load(64, ready=1), rules, START + 120 + second)
        state = decision.state
        if decision.wanted >= 8 and needed is None:
            needed = second
    assert calm.wanted == 1
    assert needed is not None
    assert needed <= rules.panic_s + 1


def test_rate_and_queue_ask_too_and_the_largest_wins() -> None:
    by_rate = Rules(Scale(min=1, max=9, target_concurrency=100, target_rate=2.0))
    assert run(by_rate, 90, load(1, rate=9)).wanted == 5
    by_queue = Rules(Scale(min=1, max=9, target_concurrency=100, target_queue=10))
    decision = decide(State(), load(1, waiting=25, ready=3), by_queue, START)
    assert decision.wanted == 5, "three are ready, 25 waiting ask for two more"
    again = decide(decision.state, load(1, waiting=25, ready=3), by_queue, START + 1)
    assert again.wanted == 5, "while those two start they are not asked for again"


def test_down_only_after_load_was_low_for_down_after() -> None:
    rules = Rules(Scale(min=1, max=10, target_concurrency=8, down_after=60))
    high = run(rules, 120, load(40))
    assert high.wanted == 5
    state, when = high.state, {}
    for second in range(200):
        decision = decide(state, load(0, ready=state.wanted or 0, last=START + 119), rules, START + 120 + second)
        state = decision.state
        when.setdefault(decision.wanted, second)
    assert min(second for wanted, second in when.items() if wanted < 5) >= 60
    assert when[1] <= 60 + 60 + 1


def test_a_replica_that_takes_long_to_start_is_kept_as_long() -> None:
    quick = Scale(min=1, max=10, target_concurrency=8, down_after=10)
    high = run(Rules(quick, cold_start_s=90), 60, load(40))
    assert run(Rules(quick, cold_start_s=90), 60, load(1), high.state, START + 60).wanted == 5
    assert run(Rules(quick, cold_start_s=1), 60, load(1), high.state, START + 60).wanted == 1


def test_growing_load_is_drawn_out_by_a_cold_start() -> None:
    scale = Scale(min=1, max=50, target_concurrency=1)
    states = {cold: State() for cold in (0.0, 60.0)}
    for second in range(60):
        for cold, state in states.items():
            states[cold] = decide(state, load(second * 0.2, ready=20, rate=second * 0.2), Rules(scale, cold), START + second).state
    now, ahead = states[0.0].wanted, states[60.0].wanted
    assert now is not None
    assert ahead is not None
    assert ahead - now >= 10, "0.2 a second over 60 s are 12 more"


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), level=st.floats(1, 80), takes_s=st.floats(1, 20))
def test_steady_random_arrivals_are_hardly_ever_taken_for_growth(seed: int, level: float, takes_s: float) -> None:
    chance, ends, buckets, taken = random.Random(seed), list[float](), tuple[Bucket, ...](), 0
    due = START
    for second in range(900):
        now = START + second
        while due <= now:
            ends.append(due + takes_s)
            due += chance.expovariate(level / takes_s)
        ends = [end for end in ends if end > now]
        buckets = put(buckets, now, Average(len(ends), 0.0, level / takes_s), 60.0)
        taken += second > 120 and growth(buckets) > 0
    assert taken / 780 <= 0.05


def test_to_zero_after_idle_and_back_at_once_for_a_held_request() -> None:
    rules = Rules(Scale(min=0, max=3, target_concurrency=2, idle=300, down_after=10))
    busy = run(rules, 30, load(1, last=START + 29))
    state, gone = busy.state, None
    for second in range(30, 600):
        decision = decide(state, load(0, last=START + 29, ready=state.wanted or 0), rules, START + second)
        state = decision.state
        if decision.wanted == 0 and gone is None:
            gone = second - 29
    assert gone == 300
    held = decide(state, load(0, waiting=1, ready=0, last=START + 600), rules, START + 600)
    assert held.wanted == 1
    assert held.reason.startswith("1 held for a first replica")
    assert decide(state, load(0, waiting=5, ready=0, last=START + 600), rules, START + 600).wanted >= 1


def test_a_deployment_that_was_never_asked_keeps_one_for_the_idle_time_only() -> None:
    rules = Rules(Scale(min=0, max=1, idle=20))
    assert run(rules, 19, load(0)).wanted == 1
    assert run(rules, 22, load(0)).wanted == 0


def test_unknown_load_keeps_the_number_within_bounds() -> None:
    rules = Rules(Scale(min=0, max=8, target_concurrency=8, down_after=5, idle=5))
    high = run(rules, 60, load(40))
    kept = run(rules, 600, None, high.state, START + 60)
    assert (kept.wanted, high.wanted) == (5, 5)
    assert "does not say" in kept.reason
    asleep = run(rules, 60, load(0, ready=0), start=START + 1000)
    assert run(rules, 60, None, asleep.state, START + 1060).wanted == 0
    fewer = decide(high.state, None, Rules(Scale(min=1, max=2)), START + 700)
    assert fewer.wanted == 2


def test_scheduled_times_set_the_bounds() -> None:
    night = ScaleTime(start="22:00", end="06:00", min=4)
    decision = run(Rules(Scale(min=1, max=6, schedule=(night,))), 10, load(0))
    assert decision.wanted == 4
    assert decision.reason.startswith("at least 4 (22:00–06:00 UTC)")
    quiet = ScaleTime(start="22:00", end="06:00", min=0, max=1)
    assert run(Rules(Scale(min=2, max=6, schedule=(quiet,), idle=5)), 60, load(0)).wanted == 0


def test_prediction_adds_and_never_takes_away() -> None:
    scale = Scale(min=1, max=9, target_concurrency=8, predict=True)
    assert run(Rules(scale, expected=6), 90, load(8)).wanted == 6
    assert run(Rules(scale, expected=1), 90, load(40)).wanted == 5
    assert run(Rules(scale, expected=None), 90, load(8)).wanted == 1
    off = scale.model_copy(update={"predict": False})
    assert run(Rules(off, expected=6), 90, load(8)).wanted == 1


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), level=st.floats(0, 60), noise=st.floats(0, 1.5), down_after=st.sampled_from([20.0, 60.0, 300.0]))
def test_noise_turns_the_number_a_bounded_count_of_times_an_hour(seed: int, level: float, noise: float, down_after: float) -> None:
    rules = Rules(Scale(min=0, max=12, target_concurrency=8, target_queue=4, down_after=down_after, idle=60), cold_start_s=5)
    chance, state, numbers = random.Random(seed), State(), []
    for second in range(3600):
        demand = max(0.0, level * (1 + noise * chance.gauss(0, 1)))
        waiting = max(0, round(demand - 8 * (state.wanted or 0)))
        seen = load(round(demand), waiting, ready=state.wanted or 0, last=START + second if demand >= 1 else 0.0)
        state = decide(state, seen, rules, START + second).state
        assert state.wanted is not None
        if not numbers or numbers[-1] != state.wanted:
            numbers.append(state.wanted)
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    turns = sum(a > 0 > b for a, b in itertools.pairwise(steps))
    assert turns <= 3600 / down_after + 1, "each turn downwards comes at least down_after after the one before"


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(-5000, 5000), st.floats(0, 500), st.integers(0, 500), st.integers(0, 9), st.booleans()), min_size=1, max_size=40
    )
)
def test_whatever_the_clock_and_the_load_do_the_number_is_within_bounds(rows: list[tuple[float, float, int, int, bool]]) -> None:
    rules = Rules(Scale(min=0, max=7, target_concurrency=3, target_queue=2, target_rate=1.5, predict=True), 30, 2)
    state, now = State(), START
    for step, in_flight, waiting, ready, known in rows:
        now += step
        decision = decide(state, load(in_flight, waiting, ready, in_flight / 2, now) if known else None, rules, now)
        assert 0 <= decision.wanted <= 7
        assert not (known and waiting and decision.wanted == 0), "a request that waits always gets a replica"
        assert len(decision.state.peaks) <= 500
        assert len(decision.state.buckets) <= 62
        restarted = State.parse(json.loads(json.dumps(decision.state.as_json())))
        assert restarted.wanted == decision.wanted
        state = restarted


def test_a_state_that_cannot_be_read_counts_as_none() -> None:
    assert State.parse({"buckets": [["x"]]}) == State()
    assert State.parse({}) == State()


def test_the_clock_set_back_does_not_freeze_the_number() -> None:
    rules = Rules(Scale(min=0, max=9, target_concurrency=1, down_after=30, idle=30))
    high = run(rules, 60, load(9))
    back = START - 7 * 86_400
    assert run(rules, 130, load(0), high.state, back).wanted == 0


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_replicas_needed_grow_with_load(share: float) -> None:
    rules = Rules(Scale(min=1, max=100, target_concurrency=4))
    assert run(rules, 90, load(80 * share)).wanted == math.ceil(80 * share / 4)
