"""When a measure's windows end: at multiples of their length, as those of key figures do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Ends:
    """`window`: seconds. `last`: the end that was told last (seconds since the epoch); 0 at first."""

    window: float
    last: float = 0.0

    def passed(self, until: float) -> float | None:
        """The end of a window that was passed since the last call; None where none was, and at the first call."""
        end = float(until // self.window * self.window)
        before, self.last = self.last, end
        return end if 0.0 < before != end else None
