"""Which version and replica: every choice is allowed, the least loaded, and nothing that can answer is passed over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.balance import Model, Version, Want, choose, empty, reopens_in
from penstock.serving.snapshot import HeaderRule, ModelRoute, Protection, ReplicaRoute
from penstock.serving.upstream import Replica


@dataclass(frozen=True)
class State:
    """Of one replica: requests it has, hard failures in a row, whether its pause is over."""

    load: int
    failures: int
    over: bool


REPLICAS = st.lists(st.builds(State, st.integers(0, 5), st.integers(0, 4), st.booleans()), max_size=4)
VERSIONS = st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0]), REPLICAS), min_size=1, max_size=3)
NOW = 1000.0


def build(shapes: list[tuple[float, list[State]]], room: int | None) -> Model:
    versions = {}
    for number, (weight, states) in enumerate(shapes):
        replicas = []
        for index, state in enumerate(states):
            replica = Replica(ReplicaRoute(f"v{number}-{index}", "127.0.0.1", 1))
            replica.load = state.load
            for _ in range(state.failures):
                replica.circuit.failed(NOW - 1, hard=True)
            if state.failures:
                replica.circuit.open_until = NOW - 0.1 if state.over else NOW + 2.0
            replicas.append(replica)
        versions[str(number)] = Version(str(number), "", weight, replicas)
    return Model.of(ModelRoute("m", "text-generation", (), Protection(concurrency=room)), versions)


@given(VERSIONS, st.one_of(st.none(), st.integers(1, 6)), st.binary(max_size=8), st.one_of(st.none(), st.integers(0, 2)))
def test_a_choice_is_allowed_least_loaded_and_found_when_there_is_one(
    shapes: list[tuple[float, list[State]]], room: int | None, sticky: bytes, pinned: int | None
) -> None:
    async def scenario() -> None:
        model = build(shapes, room)
        want = Want(sticky, None if pinned is None else str(pinned))
        choice = choose(model, want, NOW)
        may = [v for v in model.versions.values() if (v.weight > 0 if pinned is None else v.name == str(pinned))]
        closed = {r for v in may for r in v.replicas if not r.circuit.opened or r.circuit.allows(NOW)}
        alive = closed or {r for v in may for r in v.replicas if not r.circuit.dead}
        assert (choice is None) == (not alive)
        assert empty(model, want) == (not any(v.replicas for v in may))
        if choice is None:
            return
        version, replica = choice
        assert version in may
        usable = [r for r in version.replicas if r in alive]
        if replica is None:
            assert room is not None
            assert all(r.load >= room for r in usable)
        else:
            assert replica.load == min(r.load for r in usable)
            assert room is None or replica.load < room

    asyncio.run(scenario())


@given(VERSIONS, st.binary(max_size=8))
def test_retries_go_through_all_that_can_answer_and_end(shapes: list[tuple[float, list[State]]], sticky: bytes) -> None:
    async def scenario() -> None:
        model, want, asked = build(shapes, None), Want(sticky), list[Replica]()
        while (choice := choose(model, want, NOW)) is not None:
            assert choice[1] is not None
            asked.append(choice[1])
            want.tried += (choice[1],)
        assert len(set(asked)) == len(asked)
        weighted = [r for v in model.versions.values() if v.weight > 0 for r in v.replicas]
        assert {r for r in weighted if not r.circuit.opened or not r.circuit.dead or r.circuit.allows(NOW)} == set(asked)
        assert 0 <= reopens_in(model, NOW) <= 2.0

    asyncio.run(scenario())


def test_rules_are_read_in_order_and_room_is_shared_by_processes() -> None:
    rules = (HeaderRule("X-A", "1", "9"), HeaderRule("X-A", "1", "2"), HeaderRule("x-a", "1", "1"))
    versions = {name: Version(name, "", 0.5, [], frozenset(adapters)) for name, adapters in (("1", "a"), ("2", "ab"))}
    model = Model.of(ModelRoute("m", "t", (), Protection(concurrency=5), headers=rules), versions, 2)
    assert model.ruled({b"x-a": b"1"}) == "2"
    assert model.ruled({b"x-a": b"2"}) is None
    assert model.room == 3
    assert model.by_adapter == {"a": {"1": 0.5, "2": 0.5}, "b": {"2": 0.5}}
