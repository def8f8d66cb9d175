"""The labelling queue: who is asked what, how answers settle, and what they become."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.labelling.picking import Allowance, pick
from penstock.control.labelling.queue import Wanted, following, give, item_row, put, settle, skip
from penstock.core.errors import BadInput
from penstock.serving.feedback import read_feedback
from penstock.testing.control import Bench


def record(n: int, confidence: float = 0.5, **more: Any) -> dict[str, Any]:
    return {
        "id": f"r{n}",
        "ts": float(n),
        "key": "key-1",
        "status": 200,
        "text_in": f"text {n}",
        "label": "a",
        "confidence": confidence,
        "version": "1",
        **more,
    }


def wanted(n: int, weight: float = 0.5) -> Wanted:
    return Wanted(f"r{n}", "key-1", f"text {n}", "a", 0.5, "uncertain", weight, float(n))


def test_the_least_sure_and_what_drifted_first() -> None:
    records = [record(1, 0.9), record(2, 0.4), record(3, 0.99, version="2"), record(4, 0.2), record(5, 0.1, training=False), record(6, 0.1)]
    chosen = pick(records, frozenset("2"), frozenset({"r6"}), 3)
    assert [(one.request, one.why) for one in chosen] == [("r3", "drift"), ("r4", "uncertain"), ("r2", "uncertain")]
    again = [record(7, 0.1, text_in="same"), record(8, 0.3, text_in="same"), record(9, 0.0, status=500), record(10, 0.0, shadow_of="r1")]
    assert [one.request for one in pick(again, frozenset(), frozenset(), 9)] == ["r7"]


@given(st.lists(st.floats(0, 7200), min_size=1, max_size=100))
def test_a_day_asks_no_more_than_its_number(pauses: list[float]) -> None:
    allowance, asked, now = Allowance(0.0, 0.0), 0, 0.0
    for pause in pauses:
        now += pause
        allowance = allowance.later(now, 100)
        count = int(allowance.left)
        allowance, asked = allowance.spent(count), asked + count
    assert asked <= 100 * now / 86_400 + 1e-6


def test_one_person_is_enough_when_one_is_asked(bench: Bench) -> None:
    world = bench.world()
    assert put(bench.store, "m", wanted(1), 1) is not None
    assert put(bench.store, "m", wanted(1), 1) is None, "asked once"
    put(bench.store, "m", wanted(2, 0.9), 1)
    first = following(world, "m", "ann")
    assert first is not None
    assert first.spec["request"] == "r2"
    done = give(world, first.id, "b", by="ann")
    assert (done.phase, item_row(done)["label"]) == ("labelled", "b")
    said = list(read_feedback(bench.home.gateway / "feedback"))
    assert [(f.id, f.label, f.key) for f in said] == [("r2", "b", "key-1")]
    with pytest.raises(BadInput, match="is labelled: b"):
        give(world, first.id, "c", by="bob")


def test_several_people_agree_or_somebody_settles(bench: Bench) -> None:
    world = bench.world()
    row = put(bench.store, "m", wanted(1), 2)
    assert row is not None
    assert give(world, row.id, "b", by="ann").phase == "open"
    assert following(world, "m", "ann") is None, "nobody is asked twice"
    assert give(world, row.id, "c", by="ann").status["answers"][0]["label"] == "c", "one may think again"
    assert following(world, "m", "bob") is not None
    assert give(world, row.id, "b", by="bob").phase == "disputed"
    assert list(read_feedback(bench.home.gateway / "feedback")) == []
    assert settle(world, row.id, "b", by="eve").status["label"] == "b"
    assert [f.label for f in read_feedback(bench.home.gateway / "feedback")] == ["b"]
    other = put(bench.store, "m", wanted(2), 2)
    assert other is not None
    assert skip(world, other.id, by="ann").phase == "skipped"
    assert following(world, "m", "bob") is None
    assert [e.action for e in bench.store.audit.all()] == ["label.give"] * 5
