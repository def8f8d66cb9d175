"""Time as a parameter, so that waiting, leases and clock jumps can be tested."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def sleep(self, duration_s: float) -> None: ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        time.sleep(duration_s)


class ManualClock:
    """A clock that moves only when told; `sleep` moves it too. `jump` moves the wall clock alone."""

    def __init__(self, start_s: float = 1_700_000_000.0) -> None:
        self._wall, self._steady = start_s, 0.0

    def now(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._steady

    def sleep(self, duration_s: float) -> None:
        self._wall += duration_s
        self._steady += duration_s

    def jump(self, by_s: float) -> None:
        self._wall += by_s
