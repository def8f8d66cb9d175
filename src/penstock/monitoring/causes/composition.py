"""What changed in what is asked, whatever became of it: parts of the traffic whose shares moved, for a drift that has no mean to divide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from penstock.monitoring.causes.columns import Period, Split, splits

MOST_OF_KIND = 3


@dataclass(frozen=True, slots=True)
class Shift:
    """One value of one kind of part: its share of requests before and during. `distance`: of the kind as a whole, the total variation
    (0-1). `part`: of that distance that is this value's. `p`: that the kind's shares are as before.
    """

    kind: str
    value: str
    before: float
    during: float
    distance: float
    part: float
    p: float


def shifts(before: Period, during: Period, *, false_claims: float = 0.01) -> list[Shift]:
    """Kinds whose shares moved beyond chance (chi-square, Bonferroni over kinds), farthest first, with the values that moved most."""
    found = splits(before, during)
    told = []
    for split in found:
        shares, distance, p = _compared(split)
        if distance > 0 and p <= false_claims / len(found):
            moved = sorted(shares, key=lambda one: -abs(one[2] - one[1]))[:MOST_OF_KIND]
            told += [Shift(split.kind, name, a, b, distance, abs(b - a) / (2 * distance), p) for name, a, b in moved]
    return sorted(told, key=lambda one: (-one.distance, one.kind, -one.part))


def _compared(split: Split) -> tuple[list[tuple[str, float, float]], float, float]:
    import numpy as np

    size = len(split.names)
    counts = [np.bincount(codes[codes >= 0], minlength=size).astype(float) for codes in (split.before, split.during)]
    total = [count.sum() for count in counts]
    if min(total) < 1:
        return [], 0.0, 1.0
    shares = [count / n for count, n in zip(counts, total, strict=True)]
    pooled = (counts[0] + counts[1]) / sum(total)
    kept = (pooled * min(total)) >= 1  # values that are hardly ever seen tell nothing
    chi_square = sum((((count - n * pooled) ** 2) / (n * pooled))[kept].sum() for count, n in zip(counts, total, strict=True))
    distance = float(abs(shares[0] - shares[1]).sum() / 2)
    names = _ranges(split) if split.ordered else split.names
    told = [(name, float(a), float(b)) for name, a, b in zip(names, *shares, strict=True)]
    return told, distance, chi_square_tail(float(chi_square), int(kept.sum()) - 1)


def _ranges(split: Split) -> tuple[str, ...]:
    """Names of an ordered split as the ranges that its codes are, not as everything above a cut."""
    cuts = [name.partition(" ")[2] for name in split.names[1:]]
    return (f"≤ {cuts[0]}", *(f"{low} to {high}" for low, high in pairwise(cuts)), f"> {cuts[-1]}")


def chi_square_tail(value: float, freedom: int) -> float:
    """Wilson and Hilferty's approximation (1931), good to a few per cent of p where it matters."""
    if freedom < 1:
        return 1.0
    spread = 2 / (9 * freedom)
    return 0.5 * math.erfc(((value / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(2 * spread))
