"""The population stability index: sum of (share now - share then) * ln(now / then). By custom 0.1 is worth a look and 0.25 a change.

A bin that is empty on one side counts as half a row there.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from penstock.monitoring.drift.aligned import Counted, grouped


class PopulationStability:
    kinds: ClassVar[tuple[str, ...]] = ("numbers", "counts", "nearest")
    order: ClassVar[int] = 2
    bins: ClassVar[int] = 10

    def distance(self, reference: Counted, current: Counted) -> float:
        found = grouped(reference, current, self.bins)
        there = (found.reference + found.current) > 0
        one, other = (np.maximum(side[there], 0.5) for side in (found.reference, found.current))
        one, other = one / one.sum(), other / other.sum()
        return float(max(((other - one) * np.log(other / one)).sum(), 0.0))
