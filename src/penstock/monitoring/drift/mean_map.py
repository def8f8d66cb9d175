"""The mean of vectors in the feature space of a kernel: what MMD compares, in constant size whatever the number of rows.

Random Fourier features (Rahimi & Recht 2007) of two Gaussian kernels, whose widths are the reference's median squared distance and 0.3 of
it. Directions are kept with the sketch, so that no other version of a random generator can ever move a reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from penstock.core.errors import ArtifactCorrupt
from penstock.monitoring.drift.encoded import Packed, pack

DIRECTIONS, WIDTHS, SEED = 256, (1.0, 0.3), 7
MOST_DIMENSIONS = 8192
_LOOKED_AT = 512  # rows for the median distance


@dataclass(frozen=True, slots=True, eq=False)
class MeanMap:
    """`total`: sum over rows of cosines and sines, scaled so that a row's features have length 1."""

    directions: np.ndarray  # (dimensions, DIRECTIONS of each width, one after the other) float16
    total: np.ndarray  # (2 * all directions,) float64
    rows: float = 0.0
    kind: ClassVar[str] = "mean_map"

    @classmethod
    def fit(cls, values: Any) -> tuple[Self, Any]:
        vectors = np.asarray(values, np.float32)
        plain = np.random.default_rng(SEED).standard_normal((vectors.shape[1], DIRECTIONS))
        near = median_distance(vectors)
        directions = np.hstack([plain * np.sqrt(2 / (near * width)) for width in WIDTHS]).astype(np.float16)
        empty = cls(directions, np.zeros(2 * directions.shape[1]))
        lifted = empty.lift(vectors)
        return empty.of(lifted), lifted

    def lift(self, values: Any) -> np.ndarray:
        """(rows, 2 * directions) float32."""
        angles = np.asarray(values, np.float32) @ self.directions.astype(np.float32)
        return np.hstack([np.cos(angles), np.sin(angles)]) / np.float32(np.sqrt(self.directions.shape[1]))

    def of(self, lifted: np.ndarray) -> Self:
        return type(self)(self.directions, lifted.sum(0, dtype=np.float64), float(len(lifted)))

    def merge(self, other: Self) -> Self:
        self._alike(other)
        return type(self)(self.directions, self.total + other.total, self.rows + other.rows)

    def less(self, other: Self) -> Self:
        self._alike(other)
        return type(self)(self.directions, self.total - other.total, max(self.rows - other.rows, 0.0))

    def encode(self) -> bytes:
        return pack(self.kind, {"rows": self.rows}, {"directions": self.directions, "total": self.total})

    @classmethod
    def decode(cls, packed: Packed) -> Self:
        directions, total = packed.array("directions", "<f2", 2), packed.array("total", "<f8")
        if directions.shape[0] > MOST_DIMENSIONS or not directions.size or len(total) != 2 * directions.shape[1]:
            raise ArtifactCorrupt("a mean_map sketch has other numbers of directions and of sums")
        if not (np.isfinite(directions).all() and np.isfinite(total).all()):
            raise ArtifactCorrupt("a mean_map sketch holds what is no number")
        return cls(directions, total, packed.number("rows"))

    def _alike(self, other: Self) -> None:
        if self.directions is not other.directions and not np.array_equal(self.directions, other.directions):
            raise ValueError("mean maps of other directions cannot be put together")


def median_distance(vectors: np.ndarray) -> float:
    """Median squared distance of pairs, by the first rows."""
    some = vectors[:_LOOKED_AT].astype(np.float64)
    square = (some**2).sum(1)
    apart = np.maximum(square[:, None] + square[None] - 2 * some @ some.T, 0.0)
    found = float(np.median(apart[np.triu_indices(len(some), 1)])) if len(some) > 1 else 0.0
    return found if found > 1e-9 else 1.0
