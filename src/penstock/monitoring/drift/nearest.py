"""How near each vector comes to a sample of the reference's: the cosine with its nearest neighbour, as numbers.

A new topic lowers it, however small and scattered, where a mean hardly moves. The sample is of vectors, not of texts; who holds it can
tell of a text that he has whether something like it was there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from penstock.core.errors import ArtifactCorrupt
from penstock.monitoring.drift.encoded import Packed, pack
from penstock.monitoring.drift.numbers import Numbers, bits

SAMPLE, SEED = 1024, 11
MOST_SAMPLE, MOST_DIMENSIONS = 16_384, 8192
_AT_ONCE = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    sample: np.ndarray  # (at most SAMPLE, dimensions) float16, of unit length
    near: Numbers
    kind: ClassVar[str] = "nearest"

    @property
    def rows(self) -> float:
        return self.near.rows

    @classmethod
    def fit(cls, values: Any) -> tuple[Self, Any]:
        """The sample is drawn without regard to order; its rows are compared with the others of it."""
        vectors = unit(values)
        chosen = np.sort(np.random.default_rng(SEED).permutation(len(vectors))[: min(SAMPLE, max(len(vectors) - 1, 1))])
        sample = vectors[chosen].astype(np.float16)
        lifted = bits(cosines(vectors, sample, chosen if len(vectors) > 1 else None))
        return cls(sample, Numbers.fit(np.zeros(0))[0].of(lifted)), lifted

    def lift(self, values: Any) -> np.ndarray:
        return bits(cosines(unit(values), self.sample))

    def of(self, lifted: np.ndarray) -> Self:
        return type(self)(self.sample, self.near.of(lifted))

    def merge(self, other: Self) -> Self:
        self._alike(other)
        return type(self)(self.sample, self.near.merge(other.near))

    def less(self, other: Self) -> Self:
        self._alike(other)
        return type(self)(self.sample, self.near.less(other.near))

    def stained(self, strange: int, rows: int) -> Self:
        """`rows` rows as near as these, `strange` of which have nothing in common with any."""
        scale = max(rows - strange, 0) / max(self.rows, 1.0)
        usual = Numbers(self.near.level, self.near.keys, self.near.counts * scale, self.near.missing * scale)
        return type(self)(self.sample, usual.merge(self.near.of(bits(np.zeros(strange)))))

    def encode(self) -> bytes:
        arrays = {"sample": self.sample, "keys": self.near.keys, "counts": self.near.counts}
        return pack(self.kind, {"level": self.near.level, "missing": self.near.missing}, arrays)

    @classmethod
    def decode(cls, packed: Packed) -> Self:
        sample = packed.array("sample", "<f2", 2)
        if not sample.size or sample.shape[0] > MOST_SAMPLE or sample.shape[1] > MOST_DIMENSIONS or not np.isfinite(sample).all():
            raise ArtifactCorrupt("the sample of a nearest sketch is empty, too large, or holds what is no number")
        return cls(sample, Numbers.decode(packed))

    def _alike(self, other: Self) -> None:
        if self.sample is not other.sample and not np.array_equal(self.sample, other.sample):
            raise ValueError("sketches of nearness to other samples cannot be put together")


def unit(values: Any) -> np.ndarray:
    """(rows, dimensions) float32 of length 1; a row of zeros stays one."""
    vectors = np.asarray(values, np.float32)
    made: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return made


def cosines(vectors: np.ndarray, sample: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """(rows,) cosine with the nearest of `sample`, in steps of 0.01: what float16 and batches blur is finer.

    Row `own[j]` is row j of the sample, with which it is not compared.
    """
    beside = np.full(len(vectors), -1)
    if own is not None:
        beside[own] = np.arange(len(own))
    found, turned = np.empty(len(vectors)), sample.astype(np.float32).T
    for start in range(0, len(vectors), _AT_ONCE):
        alike = vectors[start : start + _AT_ONCE] @ turned
        mine = beside[start : start + _AT_ONCE]
        rows = np.flatnonzero(mine >= 0)
        alike[rows, mine[rows]] = -1.0
        found[start : start + _AT_ONCE] = alike.max(1)
    return found.round(2)
