"""What shall go wrong: planned by a test, met by the calls that come next."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["throttle", "internal", "lose_request", "lose_answer", "slow", "unseen"]


@dataclass(slots=True)
class Fault:
    """`throttle` and `internal` answer so without doing anything; `lose_request` closes the connection before, `lose_answer` after the
    work was done; `slow` answers `seconds` late; `unseen` says that there is no such thing, as a copy that lags behind does.
    """

    kind: Kind
    operation: str | None = None
    times: int = 1
    seconds: float = 0.0


@dataclass(slots=True)
class Limit:
    """A token bucket: `per_s` calls a second, `burst` at once."""

    per_s: float
    burst: float
    left: float = 0.0
    at: float | None = None

    def takes(self, now: float) -> bool:
        self.left = self.burst if self.at is None else min(self.burst, self.left + (now - self.at) * self.per_s)
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


@dataclass(slots=True)
class Faults:
    """`met` counts what happened, `calls` what was asked for. `limits`: of an operation, of all that begin with a word, "" of all
    together; what is above is refused as too many calls.
    """

    planned: list[Fault] = field(default_factory=list)
    met: int = 0
    limits: dict[str, Limit] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    throttled: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, kind: Kind, operation: str | None = None, times: int = 1, seconds: float = 0.0) -> None:
        with self._lock:
            self.planned.append(Fault(kind, operation, times, seconds))

    def clear(self) -> None:
        with self._lock:
            self.planned.clear()
            for counts in (self.limits, self.calls, self.throttled):
                counts.clear()
            self.met = 0

    def next(self, operation: str) -> Fault | None:
        with self._lock:
            self.calls[operation] += 1
            limit = next((self.limits[name] for name in (operation, operation.partition(" ")[0], "") if name in self.limits), None)
            if limit is not None and not limit.takes(time.monotonic()):
                self.throttled[operation] += 1
                return Fault("throttle", operation)
            for fault in self.planned:
                if fault.operation in (None, operation) and fault.times > 0:
                    fault.times -= 1
                    self.met += 1
                    return fault
        return None
