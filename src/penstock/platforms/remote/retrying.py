"""Calls to a vendor, tried again while what went wrong may pass: throttling, 5xx, lost connections. Full jitter (Brooker 2015)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

ResultT = TypeVar("ResultT")
_OWN = random.Random()  # a seed that a step or a test sets is theirs alone


@dataclass(frozen=True, slots=True)
class Patience:
    """Pauses grow from `first_s` by doubling to `longest_s`, each drawn between 0 and that; at most `attempts` in `within_s`."""

    attempts: int = 6
    first_s: float = 0.2
    longest_s: float = 10.0
    within_s: float = 60.0


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
