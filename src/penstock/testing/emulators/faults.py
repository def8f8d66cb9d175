"""What shall go wrong: planned by a test, met by the calls that come next."""

from __future__ import annotations

import threading
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
class Faults:
    """`met` counts what happened, `asked` the calls by operation, faulty or not."""

    planned: list[Fault] = field(default_factory=list)
    met: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, kind: Kind, operation: str | None = None, times: int = 1, seconds: float = 0.0) -> None:
        with self._lock:
            self.planned.append(Fault(kind, operation, times, seconds))

    def next(self, operation: str) -> Fault | None:
        with self._lock:
            self.asked[operation] += 1
            for fault in self.planned:
                if fault.operation in (None, operation) and fault.times > 0:
                    fault.times -= 1
                    self.met += 1
                    return fault
        return None
