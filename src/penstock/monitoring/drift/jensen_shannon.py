"""The square root of Jensen and Shannon's divergence to base 2: 0 for equal shares, 1 for nothing in common. Numbers go into bins first."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from penstock.monitoring.drift.aligned import Counted, grouped


class JensenShannon:
    kinds: ClassVar[tuple[str, ...]] = ("numbers", "counts", "words", "nearest")
    order: ClassVar[int] = 1

    def distance(self, reference: Counted, current: Counted) -> float:
        one, other = grouped(reference, current).shares
        middle = (one + other) / 2
        return float(np.sqrt(max(_entropy(middle) - (_entropy(one) + _entropy(other)) / 2, 0.0)))


def _entropy(shares: np.ndarray) -> float:
    """Bits."""
    there = shares[shares > 0]
    return float(-(there @ np.log2(there)))
