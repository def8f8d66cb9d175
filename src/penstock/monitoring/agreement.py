"""How far people agree who label the same things: Krippendorff's alpha and Cohen's kappa, for classes without an order.

Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability" (nominal metric, missing answers allowed); Cohen 1960.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

Answers = Mapping[str, str]  # of one thing: label by person


def krippendorff(things: Iterable[Answers]) -> float:
    """1: full agreement, 0: as by chance, below: worse. NaN where no two people labelled the same thing, or all say one label."""
    weights: dict[tuple[str, str], float] = {}  # of ordered pairs of answers to one thing; a thing weighs as many as it has answers
    for answers in things:
        said = list(answers.values())
        if len(said) < 2:
            continue
        for n, one in enumerate(said):
            for m, other in enumerate(said):
                if n != m:
                    weights[one, other] = weights.get((one, other), 0.0) + 1 / (len(said) - 1)
    totals: dict[str, float] = {}
    for (one, _), weight in weights.items():
        totals[one] = totals.get(one, 0.0) + weight
    count = sum(totals.values())
    expected = sum(totals[a] * totals[b] for a in totals for b in totals if a != b)
    if count < 2 or expected == 0:
        return math.nan
    observed = sum(weight for (one, other), weight in weights.items() if one != other)
    return 1 - (count - 1) * observed / expected


def cohen(first: Sequence[str], second: Sequence[str]) -> float:
    """Of two people over the same things in the same order. NaN where both say one label throughout, or nothing."""
    count = len(first)
    if not count:
        return math.nan
    same = sum(a == b for a, b in zip(first, second, strict=True)) / count
    by_first, by_second = Counter(first), Counter(second)
    chance = sum(by_first[label] * by_second[label] for label in by_first) / count**2
    return math.nan if chance == 1 else (same - chance) / (1 - chance)


def pairs_of(things: Sequence[Answers]) -> dict[tuple[str, str], tuple[int, float]]:
    """(things that both labelled, kappa) for each pair of people."""
    people = sorted({person for answers in things for person in answers})
    found = {}
    for n, one in enumerate(people):
        for other in people[n + 1 :]:
            both = [answers for answers in things if one in answers and other in answers]
            if both:
                found[one, other] = (len(both), cohen([a[one] for a in both], [a[other] for a in both]))
    return found
