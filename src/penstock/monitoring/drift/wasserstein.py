"""Wasserstein's distance (earth mover's) of numbers, in standard deviations of the reference. What is missing takes no part."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from penstock.monitoring.drift.aligned import Aligned, Counted, align


class Wasserstein:
    kinds: ClassVar[tuple[str, ...]] = ("numbers", "nearest")
    order: ClassVar[int] = 1

    def distance(self, reference: Counted, current: Counted) -> float:
        found = align(reference, current)
        assert found.places is not None
        there = Aligned(found.reference[:-1], found.current[:-1])
        if len(found.places) < 3 or not there.reference.sum() or not there.current.sum():
            return 0.0
        one, other = there.shares
        places = found.places[:-1]
        middle = float(one @ places)
        spread = math.sqrt(max(float(one @ (places - middle) ** 2), 0.0))
        if spread < 1e-12:  # the reference is one number: in parts of that, then
            spread = max(abs(middle), 1e-12)
        gap = np.abs(np.cumsum(one) - np.cumsum(other))[:-1]
        return min(float(gap @ np.diff(places)) / spread, 1e12)
