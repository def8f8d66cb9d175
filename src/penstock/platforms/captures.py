"""What a platform keeps of requests that went to an endpoint directly, for whoever makes records of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from penstock.serving.direct import Direct


@dataclass(frozen=True, slots=True)
class Held:
    """An object with some requests; one that grew in `size` (bytes) has more of them."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Passed:
    """A line that gives no request. `damage`: what is wrong with it; empty for what is none of a client's, or has its record already."""

    damage: str = ""


class Captures(Protocol):
    """Raises PlatformDenied, PlatformAway. `keep`: objects stay when they have been read."""

    keep: bool

    def held(self, deployment: str, since: str) -> Iterator[Held]:
        """Objects of the hour `since` (UTC, "2026/11/29/12"; empty: all) and later."""
        ...

    def read(self, held: Held, skip: int) -> Iterator[Direct | Passed]:
        """One for each line after the first `skip`; nothing of an object that is gone."""
        ...

    def remove(self, held: Held) -> None:
        """Idempotent."""
        ...

    def served(self, version: str, bundle: str) -> str:
        """What the platform calls a version of a deployment."""
        ...
