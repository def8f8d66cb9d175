"""Maximum mean discrepancy (Gretton et al. 2012): how far apart two mean maps lie. Best at a topic that grows or goes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from penstock.monitoring.drift.mean_map import MeanMap


class MeanDiscrepancy:
    kinds: ClassVar[tuple[str, ...]] = ("mean_map",)
    order: ClassVar[int] = 1

    def distance(self, reference: MeanMap, current: MeanMap) -> float:
        return float(np.linalg.norm(reference.total / max(reference.rows, 1.0) - current.total / max(current.rows, 1.0)))
