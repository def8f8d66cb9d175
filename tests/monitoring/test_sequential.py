"""The sequential test, simulated: false alarms under looking at every step, power, coverage; and as a value, its invariances."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.monitoring.sequential import Race, block_sizes, effects, read, stake, watch

RUNS, BLOCKS = 2000, 2000


def rejections(a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """For (RUNS, BLOCKS) outcomes of each arm: the block at which effect 0 was refuted, looking at each one; BLOCKS where never."""
    x = (b - a + 1) / 2
    null = np.array([0.5])
    runs, blocks = x.shape
    capital, total, deviation = np.zeros((runs, 1)), np.zeros((runs, 1)), np.zeros((runs, 1))
    first = np.full(runs, blocks)
    for n in range(blocks):
        seen = x[:, n : n + 1]
        capital += np.log1p(stake(null, n, total, deviation) * (seen - null))
        total += seen
        deviation += (seen - (0.5 + total) / (n + 2)) ** 2
        first = np.where((capital[:, 0] >= -math.log(1 - confidence)) & (first == blocks), n, first)
    return first


DRAWS = {
    "coins": lambda g, shape: (g.random(shape) < 0.5).astype(float),
    "rare": lambda g, shape: (g.random(shape) < 0.02).astype(float),
    "stars": lambda g, shape: g.choice([0.0, 0.5, 1.0], shape, p=[0.2, 0.2, 0.6]),
    "latency": lambda g, shape: np.clip(1 - np.log(g.lognormal(4, 0.6, shape)) / 11, 0, 1),
}


@pytest.mark.parametrize("kind", DRAWS)
def test_two_equal_versions_are_told_apart_in_at_most_5_percent_however_often_one_looks(kind: str) -> None:
    chance = np.random.default_rng(7)
    found = rejections(DRAWS[kind](chance, (RUNS, BLOCKS)), DRAWS[kind](chance, (RUNS, BLOCKS)))
    share = (found < BLOCKS).mean()
    # 5 % and three standard errors of the simulation are the bound; an ordinary z-test looked at as often would be far above.
    assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS), f"{kind}: {share:.3f}"


def test_an_ordinary_test_would_fail_the_same_simulation() -> None:
    chance = np.random.default_rng(7)
    x = DRAWS["coins"](chance, (RUNS, BLOCKS)) - DRAWS["coins"](chance, (RUNS, BLOCKS))
    z = np.cumsum(x, axis=1) / np.sqrt(np.cumsum(x * x, axis=1) + 1e-9)
    assert (np.abs(z[:, 50:]) > 1.96).any(axis=1).mean() > 0.25


def test_an_effect_of_a_tenth_is_found_within_1500_pairs_nine_times_of_ten() -> None:
    chance = np.random.default_rng(8)
    a, b = chance.random((500, 1500)) < 0.5, chance.random((500, 1500)) < 0.6
    found = rejections(a.astype(float), b.astype(float))
    assert (found < 1500).mean() >= 0.9
    assert np.median(found) < 800  # a fixed-size test of 80 % power needs 385 pairs, and may be looked at once


def test_the_interval_covers_at_all_times_and_shrinks() -> None:
    chance = np.random.default_rng(9)
    missed = 0
    for _ in range(150):
        race, covered = Race(), True
        for _ in range(6):
            chunk = [(bool(is_b), float(chance.random() < (0.5 if is_b else 0.4))) for is_b in np.tile([False, True], 60)]
            race = watch(race, chunk, 0.5)
            reading = read(race, 0.95)
            covered = covered and reading.low <= 0.1 <= reading.high
        missed += not covered
        assert reading.high - reading.low < 0.4
    assert missed <= 0.05 * 150 + 3 * math.sqrt(150 * 0.05 * 0.95)


def test_better_and_worse_are_told_with_the_interval_on_their_side() -> None:
    chance = np.random.default_rng(1)
    outcomes = [(n % 2 == 1, float(chance.random() < (0.8 if n % 2 else 0.5))) for n in range(800)]
    better = read(watch(Race(), outcomes, 0.5), 0.95)
    assert better.verdict == "better"
    assert 0 <= better.low < 0.3 < better.high
    worse = read(watch(Race(), [(not is_b, value) for is_b, value in outcomes], 0.5), 0.95)
    assert worse.verdict == "worse"
    assert (worse.low, worse.high) == pytest.approx((-better.high, -better.low))


def test_nothing_seen_says_nothing() -> None:
    assert read(Race(), 0.95).verdict == "undecided"
    assert read(watch(Race(), [(True, 1.0)] * 50, 0.5), 0.95).verdict == "undecided"
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        watch(Race(), [(True, 1.5)], 0.5)


OUTCOMES = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=60)


@settings(max_examples=30)
@given(first=OUTCOMES, second=OUTCOMES, share=st.sampled_from([0.05, 0.2, 0.5, 0.9]))
def test_where_the_reading_stops_does_not_matter_nor_does_a_stay_in_the_store(first: list, second: list, share: float) -> None:
    whole = watch(Race(), [*first, *second], share)
    stored = Race.parse(json.loads(json.dumps(watch(Race(), first, share).as_json())))
    parts = watch(stored, second, share)
    assert parts.blocks == whole.blocks
    assert parts.peak == pytest.approx(whole.peak)
    assert parts.pending == whole.pending


@given(share=st.floats(0.01, 0.99))
def test_blocks_follow_the_share(share: float) -> None:
    a, b = block_sizes(share)
    assert min(a, b) == 1
    assert max(a, b) <= 50
    if 0.05 < share < 0.95:
        assert b / (a + b) == pytest.approx(share, abs=0.1)
    assert 0.0 in effects()
