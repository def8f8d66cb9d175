"""A cloud's own metrics: what is measured of deployments goes there, with a dashboard and alarms, for teams that look there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Measured:
    """A signal of a deployment, or of one of its versions. `at`: seconds since the epoch."""

    name: str
    value: float
    at: float
    version: str = ""


@dataclass(frozen=True, slots=True)
class Bound:
    """An alert of the file that such a service can judge: one signal against one number, for `for_s` seconds."""

    key: str
    signal: str
    sign: Literal["<", "<=", ">", ">="]
    limit: float
    for_s: float


class Measures(Protocol):
    """Raises PlatformDenied, PlatformAway. Everything is idempotent."""

    def put(self, deployment: str, points: Sequence[Measured]) -> None: ...

    def show(self, deployment: str, signals: Sequence[str], bounds: Sequence[Bound]) -> None:
        """A dashboard of these signals, and an alarm for each bound; those of bounds that are no more go."""
        ...

    def remove(self, deployment: str) -> None:
        """Dashboard and alarms; what was measured stays for as long as the service keeps it."""
        ...
