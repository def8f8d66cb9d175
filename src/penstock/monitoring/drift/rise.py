"""How much larger a share has become: of rows that are wrong, say. A fall counts as nothing."""

from __future__ import annotations

from typing import ClassVar

from penstock.monitoring.drift.counts import Counts

WRONG, RIGHT = "wrong", "right"


class Rise:
    """Of the category `WRONG`."""

    kinds: ClassVar[tuple[str, ...]] = ("counts",)
    order: ClassVar[int] = 1

    def distance(self, reference: Counts, current: Counts) -> float:
        then, now = (side.counts.get(WRONG, 0.0) / max(side.rows, 1.0) for side in (reference, current))
        return max(now - then, 0.0)
