"""Circuits: they open on failures, let one probe through after a pause that grows, and close on its success; budgets hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.circuit import CONSECUTIVE, DEAD, FIRST_PAUSE_S, LEAST, LONGEST_PAUSE_S, Budget, Circuit
from penstock.serving.load import Rolling


def test_one_lost_answer_opens_it_and_three_in_a_row_make_it_dead() -> None:
    circuit = Circuit(0.0)
    for number in range(DEAD):
        assert not circuit.dead
        circuit.failed(10.0 * number, hard=True)
        assert not circuit.allows(10.0 * number)
        assert circuit.allows(circuit.open_until)
    assert circuit.dead
    assert circuit.begin(circuit.open_until)
    circuit.succeeded(40.0)
    assert (circuit.opened, circuit.dead, circuit.pause_s) == (False, False, FIRST_PAUSE_S)


def test_answers_with_5xx_open_it_in_a_row_or_as_a_share() -> None:
    circuit = Circuit(0.0)
    for _ in range(CONSECUTIVE - 1):
        circuit.failed(1.0, hard=False)
    assert circuit.allows(1.0)
    circuit.failed(1.0, hard=False)
    assert not circuit.allows(1.0)
    assert not circuit.dead
    circuit = Circuit(0.0)
    for _ in range(LEAST // 2):
        assert circuit.allows(1.0)
        circuit.succeeded(1.0)
        circuit.failed(1.0, hard=False)
    assert circuit.opened
    circuit = Circuit(0.0)
    for number in range(500):
        circuit.failed(number / 10, hard=False) if number % 3 == 0 else circuit.succeeded(number / 10)
    assert not circuit.opened


def test_half_open_is_one_probe_at_a_time_and_an_abandoned_one_gives_its_place() -> None:
    circuit = Circuit(0.0)
    circuit.failed(1.0, hard=True)
    after = circuit.open_until
    assert circuit.begin(after)
    assert not circuit.allows(after)
    assert not circuit.begin(after)
    circuit.abandoned()
    assert circuit.begin(after)
    circuit.failed(after, hard=True)
    assert circuit.open_until == after + 2 * FIRST_PAUSE_S


@given(st.lists(st.tuples(st.sampled_from(["hard", "soft", "ok", "send", "leave"]), st.floats(0, 3)), max_size=80))
def test_it_never_sticks_and_never_lets_two_probes_through(steps: list[tuple[str, float]]) -> None:
    now, circuit, probing = 0.0, Circuit(0.0), False
    for what, gap in steps:
        now += gap
        if what == "send" and circuit.allows(now):
            assert not (circuit.opened and probing)
            probing = circuit.begin(now) or probing
        elif what == "leave" and probing:
            circuit.abandoned()
            probing = False
        elif what in ("hard", "soft"):
            circuit.failed(now, what == "hard")
            probing = probing and not circuit.allows(circuit.open_until)
        elif what == "ok":
            circuit.succeeded(now)
            assert circuit.allows(now)
            probing = False
        assert circuit.pause_s <= LONGEST_PAUSE_S
    if probing:
        circuit.abandoned()
    assert circuit.allows(max(now, circuit.open_until))


@given(st.floats(0, 1), st.integers(0, 400), st.integers(0, 400))
def test_second_attempts_are_a_share_of_requests_and_a_few(share: float, requests: int, wanted: int) -> None:
    arrived = Rolling(0.0)
    budget = Budget(0.0, arrived)
    for _ in range(requests):
        arrived.add(5.0)
    given_ = sum(budget.spend(5.0, share) for _ in range(wanted))
    assert given_ == (0 if share == 0 else min(wanted, int(share * requests + Budget.SPARE)))
    assert share == 0 or budget.spend(30.0, share)
