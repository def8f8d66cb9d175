"""Who waits for a replica with room, who goes next, and who is shed when too many wait. Pure: nothing is sent or timed here.

Order: higher priority first, then arrival. A waiting item belongs to a group (the version that it will be sent to), so that a busy version
does not keep the others' requests back; the bound holds for all groups together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT", bound=Hashable)
LONGEST_RETRY_S = 60
_AGAIN = 0.5  # what was let in once and comes back goes before others of its priority


class WaitingLine(Generic[ItemT]):
    """At most `bound` items, each once. Numbers are taken at arrival, so time needs no clock."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.waiting: dict[ItemT, tuple[str, float]] = {}  # who waits, with group and level
        self._groups: dict[str, dict[float, dict[ItemT, int]]] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self.waiting)

    def __contains__(self, item: ItemT) -> bool:
        return item in self.waiting

    def __iter__(self) -> Iterator[ItemT]:
        """In the order in which they would go."""
        rows = [
            (-level, number, item) for levels in self._groups.values() for level, items in levels.items() for item, number in items.items()
        ]
        return iter([item for _, _, item in sorted(rows, key=lambda row: row[:2])])

    def push(self, item: ItemT, group: str, priority: int = 1, again: bool = False) -> ItemT | None:
        """Lets `item` wait. Returns who is shed for it: the least important, perhaps `item` itself; None when there is room.

        `again`: it had left the line before and comes back; among its priority it then goes first.
        """
        level = priority + _AGAIN if again else float(priority)
        shed = None
        if len(self.waiting) >= self.bound:
            shed = self._least()
            if shed is None or self.waiting[shed][1] >= level:
                return item
            self.remove(shed)
        self._groups.setdefault(group, {}).setdefault(level, {})[item] = next(self._numbers)
        self.waiting[item] = (group, level)
        return shed

    def first(self, group: str) -> ItemT | None:
        """Who goes next in `group`."""
        levels = self._groups.get(group)
        return next(iter(levels[max(levels)])) if levels else None

    def remove(self, item: ItemT) -> bool:
        """Forgets `item`; False when it does not wait."""
        found = self.waiting.pop(item, None)
        if found is None:
            return False
        group, level = found
        levels = self._groups[group]
        del levels[level][item]
        if not levels[level]:
            del levels[level]
            if not levels:
                del self._groups[group]
        return True

    def count(self, group: str) -> int:
        return sum(len(items) for items in self._groups.get(group, {}).values())

    def _least(self) -> ItemT | None:
        """Lowest priority, latest arrival."""
        last: tuple[float, int, ItemT] | None = None
        for levels in self._groups.values():
            lowest = min(levels)
            item, number = next(reversed(levels[lowest].items()))
            if last is None or (lowest, -number) < (last[0], -last[1]):
                last = (lowest, number, item)
        return last[2] if last is not None else None


def retry_after_s(waiting: int, answered_per_s: float) -> int:
    """Whole seconds after which those that wait now will be answered, at the pace of the last seconds; 1 to LONGEST_RETRY_S."""
    if answered_per_s <= 0:
        return LONGEST_RETRY_S if waiting else 1
    return max(math.ceil(min((waiting + 1) / answered_per_s, LONGEST_RETRY_S)), 1)
