"""Shares by Thompson sampling: probabilities as drawn, the floor, few moves, and regret in simulations, also in a changing world."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.thompson import STEP, Arm, best_probabilities, moves, shares

COUNTS = st.tuples(st.floats(0, 3000), st.floats(0, 1))


@given(counts=st.lists(COUNTS, min_size=2, max_size=4))
def test_probabilities_are_those_of_draws(counts: list[tuple[float, float]]) -> None:
    arms = [Arm(n, n * rate, n * rate) for n, rate in counts]
    chance = np.random.default_rng(5)
    drawn = np.stack([chance.beta(1 + a.total, 1 + a.count - a.total, 20_000) for a in arms])
    often = np.bincount(drawn.argmax(axis=0), minlength=len(arms)) / 20_000
    assert best_probabilities(arms) == pytest.approx(often.tolist(), abs=0.03)


def test_the_normal_kind_prefers_the_higher_mean_by_how_sure_it_is() -> None:
    def arm(mean: float, count: int) -> Arm:
        return Arm(count, mean * count, count * (mean**2 + 0.25))

    assert best_probabilities([arm(0.2, 5), arm(0.2, 5)], "normal") == pytest.approx([0.5, 0.5])
    few, many = (best_probabilities([arm(0.0, n), arm(0.2, n)], "normal")[1] for n in (5, 100))
    assert 0.5 < few < 0.8 < many
    deviation = math.sqrt(2 * 0.25 / 100)
    assert many == pytest.approx(0.5 * math.erfc(-0.2 / deviation / math.sqrt(2)), abs=0.03)


@given(raw=st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda r: sum(r) > 0.01), explore=st.floats(0.01, 0.49))
def test_shares_sum_to_one_and_none_falls_below_the_floor(raw: list[float], explore: float) -> None:
    probabilities = [r / sum(raw) for r in raw]
    found = shares(probabilities, explore)
    assert sum(found) == pytest.approx(1.0)
    assert min(found) >= min(explore, 1 / len(raw)) - 1e-12
    floor = min(explore, 1 / len(raw))
    exact = [floor + (1 - len(raw) * floor) * p for p in probabilities]
    assert all(abs(f - e) <= 2 * STEP for f, e in zip(found, exact, strict=True))


def test_noise_moves_nobody() -> None:
    assert not moves(shares([0.50, 0.50], 0.05), shares([0.51, 0.49], 0.05))
    assert moves(shares([0.50, 0.50], 0.05), shares([0.60, 0.40], 0.05))


def test_half_is_forgotten_after_a_half_life() -> None:
    assert Arm(8, 4, 4).forgotten(60, 60) == Arm(4, 2, 2)
    assert Arm(8, 4, 4).forgotten(-5, 60) == Arm(8, 4, 4), "a clock set back forgets nothing"


def simulate(rates: list[list[float]], *, explore: float, batch: int, half_life: float, seed: int) -> tuple[float, list[list[float]], int]:
    """Regret in rewards, the shares in each batch, and how often they were changed; `rates` by batch and arm."""
    chance, arms = np.random.default_rng(seed), [Arm() for _ in rates[0]]
    now, regret, told, changed = [1 / len(arms)] * len(arms), 0.0, [], 0
    for means in rates:
        counts = chance.multinomial(batch, now)
        regret += sum(n * (max(means) - mean) for n, mean in zip(counts, means, strict=True))
        rewards = [[1.0] * int(k) + [0.0] * int(n - k) for n, k in ((n, chance.binomial(n, m)) for n, m in zip(counts, means, strict=True))]
        arms = [arm.forgotten(1.0, half_life).seen(r) for arm, r in zip(arms, rewards, strict=True)]
        wanted = shares(best_probabilities(arms), explore)
        if moves(now, wanted):
            now, changed = wanted, changed + 1
        told.append(now)
    return regret, told, changed


def test_regret_is_near_the_bound_and_far_below_an_equal_split() -> None:
    rates, batch, batches, explore = [0.5, 0.6, 0.7], 50, 120, 0.02
    runs = [simulate([rates] * batches, explore=explore, batch=batch, half_life=1e9, seed=seed) for seed in range(12)]
    regret = sum(run[0] for run in runs) / len(runs)
    equal = batch * batches * sum(0.7 - r for r in rates) / 3
    floor = batch * batches * explore * sum(0.7 - r for r in rates)

    def divergence(p: float, q: float) -> float:
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    # Lai & Robbins 1985: what any good policy must lose in the long run, beside what the floor costs by wish.
    least = sum((0.7 - r) / divergence(r, 0.7) for r in rates[:-1]) * math.log(batch * batches)
    assert regret < 0.3 * equal
    assert regret < 2 * (least + floor)
    assert all(min(split) >= explore - 1e-9 for run in runs for split in run[1])
    assert sum(run[2] for run in runs) / len(runs) < batches / 4, "clients are moved seldom"


def test_traffic_comes_back_to_a_version_that_recovers() -> None:
    rates = [[0.7, 0.5]] * 60 + [[0.3, 0.5]] * 60
    _, told, _ = simulate(rates, explore=0.05, batch=60, half_life=15, seed=2)
    assert told[55][0] > 0.8
    assert told[-1][1] > 0.8
    _, stubborn, _ = simulate(rates, explore=0.05, batch=60, half_life=1e9, seed=2)
    first = [next((n for n, split in enumerate(t) if n > 60 and split[1] > 0.5), len(t)) for t in (told, stubborn)]
    assert first[0] < first[1], "forgetting is what makes it quick"
