"""The sequential test of a mean against a limit: its errors as declared, order and batching without effect, power near the bound."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.threshold import Threshold, alternatives, counted, evidence, needed, read, watch

LIMITS = (0.0001, 0.01, 0.05, 0.3, 0.5, 0.85, 0.99, 0.9999)


@pytest.mark.parametrize("limit", LIMITS)
def test_the_capital_does_not_grow_at_the_limit(limit: float) -> None:
    """The heart of it: with the mean just at the limit one more outcome leaves the expected capital as it was, for either side."""
    for side in ("above", "below"):
        start = counted(Threshold(limit), 3, 40)
        before = math.exp(evidence(start, side))
        one, none = counted(start, 1, 1), counted(start, 0, 1)
        after = limit * math.exp(evidence(one, side)) + (1 - limit) * math.exp(evidence(none, side))
        assert after == pytest.approx(before, rel=1e-9)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_nor_on_the_other_side_of_it(limit: float, part: float) -> None:
    start = counted(Threshold(limit), 1, 10)
    for side, mean in (("above", limit * part), ("below", 1 - (1 - limit) * part)):
        one, none = counted(start, 1, 1), counted(start, 0, 1)
        after = mean * math.exp(evidence(one, side)) + (1 - mean) * math.exp(evidence(none, side))
        assert after <= math.exp(evidence(start, side)) * (1 + 1e-9)


@given(st.lists(st.floats(0, 1), max_size=40), st.sampled_from(LIMITS), st.randoms())
def test_order_and_batches_do_not_matter(values: list[float], limit: float, chance: random.Random) -> None:
    whole = watch(Threshold(limit), values)
    mixed = list(values)
    chance.shuffle(mixed)
    cut = chance.randint(0, len(mixed))
    parts = watch(watch(Threshold(limit), mixed[:cut]), mixed[cut:])
    assert parts.count == whole.count
    assert parts.total == pytest.approx(whole.total)
    assert parts.capital == pytest.approx(whole.capital)
    assert Threshold.parse(whole.as_json()) == whole


def rate_of(limit: float, mean: float, looks: int, verdict: str, runs: int = 400) -> float:
    """Share of runs that ever say `verdict`, looked at after every fifth outcome."""
    said = 0
    for seed in range(runs):
        chance, test = random.Random(seed), Threshold(limit)
        for _ in range(looks):
            test = counted(test, sum(chance.random() < mean for _ in range(5)), 5)
            if (found := read(test, 0.05, 0.05)) != "open":
                said += found == verdict
                break
    return said / runs


@pytest.mark.parametrize("limit", [0.02, 0.5, 0.85])
def test_a_mean_at_the_limit_is_called_either_way_as_seldom_as_declared(limit: float) -> None:
    for verdict in ("above", "below"):
        assert rate_of(limit, limit, 200, verdict) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_clear_cases_are_settled_soon() -> None:
    clean = Threshold(0.01)
    while read(clean, 0.05, 0.05) == "open":
        clean = counted(clean, 0, 1)
    assert clean.count <= 450  # nobody can know it before 299: (1 - 0.01)^298 > 0.05
    broken = Threshold(0.01)
    while read(broken, 0.0025, 0.05) == "open":
        broken = counted(broken, 1, 2)
    assert broken.count <= 10
    assert needed(0.01, 0.0, "below", 0.05) == pytest.approx(clean.count, rel=0.2)
    assert needed(0.01, 0.02, "below", 0.05) == math.inf


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="between them"):
        alternatives(0.0)
    with pytest.raises(ValueError, match="must lie in"):
        watch(Threshold(0.5), [0.5, 1.5])
    with pytest.raises(ValueError, match="cannot be hits"):
        counted(Threshold(0.5), 3, 2)
    assert math.isnan(Threshold(0.5).mean)
    assert read(Threshold(0.5), 0.05, 0.05) == "open"
