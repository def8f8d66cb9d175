"""Quantiles in bounded memory, within 1 % of the true value, that merge exactly: DDSketch (Masson, Rim, Lee 2019, VLDB 12(12)).

A value is counted in the bucket of its logarithm, so a merged sketch is the sketch of all values, bit for bit. Buckets reach from LOWEST
to HIGHEST, some 1,400 of them: with those ends fixed nothing ever has to be collapsed. Not covered: values below LOWEST are told as 0,
those above HIGHEST as HIGHEST; the exact extremes are not kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ACCURACY = 0.01
LOWEST, HIGHEST = 1e-3, 1e9
_LOG = 2 * math.atanh(0.0099)  # of the ratio of two buckets' bounds; a little under ACCURACY, for the rounding of logarithms
_FIRST = math.floor(math.log(LOWEST) / _LOG)
BUCKETS = math.ceil(math.log(HIGHEST) / _LOG) - _FIRST + 1  # the first one counts what is below LOWEST
MOST = 2**53  # a count above is no count of ours

Counts = npt.NDArray[np.int64]


def buckets(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bucket of each value. The values must be finite."""
    inside = np.clip(values, LOWEST, HIGHEST)
    found = np.ceil(np.log(inside) / _LOG).astype(np.int64) - _FIRST
    found[values < LOWEST] = 0
    return np.minimum(found, BUCKETS - 1)


def value_of(bucket: int) -> float:
    """What is told of the values in a bucket: within ACCURACY of each of them."""
    if bucket == 0:
        return 0.0
    upper = math.exp((bucket + _FIRST) * _LOG)
    return min(2 * upper / (1 + math.exp(_LOG)), HIGHEST)


class Sketch:
    """Counts by bucket, from bucket `first` on. Mutable: a window adds to its own."""

    __slots__ = ("counts", "first")

    def __init__(self, first: int = 0, counts: Counts | None = None) -> None:
        self.first = first
        self.counts: Counts = np.zeros(0, np.int64) if counts is None else counts

    @classmethod
    def of(cls, values: Iterable[float]) -> Sketch:
        made = cls()
        made.add(values)
        return made

    def add(self, values: Iterable[float] | npt.NDArray[np.float64]) -> None:
        """Raises ValueError for a value that is not finite; nothing is added then."""
        given = np.asarray(values if isinstance(values, np.ndarray) else list(values), np.float64)
        if not np.isfinite(given).all():
            raise ValueError("a sketch takes finite numbers only")
        self.add_buckets(buckets(given))

    def add_buckets(self, found: npt.NDArray[np.int64]) -> None:
        """Values whose buckets are known already."""
        if found.size:
            first = int(found.min())
            self._put(first, np.bincount(found - first))

    def merge(self, other: Sketch) -> None:
        """This one becomes the sketch of all values of both."""
        if other.counts.size:
            self._put(other.first, other.counts)

    def _put(self, first: int, counts: Counts) -> None:
        if not self.counts.size:
            self.first, self.counts = first, counts.astype(np.int64)
            return
        low, high = min(first, self.first), max(first + counts.size, self.first + self.counts.size)
        if low < self.first or high > self.first + self.counts.size:
            wider = np.zeros(high - low, np.int64)
            wider[self.first - low : self.first - low + self.counts.size] = self.counts
            self.first, self.counts = low, wider
        self.counts[first - self.first : first - self.first + counts.size] += counts

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """The value at rank floor(share × (count - 1)) for each share in [0, 1]; nan when there is none."""
        if not self.counts.size:
            return [math.nan] * len(shares)
        reached = np.cumsum(self.counts)
        ranks = [math.floor(share * (int(reached[-1]) - 1)) for share in shares]
        return [value_of(self.first + int(place)) for place in np.searchsorted(reached, ranks, side="right")]

    def quantile(self, share: float) -> float:
        return self.quantiles((share,))[0]

    def __eq__(self, other: object) -> bool:
        """Whether both count the same, however they came about."""
        return isinstance(other, Sketch) and self._trimmed() == other._trimmed()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def _trimmed(self) -> list[int]:
        """Its first bucket in use, then the counts up to its last."""
        used = np.flatnonzero(self.counts)
        return [self.first + int(used[0]), *self.counts[used[0] : used[-1] + 1].tolist()] if used.size else []

    def as_json(self) -> list[int]:
        """[first bucket in use, count, count …]; empty for no values."""
        return self._trimmed()

    @staticmethod
    def parse(value: Any) -> Sketch:
        """Raises ValueError for what as_json cannot have made."""
        if not isinstance(value, list) or not all(type(each) is int and 0 <= each < MOST for each in value):
            raise ValueError("a sketch is a list of counts")
        if not value:
            return Sketch()
        first, counts = value[0], value[1:]
        if not counts or first + len(counts) > BUCKETS or not counts[0] or not counts[-1] or sum(counts) >= MOST:
            raise ValueError("no sketch has such buckets")
        return Sketch(first, np.array(counts, np.int64))
