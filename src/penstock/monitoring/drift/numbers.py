"""Numbers as a histogram whose bins are prefixes of their own bits: exact, mergeable in any order, at most MOST bins.

A double's bits, sign folded, sort as the numbers do. A bin is all numbers that share those bits but the last `level`; the level is the
lowest at which there are at most MOST bins. So few values are kept exactly, and many with a resolution that follows where they lie.
What is not finite counts as missing, and lies above all numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from penstock.core.errors import ArtifactCorrupt
from penstock.monitoring.drift.encoded import Packed, checked_counts, pack

MOST = 4096
_MISSING = np.iinfo(np.int64).max
_TOP = 0x7FFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """`keys`: bins in order, as bits >> level; `counts` of each."""

    level: int
    keys: np.ndarray  # (bins,) int64, rising
    counts: np.ndarray  # (bins,) float64
    missing: float = 0.0
    kind: ClassVar[str] = "numbers"

    @property
    def rows(self) -> float:
        return float(self.counts.sum()) + self.missing

    @classmethod
    def fit(cls, values: Any) -> tuple[Self, Any]:
        lifted = bits(values)
        return cls._of(lifted), lifted

    def lift(self, values: Any) -> np.ndarray:
        return bits(values)

    def of(self, lifted: np.ndarray) -> Self:
        return self._of(lifted)

    @classmethod
    def _of(cls, lifted: np.ndarray) -> Self:
        ordered = np.sort(lifted)
        there = int(np.searchsorted(ordered, _MISSING))
        keys, missing = ordered[:there], float(len(ordered) - there)
        if not there:
            return cls(0, keys, np.zeros(0), missing)
        level = _level(keys, 0)
        at = np.flatnonzero(np.diff(keys >> level, prepend=(keys[0] >> level) - 1))
        return cls(level, keys[at] >> level, np.diff(at, append=there).astype(float), missing)

    def merge(self, other: Self) -> Self:
        level = max(self.level, other.level)
        keys = np.concatenate([self.at(level).keys, other.at(level).keys])
        counts = np.concatenate([self.at(level).counts, other.at(level).counts])
        order = np.argsort(keys, kind="stable")
        merged = type(self)(level, *_summed(keys[order], counts[order]), self.missing + other.missing)
        return merged.at(level + _level(merged.keys, 0)) if len(merged.keys) > MOST else merged

    def less(self, other: Self) -> Self:
        level = max(self.level, other.level)
        mine, gone = self.at(level), other.at(level)
        counts = mine.counts.copy()
        counts[np.searchsorted(mine.keys, gone.keys)] -= gone.counts
        left = counts > 0
        return type(self)(level, mine.keys[left], counts[left], self.missing - other.missing)

    def stained(self, strange: int, rows: int) -> Self:
        """`rows` rows spread as these, `strange` of which lie beyond all of them."""
        scale = max(rows - strange, 0) / max(self.rows, 1.0)
        top = self.keys[-1] + 1 if len(self.keys) else 0
        counts = np.append(self.counts * scale, float(strange))
        return type(self)(self.level, np.append(self.keys, top), counts, self.missing * scale)

    def encode(self) -> bytes:
        return pack(self.kind, {"level": self.level, "missing": self.missing}, {"keys": self.keys, "counts": self.counts})

    @classmethod
    def decode(cls, packed: Packed) -> Self:
        keys, counts = packed.array("keys", "<i8"), checked_counts(packed.array("counts", "<f8"), cls.kind)
        if len(keys) != len(counts) or len(keys) > MOST or (len(keys) > 1 and not (keys[1:] > keys[:-1]).all()):
            raise ArtifactCorrupt("the bins of a numbers sketch are not in order, too many, or not as many as its counts")
        level = packed.whole("level", 0, 63)
        if len(keys) and not (-(1 << 63) >> level) <= int(keys[0]) <= int(keys[-1]) < (1 << 63) >> level:
            raise ArtifactCorrupt("a bin of a numbers sketch lies outside the numbers")
        return cls(level, keys, counts, packed.number("missing"))

    def places(self) -> np.ndarray:
        """A number inside of each bin."""
        low, high = values_of(self.keys << self.level), values_of((self.keys << self.level) | ((1 << self.level) - 1))
        middle: np.ndarray = low + (high - low) / 2
        return middle

    def quantiles(self, shares: Any) -> np.ndarray:
        """Of what is not missing, as exact as the bins; nan without any."""
        if not len(self.keys):
            return np.full(len(shares), np.nan)
        ends = np.cumsum(self.counts)
        found: np.ndarray = self.places()[np.minimum(np.searchsorted(ends, np.asarray(shares) * ends[-1]), len(ends) - 1)]
        return found

    def at(self, level: int) -> Self:
        """The same in bins of a level that is not lower."""
        if level == self.level:
            return self
        return type(self)(level, *_summed(self.keys >> (level - self.level), self.counts), self.missing)


def bits(values: Any) -> np.ndarray:
    """(rows,) int64 that sort as the numbers do; what is not finite sorts last."""
    numbers = np.asarray(values, np.float64) + 0.0  # -0.0 becomes 0.0
    raw = numbers.view(np.int64)
    keys = raw ^ ((raw >> 63) & _TOP)
    finite = np.isfinite(numbers)
    return keys if finite.all() else np.where(finite, keys, _MISSING)


def values_of(keys: np.ndarray) -> np.ndarray:
    """The numbers of `bits`, bounded to what is finite."""
    limit = np.int64(np.float64(np.finfo(np.float64).max).view(np.int64))
    bounded = np.clip(keys, np.int64(~int(limit)), limit)
    numbers: np.ndarray = (bounded ^ ((bounded >> 63) & _TOP)).view(np.float64)
    return numbers


def _level(keys: np.ndarray, low: int) -> int:
    """The lowest level from `low` on at which sorted `keys` fall into at most MOST bins."""
    apart = (keys[1:] ^ keys[:-1]).view(np.uint64)
    if np.count_nonzero(apart >> np.uint64(low)) < MOST:
        return low
    high = 63
    while low < high:
        middle = (low + high) // 2
        if np.count_nonzero(apart >> np.uint64(middle)) < MOST:
            high = middle
        else:
            low = middle + 1
    return low


def _summed(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(keys):
        return keys, counts
    at = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    return keys[at], np.add.reduceat(counts, at)
