"""Weighted sticky choice: shares follow weights, and a change of weight moves only whom it must."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.routing import pick_version

WEIGHTS = st.dictionaries(st.sampled_from([str(n) for n in range(1, 9)]), st.floats(0, 1), min_size=1)
KEYS = [f"client {n}".encode() for n in range(4000)]


@given(WEIGHTS, st.binary())
def test_the_same_key_gets_the_same_version_in_any_order(weights: dict[str, float], key: bytes) -> None:
    shuffled = dict(reversed(weights.items()))
    assert pick_version(weights, key) == pick_version(shuffled, key)


@given(WEIGHTS, st.binary())
def test_a_version_without_weight_or_left_out_is_never_picked(weights: dict[str, float], key: bytes) -> None:
    first = pick_version(weights, key)
    assert (first is None) == (not any(w > 0 for w in weights.values()))
    if first is not None:
        assert weights[first] > 0
        second = pick_version(weights, key, [first])
        assert second != first
        assert (second is None) == (sum(w > 0 for w in weights.values()) == 1)


def test_shares_follow_weights() -> None:
    shares = [pick_version({"1": 0.9, "2": 0.1}, key) for key in KEYS]
    expected, spread = 0.1 * len(KEYS), math.sqrt(len(KEYS) * 0.09)
    assert abs(shares.count("2") - expected) < 4 * spread


def test_shifting_weight_moves_only_towards_the_version_that_gained() -> None:
    moves = [(pick_version({"1": 0.9, "2": 0.1}, key), pick_version({"1": 0.5, "2": 0.5}, key)) for key in KEYS]
    assert ("2", "1") not in moves
    assert moves.count(("1", "2")) > 0.3 * len(KEYS)


def test_leaving_a_version_out_moves_only_its_own_keys() -> None:
    weights = {"1": 0.4, "2": 0.3, "3": 0.3}
    for key in KEYS[:500]:
        before = pick_version(weights, key)
        if before != "3":
            assert pick_version(weights, key, ["3"]) == before
