"""Faults of the API server, planned by a test; each counts the calls that it spoils."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """`throttle`: 429; `broken`: 500; `lose_answers`: the call is carried out and its answer is lost; `hang`: no answer for `hang_s`.

    `only`: the methods that are spoilt. `denied`: (verb, plural) pairs that no role allows. `quota`: plural → most objects.
    `images`: that cannot be pulled.
    """

    throttle: int = 0
    broken: int = 0
    lose_answers: int = 0
    hang: int = 0
    hang_s: float = 0.0
    only: frozenset[str] = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
    denied: set[tuple[str, str]] = field(default_factory=set)
    quota: dict[str, int] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def strikes(self, name: str, method: str) -> bool:
        """Whether this call is spoilt by the fault of that name; counts it."""
        with self._lock:
            left = getattr(self, name)
            if left <= 0 or method not in self.only:
                return False
            setattr(self, name, left - 1)
            return True
