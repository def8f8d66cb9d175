"""The share of words that the reference never saw. A window of its own rows has some too: so it is its growth that calibration limits."""

from __future__ import annotations

from typing import ClassVar

from penstock.monitoring.drift.words import Words


class Unseen:
    kinds: ClassVar[tuple[str, ...]] = ("words",)
    order: ClassVar[int] = 0

    def distance(self, reference: Words, current: Words) -> float:
        said = float(current.counts.sum())
        return float(current.counts[reference.counts == 0].sum()) / said if said else 0.0
