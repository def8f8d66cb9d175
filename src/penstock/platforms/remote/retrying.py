"""Calls to a vendor, tried again while what went wrong may pass: throttling, 5xx, lost connections. Full jitter (Brooker 2015)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from penstock.core.errors import PlatformAway
from penstock.platforms.remote.throttling import Throttle

ResultT = TypeVar("ResultT")
_OWN = random.Random()  # a seed that a step or a test sets is theirs alone


@dataclass(frozen=True, slots=True)
class Patience:
    """Pauses grow from `first_s` by doubling to `longest_s`, each drawn between 0 and that; at most `attempts` in `within_s`."""

    attempts: int = 6
    first_s: float = 0.2
    longest_s: float = 10.0
    within_s: float = 60.0


PASSING = Patience(attempts=2, first_s=0.1, longest_s=0.3)  # in a pass that comes again soon, and that others wait for


@dataclass(frozen=True, slots=True)
class Calls:
    """How calls to one account are made. `throttle`: with it no call is made too early, nor repeated where it was."""

    patience: Patience = Patience()
    throttle: Throttle | None = None

    def make(
        self,
        operation: str,
        call: Callable[[], ResultT],
        passing: Callable[[Exception], bool],
        throttled: Callable[[Exception], bool],
        told: Callable[[Exception], float] = lambda _: 0.0,
    ) -> ResultT:
        """As patiently has it. `throttled`: whether an error says that there were too many calls. Raises PlatformAway too."""
        throttle = self.throttle
        if throttle is None:
            return patiently(call, passing, self.patience, told=told)
        throttle.ask(operation)
        try:
            result = patiently(call, lambda error: passing(error) and not throttled(error), self.patience, told=told)
        except Exception as error:
            if throttled(error):
                after_s = throttle.refused(operation, told(error))
                raise PlatformAway(f"{operation}: there were too many calls ({error})", after_s=after_s, refused=True) from error
            raise
        throttle.took(operation)
        return result


def patiently(
    call: Callable[[], ResultT],
    passing: Callable[[Exception], bool],
    patience: Patience = Patience(),
    *,
    told: Callable[[Exception], float] = lambda _: 0.0,
    sleep: Callable[[float], None] = time.sleep,
    draw: Callable[[float], float] = lambda most: _OWN.uniform(0.0, most),
) -> ResultT:
    """`passing`: whether an error may pass by itself; `told`: seconds that the vendor asks to wait at least. Raises the last error."""
    began, attempt = time.monotonic(), 0
    while True:
        try:
            return call()
        except Exception as error:
            attempt += 1
            pause = max(told(error), draw(min(patience.longest_s, patience.first_s * 2 ** (attempt - 1))))
            late = time.monotonic() - began + pause > patience.within_s
            if attempt >= patience.attempts or late or not passing(error):
                raise
        sleep(pause)
