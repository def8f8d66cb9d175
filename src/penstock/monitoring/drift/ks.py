"""Kolmogorov and Smirnov's statistic: the largest gap between two distribution functions. Missing values lie above all numbers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from penstock.monitoring.drift.aligned import Counted, align


class KolmogorovSmirnov:
    kinds: ClassVar[tuple[str, ...]] = ("numbers", "nearest")
    order: ClassVar[int] = 1

    def distance(self, reference: Counted, current: Counted) -> float:
        one, other = align(reference, current).shares
        return float(np.abs(np.cumsum(one) - np.cumsum(other)).max())
