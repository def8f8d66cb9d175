"""Known beginnings: the longest counts, the memory is bounded, waiting is dearer than reading again; hit rate and cost measured."""

from __future__ import annotations

import time

import orjson
from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.prefix import FIRST_BYTES, MARGIN, PrefixMemory, marks, prefer


def body(prompt: str) -> bytes:
    return orjson.dumps({"model": "m", "temperature": 0, "prompt": prompt, "stream": True})


def test_beginnings_are_shared_as_far_as_prompts_are_and_short_ones_have_none() -> None:
    base = "word " * 400
    assert marks(body("short")) == ()
    assert marks(b'{"input": "x"}') == ()
    one, two = marks(body(base + "one")), marks(body(base + "two and more " * 200))
    shared = sum(a == b for a, b in zip(one, two, strict=False))
    assert shared == sum(FIRST_BYTES * 2**k <= len(base) + len('"prompt":"') for k in range(9)) == 3
    assert len(two) == 5


@given(st.lists(st.tuples(st.lists(st.integers(0, 30), max_size=5), st.sampled_from("abc")), max_size=60), st.integers(1, 20))
def test_the_memory_is_bounded_and_recalls_the_longest(rows: list[tuple[list[int], str]], bound: int) -> None:
    memory = PrefixMemory(bound)
    for seen, ident in rows:
        memory.remember(seen, ident)
        assert len(memory) <= bound
        if seen and len(set(seen)) <= bound:
            assert memory.recall(seen) == ident


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(0, 9))
def test_the_known_replica_is_asked_unless_it_is_busier_by_more_than_the_margin(loads: list[int], known: int) -> None:
    names = [str(n) for n in range(len(loads))]
    chosen = prefer(names, loads, str(known), lambda name: name)
    if known < len(loads) and loads[known] <= min(loads) + MARGIN:
        assert chosen == str(known)
    else:
        assert loads[int(chosen)] == min(loads)


def test_talks_stay_where_they_were_read_at_little_cost() -> None:
    """100 talks of 8 turns over 4 replicas, in turn: all but the first turn of each hit; and what that costs."""
    memory, replicas, hits = PrefixMemory(), ["a", "b", "c", "d"], 0
    asked = [body(f"talk {talk} " * 50 + "turn " * 40 * turn) for turn in range(8) for talk in range(100)]
    began = time.perf_counter()
    for number, request in enumerate(asked):
        seen = marks(request)
        known = memory.recall(seen)
        chosen = prefer(replicas, [number % 4, (number + 1) % 4, 1, 2], known, str)
        hits += known == chosen
        memory.remember(seen, chosen)
    cost_us = (time.perf_counter() - began) / len(asked) * 1e6
    assert hits == 700
    assert cost_us < 200  # about 6 on a quiet machine: an order of magnitude, not a timing
