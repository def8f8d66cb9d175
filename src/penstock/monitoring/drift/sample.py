"""Some of the vectors, at most MOST: those whose bytes hash lowest, so that samples merge in any order to the same.

Equal vectors count once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from penstock.core.errors import ArtifactCorrupt
from penstock.monitoring.drift.encoded import Packed, pack

MOST, MOST_DIMENSIONS = 1024, 8192


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """`vectors` in the order of their hashes; `seen` rows it was taken from."""

    vectors: np.ndarray  # (at most MOST, dimensions) float16
    seen: float = 0.0
    kind: ClassVar[str] = "sample"

    @property
    def rows(self) -> float:
        return self.seen

    @classmethod
    def fit(cls, values: Any) -> tuple[Self, Any]:
        lifted = np.asarray(values, np.float16)
        return cls(lifted[:0]).of(lifted), lifted

    def lift(self, values: Any) -> np.ndarray:
        return np.asarray(values, np.float16)

    def of(self, lifted: np.ndarray) -> Self:
        return type(self)(_lowest(lifted), float(len(lifted)))

    def merge(self, other: Self) -> Self:
        if len(self.vectors) and len(other.vectors) and self.vectors.shape[1] != other.vectors.shape[1]:
            raise ValueError("samples of vectors of other lengths cannot be put together")
        parts = [part for part in (self.vectors, other.vectors) if len(part)]
        return type(self)(_lowest(np.concatenate(parts)) if parts else self.vectors, self.seen + other.seen)

    def less(self, other: Self) -> Self:
        gone = {row.tobytes() for row in other.vectors}
        left = np.array([row.tobytes() not in gone for row in self.vectors], bool)
        return type(self)(self.vectors[left], max(self.seen - other.seen, 0.0))

    def encode(self) -> bytes:
        return pack(self.kind, {"seen": self.seen}, {"vectors": self.vectors})

    @classmethod
    def decode(cls, packed: Packed) -> Self:
        vectors = packed.array("vectors", "<f2", 2)
        if vectors.shape[0] > MOST or vectors.shape[1] > MOST_DIMENSIONS or not np.isfinite(vectors).all():
            raise ArtifactCorrupt("the vectors of a sample are too many, too long, or no numbers")
        return cls(vectors, packed.number("seen"))


def _lowest(vectors: np.ndarray) -> np.ndarray:
    by_hash = {hashlib.blake2b(row.tobytes(), digest_size=8).digest(): at for at, row in enumerate(vectors)}
    return vectors[[by_hash[key] for key in sorted(by_hash)[:MOST]]]
