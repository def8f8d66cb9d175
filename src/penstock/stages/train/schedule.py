"""Learning rate by step: linear warm-up, then a decay to `floor` × peak."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Schedule:
    peak: float
    steps: int
    warmup: float  # share of all steps
    shape: Literal["linear", "cosine"] = "linear"
    floor: float = 0.0  # share of peak

    def at(self, step: int) -> float:
        """Rate of step `step` (0-based)."""
        rise = max(1, round(self.warmup * self.steps))
        if step < rise:
            return self.peak * (step + 1) / rise
        done = min(1.0, (step - rise) / max(1, self.steps - rise))
        fall = 1 - done if self.shape == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.peak * (self.floor + (1 - self.floor) * fall)
