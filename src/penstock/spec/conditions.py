"""A gate as records: comparisons over metrics, tests against the champion, and their combinations. Written in gates.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class Metric:
    """`end` asks for the lower or upper end of the metric's confidence interval instead of its value."""

    name: str
    end: Literal["low", "high"] | None = None

    @property
    def key(self) -> str:
        """The flat name it has among the metrics: `accuracy`, `accuracy.low`."""
        return f"{self.name}.{self.end}" if self.end else self.name


@dataclass(frozen=True, slots=True)
class Arithmetic:
    sign: Literal["+", "-", "*", "/"]
    left: Value
    right: Value


Value = Number | Metric | Arithmetic


Sign = Literal["<", "<=", ">", ">=", "==", "!="]


@dataclass(frozen=True, slots=True)
class Comparison:
    left: Value
    sign: Sign
    right: Value


@dataclass(frozen=True, slots=True)
class ChampionTest:
    """A paired test against the champion on the same rows. `margin` is in the metric's unit, 0 or more."""

    kind: Literal["not_worse_than", "better_than"]
    metric: str
    margin: float
    confidence: float


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Condition, ...]


Condition = Comparison | ChampionTest | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Gate:
    text: str
    condition: Condition


def metrics_used(gate: Gate) -> tuple[str, ...]:
    """Flat names of the metrics that the gate reads, in order of appearance; a test against the champion reads its metric's rows."""
    return tuple(dict.fromkeys(name for part in leaves(gate.condition) for name in _named(part)))


def needs_champion(gate: Gate) -> bool:
    return any(isinstance(part, ChampionTest) for part in leaves(gate.condition))


def leaves(condition: Condition) -> Iterator[Comparison | ChampionTest]:
    if isinstance(condition, AllOf | AnyOf):
        for part in condition.parts:
            yield from leaves(part)
    else:
        yield condition


def metrics_in(value: Value) -> Iterator[Metric]:
    if isinstance(value, Metric):
        yield value
    elif isinstance(value, Arithmetic):
        yield from metrics_in(value.left)
        yield from metrics_in(value.right)


def _named(part: Comparison | ChampionTest) -> Iterator[str]:
    if isinstance(part, ChampionTest):
        yield part.metric
    else:
        yield from (metric.key for side in (part.left, part.right) for metric in metrics_in(side))
