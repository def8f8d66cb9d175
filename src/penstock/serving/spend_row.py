"""One key's numbers in the file: this process adds to its own block, sums are over the blocks of all processes.

What this process has in flight and holds is kept beside the file too, which it then need not read: nobody else writes its block.
"""

from __future__ import annotations

import math
from typing import Protocol

from penstock.serving.spend import BLOCK, DAY, IN_FLIGHT, MARK, PERIODS, RESERVED, TOTAL_USD, Calendar, SpendUnreadable


class Mapped(Protocol):
    """The file as doubles; the second says how many blocks of a row have ever had an owner. `mine`: where this process's block begins."""

    view: memoryview[float]
    mine: int


class Row:
    """Of the key whose row begins at `start`."""

    __slots__ = ("_held", "_mine", "_running", "book", "start")

    def __init__(self, book: Mapped, start: int) -> None:
        self.book, self.start, self._mine = book, start, start + book.mine
        self._running, self._held = book.view[self._mine + IN_FLIGHT], book.view[self._mine + RESERVED]

    def enter(self, usd: float) -> None:
        """One request more is in flight, and may cost so much."""
        view, mine = self.book.view, self._mine
        view[mine + IN_FLIGHT] = self._running = self._running + 1.0
        view[mine + RESERVED] = self._held = self._held + usd

    def leave(self, usd: float) -> None:
        view, mine = self.book.view, self._mine
        self._running -= 1.0
        self._held = self._held - usd if self._running > 0 else 0.0  # no sum of roundings stays
        view[mine + RESERVED] = self._held
        view[mine + IN_FLIGHT] = self._running

    def in_flight(self) -> int:
        """Of all processes together."""
        view, first = self.book.view, self.start + BLOCK
        if view[1] == 1.0:
            return int(self._running)
        return int(sum(view[first + IN_FLIGHT : first + BLOCK * int(view[1]) : BLOCK]))

    def reserved(self) -> float:
        """USD held for requests in flight, of all processes together."""
        view, first = self.book.view, self.start + BLOCK
        if view[1] == 1.0:
            return self._held
        return float(sum(view[first + RESERVED : first + BLOCK * int(view[1]) : BLOCK]))

    def spent(self, period: str, calendar: Calendar) -> float:
        """USD of the present period, of all processes together. Raises SpendUnreadable when the row is damaged."""
        view = self.book.view
        first, blocks = self.start + BLOCK, int(view[1])
        last = first + BLOCK * blocks
        if period == "total":
            total = view[first + TOTAL_USD] if blocks == 1 else sum(view[first + TOTAL_USD : last : BLOCK])
        else:
            which, amount = PERIODS[period]
            current, total = _current(view, self.start, which, calendar), 0.0
            for block in range(first, last, BLOCK):
                if view[block + which] == current:
                    total += view[block + amount]
        marked = view[first + MARK] if blocks == 1 else min(view[first + MARK : last : BLOCK])
        if not (0.0 <= total < math.inf and marked == 1.0):
            raise SpendUnreadable("the row of this key is damaged")
        return total

    def add(self, usd: float, calendar: Calendar) -> None:
        """Spent by this process."""
        credit(self.book.view, self.start, self._mine, usd, calendar)


def credit(view: memoryview[float], row: int, block: int, usd: float, calendar: Calendar) -> None:
    """Adds to what a block of a row has spent. Only its owner may, or whoever takes it over."""
    for which, amount in PERIODS.values():
        current = _current(view, row, which, calendar)
        if view[block + which] < current:
            view[block + amount] = 0.0
            view[block + which] = current
        view[block + amount] += usd
    view[block + TOTAL_USD] += usd


def _current(view: memoryview[float], row: int, which: int, calendar: Calendar) -> float:
    """The latest period that the clock or any process has seen."""
    seen = calendar.day if which == DAY else calendar.month
    if view[1] == 1.0:  # one process: no slices
        own = view[row + BLOCK + which]
        return own if own > seen else seen
    return max(seen, *view[row + BLOCK + which : row + BLOCK * (1 + int(view[1])) : BLOCK])
