"""Is a mean above a limit, or below it? A test that may be looked at at any time, and that needs no list of what it saw.

For each alternative mean a gambler bets that it is the true one: an outcome x in [0, 1] multiplies the capital by
x·p/m + (1 - x)·(1 - p)/(1 - m), where m is the limit and p the alternative. While the mean, given the past, is not on the
alternative's side of the limit, the capital does not grow on average, and by Ville's inequality the mean of several gamblers' capitals
exceeds 1/alpha ever with probability at most alpha (Robbins 1970; Waudby-Smith & Ramdas 2024, JRSS B 86). For outcomes 0 and 1 it is
Wald's sequential test against a mixture of alternatives. Nothing is assumed but the range; outcomes may depend on each other.
Not covered: two arms against each other (sequential.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

# Alternatives below the limit, as parts of it, and above it, as odds against those of the limit.
_BELOW = (0.0, 0.25, 0.5, 0.75)
_ABOVE = (1.35, 2.0, 4.0, 10.0, 100.0)

Side = Literal["above", "below"]
Verdict = Literal["above", "below", "open"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """All that the test remembers; JSON values. `count`, `total`: outcomes, their sum. `capital`: logarithms, one for each alternative."""

    limit: float
    count: float = 0
    total: float = 0.0
    capital: tuple[float, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def parse(value: Mapping[str, Any]) -> Threshold:
        return Threshold(**{**value, "capital": tuple(value["capital"])})

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else math.nan


def alternatives(limit: float) -> tuple[float, ...]:
    """The means that are bet on. Raises ValueError for a limit outside (0, 1)."""
    if not 0 < limit < 1:
        raise ValueError(f"a limit of a mean of outcomes in [0, 1] lies between them, not at {limit}")
    odds = limit / (1 - limit)
    # Near 1 the parts of the limit lie far apart from it: there the mirrored alternatives are the fine ones.
    below = [limit * part for part in _BELOW] if limit <= 0.5 else [_of_odds(odds / times) for times in _ABOVE]
    above = [_of_odds(odds * times) for times in _ABOVE] if limit <= 0.5 else [1 - (1 - limit) * part for part in _BELOW]
    return (*below, *above)


def watch(test: Threshold, outcomes: Iterable[float]) -> Threshold:
    """The test with more outcomes. Raises ValueError for one outside [0, 1]."""
    for value in (found := list(outcomes)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"an outcome must lie in [0, 1], not {value}")
    ones = sum(value == 1.0 for value in found)
    zeros = sum(value == 0.0 for value in found)
    between = [value for value in found if 0.0 < value < 1.0]
    return _grown(test, ones, zeros, between)


def counted(test: Threshold, hits: float, count: float) -> Threshold:
    """The test with `count` more outcomes of 0 or 1, of which `hits` were 1. Raises ValueError when there are more hits than outcomes."""
    if not 0 <= hits <= count:
        raise ValueError(f"of {count} outcomes {hits} cannot be hits")
    return _grown(test, hits, count - hits, [])


def _grown(test: Threshold, ones: float, zeros: float, between: list[float]) -> Threshold:
    m, capital = test.limit, []
    for place, p in enumerate(alternatives(m)):
        won, lost = p / m, (1 - p) / (1 - m)
        grown = _times(ones, won) + _times(zeros, lost) + sum(math.log(x * won + (1 - x) * lost) for x in between)
        capital.append((test.capital[place] if test.capital else 0.0) + grown)
    return Threshold(m, test.count + ones + zeros + len(between), test.total + ones + sum(between), tuple(capital))


def evidence(test: Threshold, side: Side) -> float:
    """The logarithm of the capital of those who bet that the mean is on that side of the limit: their mean, each with an equal part."""
    means = alternatives(test.limit)
    logs = [log for p, log in zip(means, test.capital, strict=False) if (p > test.limit) == (side == "above")]
    if not logs or max(logs) == -math.inf:
        return -math.inf if logs else 0.0
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs) / len(logs))


def read(test: Threshold, above: float, below: float) -> Verdict:
    """What is proven. `above`, `below`: the allowed chance ever to say so wrongly."""
    if evidence(test, "above") >= -math.log(above):
        return "above"
    return "below" if evidence(test, "below") >= -math.log(below) else "open"


def needed(limit: float, mean: float, side: Side, error: float) -> float:
    """About how many outcomes of 0 or 1 with that mean it takes to prove the side; infinite where they never would."""
    gains = []
    for p in alternatives(limit):
        if (p > limit) == (side == "above"):
            gains.append(_times(mean, p / limit) + _times(1 - mean, (1 - p) / (1 - limit)))
    best = max(gains)
    return math.inf if best <= 0 else (math.log(len(gains)) - math.log(error)) / best


def _times(count: float, factor: float) -> float:
    if count == 0:
        return 0.0
    return -math.inf if factor <= 0 else count * math.log(factor)


def _of_odds(odds: float) -> float:
    return odds / (1 + odds)
