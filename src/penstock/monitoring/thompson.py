"""Thompson sampling as shares of traffic: each version gets the probability that it is the best one, as far as is known now.

Thompson 1933; for shares of a batch instead of single draws, Scott 2010 ("A modern Bayesian look at the multi-armed bandit"). Rewards in
[0, 1] have a Beta posterior (a reward r counts as r successes and 1 - r failures), other numbers a normal-gamma one. Old evidence is
forgotten exponentially, so that a version that was bad can come back, and none gets less than a floor, so that this can be noticed.
The probabilities are integrated, not drawn: the same evidence always gives the same shares.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

POINTS = 160  # where each posterior is looked at
SPAN = 8.0  # standard deviations to each side
STEP = 1 / 32  # shares are multiples of this beside the floor: a change smaller than that moves nobody


@dataclass(frozen=True, slots=True)
class Arm:
    """Evidence on one version: `count` rewards (after forgetting, so no whole number), their sum and the sum of their squares."""

    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def seen(self, rewards: Iterable[float]) -> Arm:
        found = list(rewards)
        return Arm(self.count + len(found), self.total + sum(found), self.squares + sum(r * r for r in found))

    def forgotten(self, elapsed_s: float, half_life_s: float) -> Arm:
        """What is left after `elapsed_s`: half of it after `half_life_s`."""
        left = 0.5 ** (max(elapsed_s, 0.0) / half_life_s)
        return Arm(self.count * left, self.total * left, self.squares * left)

    def as_json(self) -> dict[str, float]:
        return asdict(self)

    @staticmethod
    def parse(value: Mapping[str, Any] | None) -> Arm:
        return Arm(**value) if value else Arm()


@dataclass(frozen=True, slots=True)
class _Posterior:
    mean: float
    deviation: float
    log_density: Callable[[float], float]
    low: float = -math.inf
    high: float = math.inf


def best_probabilities(arms: Sequence[Arm], kind: Literal["beta", "normal"] = "beta") -> list[float]:
    """For each arm the probability that its mean reward is the highest; they sum to 1."""
    if len(arms) < 2:
        return [1.0] * len(arms)
    posteriors = [_beta(arm) if kind == "beta" else _student(arm) for arm in arms]
    places = sorted({x for p in posteriors for x in _places(p)})
    tables = [_cumulative(p, places) for p in posteriors]
    wins = []
    for n, table in enumerate(tables):
        won = 0.0
        for at in range(len(places) - 1):
            others = 1.0
            for m, other in enumerate(tables):
                if m != n:
                    others *= (other[at] + other[at + 1]) / 2
            won += (table[at + 1] - table[at]) * others
        wins.append(won)
    return [won / sum(wins) for won in wins]


def shares(probabilities: Sequence[float], explore: float, step: float = STEP) -> list[float]:
    """Shares of traffic: each at least the floor `explore` (at most an equal share), the rest by probability in multiples of `step`.

    They sum to 1. Rounding keeps the largest remainders, so close probabilities give the same shares again.
    """
    floor = min(explore, 1 / len(probabilities))
    free = 1 - floor * len(probabilities)
    units = round(free / step)
    if units == 0:
        return [1 / len(probabilities)] * len(probabilities)
    whole = [math.floor(p * units + 1e-9) for p in probabilities]
    for n in sorted(range(len(whole)), key=lambda n: whole[n] - probabilities[n] * units)[: units - sum(whole)]:
        whole[n] += 1
    return [floor + free * n / units for n in whole]


def moves(now: Sequence[float], wanted: Sequence[float], step: float = STEP) -> bool:
    """Whether the wanted shares differ enough to move clients for: by more than one step somewhere, so that noise alone moves nobody."""
    return any(abs(a - b) > 1.5 * step for a, b in zip(now, wanted, strict=True))


def _beta(arm: Arm) -> _Posterior:
    a, b = 1 + arm.total, 1 + max(arm.count - arm.total, 0.0)
    norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    deviation = math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
    return _Posterior(a / (a + b), deviation, lambda x: norm + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x), 1e-9, 1 - 1e-9)


def _student(arm: Arm) -> _Posterior:
    """Of the mean: Student's t, from a normal-gamma prior worth one observation (mean 0, variance 1): scale the rewards to suit it."""
    strength, shape = 1 + arm.count, 1 + arm.count / 2
    observed = arm.total / arm.count if arm.count else 0.0
    spread = max(arm.squares - arm.count * observed**2, 0.0)
    rate = 1 + spread / 2 + arm.count * observed**2 / (2 * strength)
    mean, freedom = arm.total / strength, 2 * shape
    scale = math.sqrt(rate / (shape * strength))
    norm = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(scale * math.sqrt(freedom * math.pi))
    return _Posterior(mean, scale, lambda x: norm - (freedom + 1) / 2 * math.log1p(((x - mean) / scale) ** 2 / freedom))


def _places(p: _Posterior) -> list[float]:
    """Dense where the posterior is, so that a sharp one beside a broad one is not stepped over."""
    spots = (p.mean + p.deviation * SPAN * (2 * n / POINTS - 1) for n in range(POINTS + 1))
    return [min(max(x, p.low), p.high) for x in spots]


def _cumulative(p: _Posterior, places: Sequence[float]) -> list[float]:
    """Distribution function at `places` by trapezoids, over its own places, where it has its mass."""
    own = sorted(set(_places(p)))
    heights = [math.exp(p.log_density(x)) for x in own]
    sums = [0.0]
    for n in range(len(own) - 1):
        sums.append(sums[-1] + (heights[n] + heights[n + 1]) / 2 * (own[n + 1] - own[n]))
    total = sums[-1] or 1.0

    def at(x: float) -> float:
        n = bisect.bisect_right(own, x) - 1
        if n < 0:
            return 0.0
        if n >= len(own) - 1:
            return 1.0
        part = (x - own[n]) / (own[n + 1] - own[n])
        return (sums[n] + part * (sums[n + 1] - sums[n])) / total

    return [at(x) for x in places]
