"""How often a vendor takes each kind of call, learned from what it refuses; nobody waits here, and no call is made that would be refused.

A pass over one endpoint that waited for an account would hold up all others, those of other accounts too: so it is told when to come
back. The rate grows a little with each call that is taken and falls with each that is not. Each kind of call has its
own, as vendors have it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.core.errors import PlatformAway

FALLS, GROWS = 0.7, 1.03
FIRST, LEAST = 1.0, 0.05  # calls a second: that any vendor is taken to take at first, and after all
SEEN_S, LONGEST_S, EARLY = 2.0, 30.0, 0.5  # half a turn early is soon enough


@dataclass(slots=True)
class _Rate:
    """Calls a second; None: never refused so far. `free_at`: when the next one may be made; `given`: the last time that was given to
    somebody to come back.
    """

    per_s: float | None = None
    free_at: float = 0.0
    given: float = 0.0
    taken: deque[float] = field(default_factory=lambda: deque(maxlen=256))


@dataclass(slots=True)
class Throttle:
    """Of one account. Its methods may be called by several threads; a count that is lost does no harm."""

    clock: Callable[[], float] = time.monotonic
    _rates: dict[str, _Rate] = field(default_factory=dict)

    def ask(self, operation: str) -> None:
        """Raises PlatformAway, with when to ask again, where the call would come too early. Each gets a time of its own, in turn."""
        rate, now = self._of(operation), self.clock()
        if rate.per_s is None or now >= rate.free_at - EARLY / rate.per_s:
            return
        at = max(rate.given + 1.0 / rate.per_s, rate.free_at)
        if at - now <= LONGEST_S:
            rate.given = at
        told = f"{operation}: the platform takes {rate.per_s:.2g} calls a second, and there were as many"
        raise PlatformAway(told, after_s=min(at - now, LONGEST_S), refused=True)

    def took(self, operation: str) -> None:
        rate, now = self._of(operation), self.clock()
        rate.taken.append(now)
        if rate.per_s is not None:
            rate.per_s *= GROWS
            rate.free_at = max(rate.free_at, now) + 1.0 / rate.per_s

    def refused(self, operation: str, wait_s: float = 0.0) -> float:
        """As too many calls; `wait_s`: that the vendor asks to wait at least. Seconds until whoever asked may ask again."""
        rate, now = self._of(operation), self.clock()
        if rate.per_s is None:
            rate.per_s = max(FIRST, sum(now - at < SEEN_S for at in rate.taken) / SEEN_S)
        rate.per_s = max(LEAST, rate.per_s * FALLS)
        rate.free_at = max(rate.free_at, now + wait_s, now + 1.0 / rate.per_s)
        return rate.free_at - now

    def _of(self, operation: str) -> _Rate:
        return self._rates.setdefault(operation, _Rate())
