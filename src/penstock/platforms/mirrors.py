"""A cloud's own registry of models, kept the same as ours: versions go there, and decisions on them count on both sides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

PASSED, REFUSED = "passed", "refused"  # states of a version in our registry; any other is undecided


@dataclass(frozen=True, slots=True)
class Card:
    """A version as it is told elsewhere. `metrics` by name; `dataset`: digest of what it was made from, empty where that is not known."""

    model: str
    version: int
    bundle: str
    run: str
    task: str
    state: str
    metrics: Mapping[str, float]
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the registry there says of a model. `states` by our number of the version, in our words (`registered` where nobody decided);
    `aliases` by name, our number. `doubled`: aliases that several versions bear there, though one is meant; pointing puts that right.
    """

    states: Mapping[int, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    doubled: Collection[str] = ()


class Mirror(Protocol):
    """Raises PlatformDenied, PlatformAway. Everything is idempotent."""

    def look(self, model: str) -> Shown:
        """One listing: a pass in which nothing changed asks for no more."""
        ...

    def add(self, card: Card) -> None: ...

    def decide(self, model: str, version: int, state: str, why: str) -> None: ...

    def takes(self, alias: str) -> bool:
        """Whether versions there can go by such a name."""
        ...

    def point(self, model: str, alias: str, version: int | None) -> None:
        """Moves an alias there; None takes it away."""
        ...


def agreed(last: str | None, ours: str, theirs: str) -> str:
    """The state of both from now on: whoever changed it since they last agreed; where both did, a refusal stands."""
    if ours == theirs or theirs == last:
        return ours
    if ours == last:
        return theirs
    return REFUSED if REFUSED in (ours, theirs) else ours


def followed(last: int | None, ours: int | None, theirs: int | None) -> int | None:
    """The version that an alias names on both sides from now on: as whoever moved it since they last agreed; where both did, as we do.

    What was taken away there is put back: a list that lags looks the same, and a champion must not go by that.
    """
    return theirs if theirs is not None and ours == last else ours
