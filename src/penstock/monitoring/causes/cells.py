"""Requests of a part in a period as three numbers, and how far such numbers are apart, in standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

UNSURE = 2.5  # standard errors that the ratio of two earlier means may be off


@dataclass(frozen=True, slots=True)
class Cell:
    """Requests of one part in one period: how many, their mean, and the variance of one."""

    n: float
    mean: float
    variance: float

    @property
    def of_mean(self) -> float:
        return self.variance / self.n if self.n else math.inf


def cell_of(n: float, total: float, squares: float, *, shares: bool) -> Cell:
    """From a count, a sum and a sum of squares. `shares`: of outcomes that are 0 or 1."""
    if n < 1:
        return Cell(0.0, math.nan, math.inf)
    mean = float(total) / float(n)
    if shares:
        smooth = (float(total) + 1) / (float(n) + 2)  # Agresti and Caffo 2000: no part is ever believed to be surely 0 or 1
        return Cell(float(n), mean, smooth * (1 - smooth))
    return Cell(float(n), mean, max(float(squares) / float(n) - mean * mean, 0.0) * n / max(1.0, n - 1) + 1e-12)


def level(one: Cell, other: Cell) -> float:
    """How far two means are apart, in standard errors."""
    return abs(score(one.mean - other.mean, one.of_mean + other.of_mean))


def multiplied(inside: tuple[Cell, Cell], outside: tuple[Cell, Cell]) -> float:
    """How far the part is from what it would be if both had been multiplied alike, in standard errors.

    How many times the rest's mean the part's was before is known only so well: of what it may have been, what explains most is taken.
    """
    middle, spread = _times(inside[0], outside[0])
    above = inside[1].mean > middle * outside[1].mean
    times = middle * math.exp(UNSURE * spread if above else -UNSURE * spread)
    beyond = inside[1].mean - times * outside[1].mean
    return abs(score(beyond, inside[1].of_mean + times**2 * outside[1].of_mean)) if (beyond > 0) == above else 0.0


def _times(part: Cell, rest: Cell) -> tuple[float, float]:
    """The ratio of two means and the standard error of its logarithm. One event at the common rate is added to each: a part of which little
    was seen is taken to be like the rest.
    """
    like = rest if rest.mean > 0 else part
    size = like.variance / like.mean if like.mean > 0 else 1.0  # of an event: 1 - share for shares, larger for amounts
    totals = [max(cell.mean * cell.n, 0.0) + size for cell in (part, rest)]
    common = sum(totals) / (part.n + rest.n)
    means = [total / (cell.n + size / common) for total, cell in zip(totals, (part, rest), strict=True)]
    return means[0] / means[1], math.sqrt(sum(size / total for total in totals))


def score(difference: float, variance: float) -> float:
    if not math.isfinite(difference) or not math.isfinite(variance) or variance <= 0:
        return 0.0
    return difference / math.sqrt(variance)


def two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))
