"""Two sketches of counts over the same bins: what all detectors of counts compare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.monitoring.drift.counts import Counts
from penstock.monitoring.drift.nearest import Nearest
from penstock.monitoring.drift.numbers import Numbers
from penstock.monitoring.drift.words import Words

Counted = Numbers | Counts | Words | Nearest
BINS = 20  # of equal mass of the reference, where numbers are compared as categories


@dataclass(frozen=True, slots=True)
class Aligned:
    """Counts bin by bin. `places`: of numbers, where each bin lies; the last bin is what is missing and has no place (nan)."""

    reference: np.ndarray
    current: np.ndarray
    places: np.ndarray | None = None

    @property
    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        return self.reference / max(self.reference.sum(), 1e-300), self.current / max(self.current.sum(), 1e-300)


def align(reference: Counted, current: Counted) -> Aligned:
    """Raises ValueError for sketches of different kinds."""
    if isinstance(reference, Numbers) and isinstance(current, Numbers):
        return _numbers(reference, current)
    if isinstance(reference, Nearest) and isinstance(current, Nearest):
        return _numbers(reference.near, current.near)
    if isinstance(reference, Words) and isinstance(current, Words):
        there = np.flatnonzero(reference.counts + current.counts)
        return Aligned(reference.counts[there], current.counts[there])
    if isinstance(reference, Counts) and isinstance(current, Counts):
        names = sorted({*reference.counts, *current.counts})
        both = [np.array([*(side.counts.get(name, 0.0) for name in names), side.others]) for side in (reference, current)]
        return Aligned(*both)
    raise ValueError(f"a {reference.kind} sketch cannot be compared with a {current.kind} sketch")


def grouped(reference: Counted, current: Counted, bins: int = BINS) -> Aligned:
    """As `align`; numbers in at most `bins` bins of about equal mass of the reference, missing ones in one of their own."""
    found = align(reference, current)
    if found.places is None or len(found.places) <= bins + 1:
        return found
    ends = np.cumsum(found.reference[:-1])
    group = np.append(np.minimum((ends - found.reference[:-1] / 2) * bins / max(ends[-1], 1e-300), bins - 1).astype(int), bins)
    return Aligned(np.bincount(group, found.reference, bins + 1), np.bincount(group, found.current, bins + 1))


def _numbers(reference: Numbers, current: Numbers) -> Aligned:
    level = max(reference.level, current.level)
    one, other = reference.at(level), current.at(level)
    keys = np.union1d(one.keys, other.keys)
    both = []
    for side in (one, other):
        counts = np.zeros(len(keys) + 1)
        counts[np.searchsorted(keys, side.keys)] = side.counts
        counts[-1] = side.missing
        both.append(counts)
    places = np.append(Numbers(level, keys, np.zeros(len(keys))).places(), np.nan)
    return Aligned(both[0], both[1], places)
