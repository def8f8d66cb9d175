"""A platform's own metrics: what is measured of deployments goes there, with a dashboard and alarms, for teams that look there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


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


@dataclass(frozen=True, slots=True)
class Face:
    """How a deployment is shown: a dashboard of `signals`, an alarm for each of `bounds`.

    For what speaks Prometheus and Grafana the whole of it: `rules` of the deployment and `about` Penstock itself, groups as in a rule file;
    `boards` makes dashboards, name → JSON, when asked (raises ExtraMissing).
    """

    signals: Sequence[str]
    bounds: Sequence[Bound] = ()
    rules: Sequence[Mapping[str, Any]] = ()
    about: Sequence[Mapping[str, Any]] = ()
    boards: Callable[[], Mapping[str, str]] = dict


class Measures(Protocol):
    """Raises PlatformDenied, PlatformAway, PlatformLacks. Everything is idempotent."""

    def put(self, deployment: str, points: Sequence[Measured]) -> None: ...

    def show(self, deployment: str, face: Face) -> None:
        """Puts it up, or puts right what differs; alarms of bounds that are no more go."""
        ...

    def remove(self, deployment: str) -> None:
        """Dashboard and alarms; what was measured stays for as long as the service keeps it."""
        ...
