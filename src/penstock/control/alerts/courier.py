"""Errands beside the control loop: each in a thread that dies with the process. The loop never waits for one, nor do they for each other.

An errand that takes longer than DEADLINE_S counts as failed; its thread is left to itself, and no more than MOST live at once.
Not covered: what an errand wants to be known after a crash; it must write that itself.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from penstock.core.errors import NotDelivered, PenstockError

DEADLINE_S, MOST = 30.0, 32


@dataclass(frozen=True, slots=True)
class Outcome:
    """`error` None: done. The rest as in NotDelivered."""

    error: str | None = None
    hopeless: bool = False
    after_s: float | None = None


class Courier:
    """By name, one errand at a time. Safe to call from one thread."""

    def __init__(self, deadline_s: float = DEADLINE_S, most: int = MOST) -> None:
        self._deadline_s, self._most = deadline_s, most
        self._running: dict[str, _Errand] = {}
        self._left: list[threading.Thread] = []

    def start(self, name: str, errand: Callable[[], None], after: Callable[[], None] | None = None) -> bool:
        """False: one of that name is under way, or there are too many; ask again later. `after` is called in its thread when it is over."""
        self._left = [thread for thread in self._left if thread.is_alive()]
        if self.busy(name) or sum(one.thread.is_alive() for one in self._running.values()) + len(self._left) >= self._most:
            return False
        self._running[name] = one = _Errand(errand, after)
        one.thread.start()
        return True

    def busy(self, name: str) -> bool:
        one = self._running.get(name)
        return one is not None and one.outcome is None and time.monotonic() - one.began < self._deadline_s

    def take(self, name: str) -> Outcome | None:
        """What became of the last errand of that name, once; None while it is under way, and for none."""
        one = self._running.get(name)
        if one is None or self.busy(name):
            return None
        del self._running[name]
        if one.outcome is None:
            self._left.append(one.thread)
            return Outcome(f"no answer within {self._deadline_s:.0f} s")
        return one.outcome


class _Errand:
    def __init__(self, work: Callable[[], None], after: Callable[[], None] | None) -> None:
        self.began = time.monotonic()
        self.outcome: Outcome | None = None
        self._work, self._after = work, after
        self.thread = threading.Thread(target=self._run, name="penstock-errand", daemon=True)

    def _run(self) -> None:
        try:
            self.outcome = tried(self._work)
        finally:
            if self._after is not None:
                self._after()


def tried(work: Callable[[], None]) -> Outcome:
    try:
        work()
    except NotDelivered as error:
        return Outcome(error.message, error.hopeless, error.after_s)
    except PenstockError as error:
        return Outcome(error.message, hopeless=error.exit_code == 2)
    except Exception as error:
        traceback.print_exc()  # a defect: in the log of the process, and in the outcome by its kind
        return Outcome(f"{type(error).__name__}")
    return Outcome()
