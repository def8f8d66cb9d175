"""Pearson's chi-square of two samples, per row: the statistic divided by both numbers of rows' harmonic sum, so that it is an effect.

Categories that one would expect fewer than 5 times in the smaller sample are put together.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from penstock.monitoring.drift.aligned import Counted, grouped

LEAST = 5.0


class ChiSquare:
    kinds: ClassVar[tuple[str, ...]] = ("numbers", "counts", "nearest")
    order: ClassVar[int] = 2

    def distance(self, reference: Counted, current: Counted) -> float:
        found = grouped(reference, current)
        whole = np.array([found.reference.sum(), found.current.sum()])
        pooled = (found.reference + found.current) / whole.sum()
        rare = pooled * whole.min() < LEAST
        shares = [np.append(side[~rare], side[rare].sum()) for side in (*found.shares, pooled)]
        one, other, both = (side[shares[2] > 0] for side in shares)
        return float(((one - other) ** 2 / both).sum())
