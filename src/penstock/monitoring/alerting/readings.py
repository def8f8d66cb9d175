"""What is known of a deployment's signals at an instant: the newest row of each, as long as it stands.

A row stands until the next one is overdue: three windows, or two and a half times the pause before it, whichever is longer (a signal that
is measured every 500 requests comes rarely). After that nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from penstock.store.signals import Signal

Part = tuple[str, str]  # version and slice, either may be empty
WHOLE: Part = ("", "")
WINDOWS, PAUSES, MOST_PAUSE_S = 3.0, 2.5, 86400.0


@dataclass(frozen=True, slots=True)
class Reading:
    signal: Signal
    stands_until: float


class Readings:
    """By name and part. Not covered: rows that come in later than one of the same signal that is newer; they are left out."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self._found: dict[str, dict[Part, Reading]] = {}

    def put(self, signal: Signal) -> bool:
        """False when as new a row is known already."""
        parts = self._found.setdefault(signal.name, {})
        part = signal.version, signal.slice
        before = parts.get(part)
        if before is not None and signal.at <= before.signal.at:
            return False
        pause = 0.0 if before is None else min(signal.at - before.signal.at, MOST_PAUSE_S)
        parts[part] = Reading(signal, signal.at + max(WINDOWS * self.window_s, PAUSES * pause))
        return True

    def get(self, name: str, part: Part, at: float) -> Signal | None:
        """Of the part itself, else of its version, of its slice, of the whole deployment; None when that does not stand at `at`."""
        parts = self._found.get(name, {})
        for place in dict.fromkeys((part, (part[0], ""), ("", part[1]), WHOLE)):
            if (found := parts.get(place)) is not None:
                return found.signal if at <= found.stands_until else None
        return None

    def parts(self, names: Iterable[str]) -> set[Part]:
        """Those that any of `names` was measured on."""
        return {part for name in names for part in self._found.get(name, ())}

    def standing(self, at: float) -> Iterator[Signal]:
        """What stands at `at`, of every name and part."""
        return (one.signal for parts in self._found.values() for one in parts.values() if at <= one.stands_until)

    def newest(self) -> float | None:
        """When the newest row of any signal was measured."""
        return max((one.signal.at for parts in self._found.values() for one in parts.values()), default=None)

    def newest_of(self, names: Sequence[str], part: Part) -> float | None:
        """When any of `names` was last measured on just this part."""
        found = [one.signal.at for name in names if (one := self._found.get(name, {}).get(part)) is not None]
        return max(found, default=None)

    def forget(self, before: float) -> None:
        """Drops parts that were last measured before."""
        for name, parts in list(self._found.items()):
            self._found[name] = {part: one for part, one in parts.items() if one.signal.at >= before}
