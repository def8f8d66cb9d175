"""How much further from the reference vectors lie than its own rows do from each other: one side of Wasserstein's distance.

In standard deviations of the reference's nearness. What comes nearer than usual (the same request again and again) is not new.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from penstock.monitoring.drift.aligned import align
from penstock.monitoring.drift.nearest import Nearest

LEAST_SPREAD = 0.01  # of cosines, where the reference repeats itself


class Novelty:
    kinds: ClassVar[tuple[str, ...]] = ("nearest",)
    order: ClassVar[int] = 1

    def distance(self, reference: Nearest, current: Nearest) -> float:
        found = align(reference, current)
        assert found.places is not None
        if len(found.places) < 3:
            return 0.0
        one, other = (side[:-1] for side in found.shares)
        places = found.places[:-1]
        spread = max(math.sqrt(max(float(one @ (places - one @ places) ** 2), 0.0)), LEAST_SPREAD)
        lower = np.maximum(np.cumsum(other) - np.cumsum(one), 0.0)[:-1]
        return min(float(lower @ np.diff(places)) / spread, 1e12)
