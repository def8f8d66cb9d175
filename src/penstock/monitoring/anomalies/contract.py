"""What a method is given and gives: it learns from a history, and then says of each new point how odd it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class History:
    """Points one after another, `step_s` apart as a rule; gaps may lie between. `at`: (T,) seconds since the epoch. `values`: (T, S),
    one column a signal, every value finite.
    """

    at: Any
    values: Any
    step_s: float

    @property
    def points(self) -> int:
        return len(self.at)


@dataclass(frozen=True, slots=True)
class Settings:
    """`false_alarms`: of a point, when nothing is odd. `season_s`: length of the pattern that repeats."""

    false_alarms: float = 0.001
    season_s: float = 86400.0


@dataclass(frozen=True, slots=True)
class Found:
    """How odd a point is: alarming where `score` is above `limit`. `seen` and `expected` by signal; `why`: JSON values for people."""

    score: float
    limit: float
    seen: tuple[float, ...]
    expected: tuple[float, ...]
    why: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.score / self.limit


class Model(Protocol):
    """What was learnt; it may go on learning from what it is shown, point by point in order."""

    def step(self, at: float, values: Sequence[float]) -> Found: ...


class Method(Protocol):
    """`joint`: it looks at several signals at once; others are given one. `times_a_season`: how often it is worth learning anew."""

    joint: bool
    times_a_season: float

    def learn(self, history: History, settings: Settings) -> Model | None:
        """None while the history is too short to keep the promise of `false_alarms`. The same history gives the same model."""
        ...
