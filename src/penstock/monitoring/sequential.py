"""A test that may be looked at at any time: is the mean of B above that of A? With an interval that holds at all times at once.

Testing by betting (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS B 86): for each possible
effect a gambler bets against it with the plug-in stakes that the paper calls aGRAPA; if the effect is true, the gambler's capital is a
non-negative martingale, and by Ville's inequality exceeds 1/alpha ever with probability at most alpha. Effects whose gambler
never got that rich are the confidence sequence. No distribution is assumed: outcomes lie in [0, 1], those of one arm have one mean.

An observation is the difference of the two arms' means over a block of outcomes; blocks are closed by counts, never by values.
Not covered: drifting effects (the interval is of the mean effect if it stays), and units that are not independent (see units.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

POINTS = 150  # effects on each side of 0
TRUNCATION = 0.75  # of the largest stake that cannot lose everything
MAX_BLOCK = 50

Verdict = Literal["better", "worse", "undecided"]


@cache
def effects() -> tuple[float, ...]:
    """The effects that are bet against, -1 to 1, denser towards 0, which is one of them."""
    return tuple(math.copysign((n / POINTS) ** 2, n) for n in range(-POINTS, POINTS + 1))


@dataclass(frozen=True, slots=True)
class Pending:
    """Outcomes of each arm that wait for enough of the other's: counts and sums."""

    a: int = 0
    a_sum: float = 0.0
    b: int = 0
    b_sum: float = 0.0


@dataclass(frozen=True, slots=True)
class Race:
    """All that the test remembers; JSON values. `capital` and `peak`: logarithms, now and at their highest, one for each of effects().

    `blocks`, `total`, `deviation`: of the differences mapped to [0, 1]: how many, their sum, their squared distances from the running mean.
    """

    blocks: int = 0
    total: float = 0.0
    deviation: float = 0.0
    capital: tuple[float, ...] = ()
    peak: tuple[float, ...] = ()
    pending: Pending = Pending()
    a: tuple[int, float] = (0, 0.0)  # outcomes and their sum
    b: tuple[int, float] = (0, 0.0)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def parse(value: Mapping[str, Any]) -> Race:
        known = dict(value)
        for name in ("capital", "peak", "a", "b"):
            known[name] = tuple(known[name])
        return Race(**{**known, "pending": Pending(**known["pending"])})


@dataclass(frozen=True, slots=True)
class Reading:
    """`effect`: mean of B less mean of A observed; `low` to `high` holds the true one with the asked confidence, at all times."""

    verdict: Verdict
    effect: float
    low: float
    high: float
    a_mean: float
    b_mean: float


def block_sizes(share: float) -> tuple[int, int]:
    """Outcomes of A and of B in a block when B gets `share` of them: about that ratio, so that few wait for the other arm."""
    if share <= 0.5:
        return min(MAX_BLOCK, max(1, round((1 - share) / share))), 1
    return 1, min(MAX_BLOCK, max(1, round(share / (1 - share))))


def watch(race: Race, outcomes: Iterable[tuple[bool, float]], share: float) -> Race:
    """The race with more outcomes, (is of B, value in [0, 1]) each, in the order they came. Raises ValueError for another value."""
    size_a, size_b = block_sizes(share)
    pending, differences = race.pending, []
    (a, a_sum), (b, b_sum) = race.a, race.b
    for is_b, value in outcomes:
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"an outcome must lie in [0, 1], not {value}")
        if is_b:
            b, b_sum, pending = b + 1, b_sum + value, Pending(pending.a, pending.a_sum, pending.b + 1, pending.b_sum + value)
        else:
            a, a_sum, pending = a + 1, a_sum + value, Pending(pending.a + 1, pending.a_sum + value, pending.b, pending.b_sum)
        if pending.a >= size_a and pending.b >= size_b:
            differences.append((pending.b_sum / pending.b - pending.a_sum / pending.a + 1) / 2)
            pending = Pending()
    return _bet(race, differences, pending, (a, a_sum), (b, b_sum))


def _bet(race: Race, differences: list[float], pending: Pending, a: tuple[int, float], b: tuple[int, float]) -> Race:
    import numpy as np

    means = (np.array(effects()) + 1) / 2
    capital = np.array(race.capital) if race.capital else np.zeros(len(means))
    peak = np.array(race.peak) if race.peak else np.zeros(len(means))
    blocks, total, deviation = race.blocks, race.total, race.deviation
    for x in differences:
        capital = capital + np.log1p(stake(means, blocks, total, deviation) * (x - means))
        peak = np.maximum(peak, capital)
        blocks, total = blocks + 1, total + x
        deviation += (x - (0.5 + total) / (blocks + 1)) ** 2
    return Race(blocks, total, deviation, tuple(capital.tolist()), tuple(peak.tolist()), pending, a, b)


def stake(means: Any, blocks: Any, total: Any, deviation: Any) -> Any:
    """What is bet against each of `means` (an array, over which the others broadcast), knowing only what came before."""
    import numpy as np

    guess, spread = (0.5 + total) / (blocks + 1), (0.25 + deviation) / (blocks + 1)
    wanted = (guess - means) / (spread + (guess - means) ** 2)
    return np.clip(wanted, -TRUNCATION / np.maximum(1 - means, 1e-12), TRUNCATION / np.maximum(means, 1e-12))


def read(race: Race, confidence: float) -> Reading:
    """What can be said now. May be asked as often as one likes: all answers together are wrong with probability 1 - confidence at most."""
    a_mean = race.a[1] / race.a[0] if race.a[0] else math.nan
    b_mean = race.b[1] / race.b[0] if race.b[0] else math.nan
    if not race.blocks:
        return Reading("undecided", math.nan, -1.0, 1.0, a_mean, b_mean)
    limit, grid = -math.log(1 - confidence), effects()
    # Within an interval, not merely among the effects that were bet against: out to the nearest that was refuted.
    left = [n for n, peak in enumerate(race.peak) if peak < limit] or [min(range(len(grid)), key=race.peak.__getitem__)]
    low, high = grid[max(left[0] - 1, 0)], grid[min(left[-1] + 1, len(grid) - 1)]
    refuted = race.peak[POINTS] >= limit
    verdict: Verdict = "undecided" if not refuted else "better" if low >= 0 else "worse" if high <= 0 else "undecided"
    return Reading(verdict, b_mean - a_mean, low, high, a_mean, b_mean)
